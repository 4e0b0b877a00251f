"""The desk: an opened estate, with the operations that need several of its parts at once."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Literal

from orchestrator.contracts.engine import KeepOpen, RunStatus
from orchestrator.contracts.observer import Observer, Recorder
from orchestrator.evidence import orders
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import ApprovalInvalid, PlanningError
from orchestrator.model.approval import SignedApproval, SignedOrder
from orchestrator.model.facts import Facts
from orchestrator.model.names import Name, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.scope import Scope
from orchestrator.model.wave import WaveTerms
from orchestrator.operations import approve as approving
from orchestrator.operations import migrate
from orchestrator.operations import plan as planning
from orchestrator.operations import revoke as revoking
from orchestrator.operations.estate import place_of, with_places
from orchestrator.operations.ways_back import note_ways_back
from orchestrator.planning.runbook import Scalar
from orchestrator.wiring.workshop import Workshop, open_workshop

RUNS_SEEN_MAX = 10_000  # of one plan, the newest first


class Desk(Workshop):
    """A workshop at which people plan, approve and run."""

    def make_plan(
        self,
        runbook_file: Path,
        *,
        wave: Name,
        author: Name,
        facts: Facts,
        systems: Sequence[SystemName] = (),
        inputs: Mapping[str, Scalar] | None = None,
        terms: WaveTerms | None = None,
        scope: Scope | None = None,
    ) -> Plan:
        try:
            return planning.make_plan(
                runbook_file=runbook_file,
                inventory=self.inventory,
                facts=facts,
                wave=wave,
                author=author,
                playbook_path=self.playbook_path,
                catalogue=self.catalogue,
                systems=systems,
                inputs=inputs,
                terms=terms,
                scope=scope,
            )
        except PlanningError as error:
            raise PlanningError(with_places(error.message, self.estate), hint=error.hint) from error

    def approve(
        self,
        plan: Plan,
        *,
        person: Name,
        role: Name,
        key_file: str,
        decision: Literal["approve", "reject"] = "approve",
        comment: str = "",
        change_ticket: str = "",
        max_runs: int = 0,
        valid_for: timedelta = approving.VALID_DEFAULT,
    ) -> SignedApproval:
        try:
            return approving.approve(
                plan,
                person=person,
                role=role,
                key_file=key_file,
                people=self.inventory.people,
                signer=self.signer,
                judge=self.judge,
                catalogue=self.catalogue,
                clock=self.clock,
                decision=decision,
                comment=comment,
                change_ticket=change_ticket,
                max_runs=max_runs,
                valid_for=valid_for,
                log_head=self._log_head(),
            )
        except ApprovalInvalid as error:
            place = place_of(self.estate, "people.yml", "people", person)
            raise ApprovalInvalid(f"{place}{error.message}", hint=error.hint) from error

    def order(
        self, plan: Plan, *, person: Name, role: Name, key_file: str, valid_for: timedelta = orders.ORDER_VALID_DEFAULT
    ) -> SignedOrder:
        """Sign `person`'s order to start the plan, and keep it: their next run of it puts it on record."""
        order = orders.sign_start_order(
            plan.digest,
            person=person,
            role=role,
            key_file=key_file,
            people=self.inventory.people,
            clock=self.clock,
            head=self.log_seen(),
            valid_for=valid_for,
        )
        key = f"{plan.digest}/{person}/{secrets.token_hex(8)}"
        self.catalogue.put("start_order", key, order.model_dump(mode="json"))
        return order

    def revoke(
        self, plan: Plan, *, person: Name, role: Name | None, key_file: str, because: str
    ) -> revoking.Revoked:
        """Take `person`'s approval of the plan back, pause its runs, and put that on record."""
        words = revoking.revoke(
            plan,
            person=person,
            role=role,
            key_file=key_file,
            because=because,
            people=self.inventory.people,
            signer=self.signer,
            judge=self.judge,
            catalogue=self.catalogue,
            clock=self.clock,
            log_head=self._log_head(),
        )
        found = revoking.pause_runs(plan, self.runs, by=person, because=because)
        told = revoking.put_on_record(words, found, self.recorder(), self.clock)
        return revoking.Revoked(words=words, paused=tuple(status.run for status in found), on_record=told)

    def _log_head(self) -> approving.LogHead:
        seen = self.log_seen()
        if seen is None:
            return approving.LogHead()
        return approving.LogHead(origin=seen["origin"], size=int(seen["size"]), root=seen["rootHash"])

    def standing(self, plan: Plan, operator: Name | None = None) -> approving.Standing:
        found = approving.standing(
            plan,
            people=self.inventory.people,
            judge=self.judge,
            catalogue=self.catalogue,
            clock=self.clock,
            operator=operator,
            runs_begun=self._runs_begun(plan),
        )
        why = planning.outdated(
            plan, inventory=self.inventory, catalogue=self.catalogue, playbook_path=self.playbook_path
        )
        return found.model_copy(update={"outdated": why})

    def _runs_begun(self, plan: Plan) -> list[str]:
        """When runs of the plan were begun."""
        return [status.created_at for status in self.runs.list(limit=RUNS_SEEN_MAX, plan=plan.digest)]

    def ensure_allowed(self, plan: Plan, operator: Name) -> None:
        """Raise unless the plan's files are still the same and enough of the right persons approved it."""
        planning.ensure_current(
            plan, inventory=self.inventory, catalogue=self.catalogue, playbook_path=self.playbook_path
        )
        approving.ensure_approved(
            plan,
            operator,
            people=self.inventory.people,
            judge=self.judge,
            catalogue=self.catalogue,
            clock=self.clock,
            runs_begun=self._runs_begun(plan),
            place_of_rule=lambda system: place_of(self.estate, "systems.yml", "systems", system, "approval"),
        )

    def run(
        self,
        plan: Plan,
        *,
        operator: Name,
        kind: str,
        on_run: migrate.OnRun = migrate.tell_nobody,
        stage: migrate.Stage | None = None,
        skip: Mapping[str, str] | None = None,
    ) -> RunStatus:
        """Run the plan in this process, to its end or the end of `stage`; one that was broken off goes on."""
        note_ways_back(plan, self.runs, self.catalogue)
        with self.worker() as worker:
            return migrate.run_plan(
                plan,
                operator=operator,
                kind=kind,
                runs=self.runs,
                worker=worker,
                allowed=self.ensure_allowed,
                on_run=on_run,
                stage=stage,
                skip=skip,
                withdrawn=lambda each: revoking.withdrawn(each, self.catalogue, timestamp(self.clock.now())),
            )

    def keep_open(self, recorder: Recorder) -> KeepOpen:
        from orchestrator.operations.way_back import keeps_open  # noqa: PLC0415 commands that only read need no rounds

        return keeps_open(self, recorder)

    def beside_runs(self, recorder: Recorder) -> AbstractContextManager[None]:
        from orchestrator.operations.starts import starts_seen_to  # noqa: PLC0415 as above

        return starts_seen_to(self, recorder)

    def hand_over(self, plan: Plan, *, operator: Name, kind: str, stage: migrate.Stage | None = None) -> str:
        """Submit the plan for whatever worker carries runs; the run's id."""
        note_ways_back(plan, self.runs, self.catalogue)
        return migrate.hand_over(
            plan, operator=operator, kind=kind, runs=self.runs, allowed=self.ensure_allowed, stage=stage
        )


@contextmanager
def open_desk(folder: Path, *, observers: Sequence[Observer] = (), hosts_file: Path | None = None) -> Iterator[Desk]:
    """The desk of the inventory in `folder`."""
    with open_workshop(folder, observers=observers, hosts_file=hosts_file, kind=Desk) as desk:
        yield desk
