"""RunPlaybook and Check: what is done and asked on the hosts that serve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from orchestrator.contracts.authority import Authority
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.playbooks import PlaybookEvent, PlaybookResult
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import AuthorityError, HostUnreachable
from orchestrator.model.action import Check, RunPlaybook
from orchestrator.model.host import Host
from orchestrator.model.outcome import Outcome, Probe, Result
from orchestrator.model.site import Side
from orchestrator.model.step import Phase
from orchestrator.model.system import HaproxyFront, HttpCheck
from orchestrator.steps.asked import asked
from orchestrator.steps.orders import order_of
from orchestrator.steps.places import checks_of, clusters, host_at, hosts_at, services_in_start_order
from orchestrator.steps.readiness import stand_ready
from orchestrator.steps.whereabouts import refuse_to_fence_its_home

# Only the side that holds authority may be let serve.
FOR_THE_HOLDER = ("unfence", "start")
FOLLOW_SECONDS_MAX = 10.0  # after the answer's own time, for resolvers that are slow to drop it
LOOK_AGAIN_SECONDS = 0.5


def variables(deed: Deed, side: Side, *, fence: dict[str, Any], checks: Sequence[HttpCheck] = ()) -> dict[str, Any]:
    """What every shipped playbook may rely on; described on top of each."""
    system = deed.system_plan.system
    host = host_at(deed, side)
    return {
        "skerry_system": system.name,
        "skerry_side": side.value,
        "skerry_services": [
            {"name": service.name, "port": service.port, "address": host.address}
            for service in services_in_start_order(system.services)
        ],
        "skerry_databases": [
            {
                "name": cluster.service,
                "port": cluster.port,
                "data_directory": cluster.data_directory,
                "host": host_at(deed, side, cluster.name).name,
            }
            for cluster in clusters(deed)
        ],
        "skerry_fence": fence,
        "skerry_checks": [check.asked_at(host.address, host.site) for check in checks],
        **system.variables,
    }


@dataclass(frozen=True)
class Player:
    """Runs one playbook for a deed, or the program prepared for the same deed, and tells evidence of it."""

    drivers: Drivers

    def play(
        self, deed: Deed, playbook: str, side: Side, emit: Emit, *, hosts: Sequence[Host], values: dict[str, Any]
    ) -> PlaybookResult:
        """By Ansible; every event of it is told."""

        def tell(event: PlaybookEvent) -> None:
            emit("ansible.event", {"playbook": playbook, **event.model_dump(mode="json", exclude_defaults=True)})

        result = self.drivers.playbooks.run(
            playbook, hosts=hosts, variables=values, timeout_seconds=deed.step.timeout, on_event=tell
        )
        emit("playbook.finished", {"side": side.value, **result.model_dump(mode="json")})
        return result

    def run_prepared(
        self, deed: Deed, playbook: str, side: Side, emit: Emit, *, hosts: Sequence[Host], values: dict[str, Any]
    ) -> PlaybookResult:
        """By the program on the host; it is one thing that happens, and told once."""
        programs = self.drivers.prepared
        result = programs.run(playbook, hosts=hosts, variables=values, timeout_seconds=deed.step.timeout)
        told = {"side": side.value, "program": PurePath(programs.path(playbook)).name, "deed": playbook}
        emit("program.finished", told | result.model_dump(mode="json", exclude={"playbook", "events", "versions"}))
        return result

    def fence_of(self, deed: Deed, side: Side, authority: Authority | None = None) -> dict[str, Any]:
        """The number a side is fenced below: the next one, or for the holder itself the present one."""
        order = order_of(authority or self.drivers.authority.read(deed.system_plan.system.name), deed, side)
        at = timestamp(self.drivers.clock.now())
        return {"number": order.number, "side": side.value, "at": at, "ticket": order.ticket}


def outcome_of(result: PlaybookResult, started_at: str, finished_at: str, message: str) -> Outcome:
    """A play's result as an outcome. Timed out or cancelled is unknown: the host may still be at it."""
    observed: dict[str, Any] = {
        "started_at": started_at,
        "finished_at": finished_at,
        "seconds": round(result.seconds, 3),
        "events": result.events,
        "hosts": result.results,
    }
    if result.status == "successful":
        return Outcome.done(message, **observed)
    text = "; ".join(result.failures) or f"{result.playbook} ended {result.status}, rc {result.rc}"
    if result.status in ("timed_out", "cancelled"):
        return Outcome(result=Result.TIMED_OUT, message=text, error="PlaybookFailed", observed=observed)
    retryable = bool(result.hosts_unreachable) and not result.hosts_failed
    return Outcome.failed(text, error="PlaybookFailed", retryable=retryable, **observed)


def fewer_than_before(
    checks: Sequence[HttpCheck], results: Mapping[str, Any], earlier: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What must only grow, and is less than an earlier step of the run saw, at whichever side."""
    now = noted_values(results)
    most: dict[tuple[str, str], float] = {}
    for observed in earlier.values():
        for what, value in noted_values(observed.get("hosts", {})).items():
            most[what] = max(value, most.get(what, value))
    grows = [(check.name, key) for check in checks for key in check.grows]
    return [
        f"{what[0]}: {what[1]} is {now[what]}, it was {most[what]} before"
        for what in grows
        if what in now and what in most and now[what] < most[what]
    ]


def noted_values(results: Any) -> dict[tuple[str, str], float]:
    """The numbers that checks observed, by check and key; `results` are those of a play, by host."""
    if not isinstance(results, Mapping):
        return {}
    asked = [of_host.get("checks") for of_host in results.values() if isinstance(of_host, Mapping)]
    return {
        (name, key): value
        for checks in asked
        if isinstance(checks, Mapping)
        for name, check in checks.items()
        for key, value in check["observed"].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


@dataclass(frozen=True)
class RunPlaybookHandler:
    """Playbooks are idempotent, so a broken-off one is run again; what it did then shows as unchanged."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, RunPlaybook)
        # Asked once: an order of the holder carries the number that was seen to be the holder's.
        authority = self.drivers.authority.read(deed.system_plan.system.name)
        if action.playbook in FOR_THE_HOLDER and authority.side is not action.side:
            raise AuthorityError(
                f"{authority.system}: no {action.playbook} at {action.side.value}, authority is at"
                f" {authority.side.value}"
            )
        if action.playbook == "fence" and deed.mode == "do":
            refuse_to_fence_its_home(self.drivers, deed, action.side)
        player = Player(self.drivers)
        progress(Progress(text=f"{action.playbook} at {action.side.value}"))
        started_at = timestamp(self.drivers.clock.now())
        values = variables(deed, action.side, fence=player.fence_of(deed, action.side, authority))
        run = player.run_prepared if action.prepared else player.play
        result = run(deed, action.playbook, action.side, emit, hosts=hosts_at(deed, action.side), values=values)
        finished_at = timestamp(self.drivers.clock.now())
        return outcome_of(result, started_at, finished_at, f"{action.playbook} at {action.side.value}")


@dataclass(frozen=True)
class CheckHandler:
    """Technical and business checks, each observed value beside the expected one."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, Check)
        if deed.step.phase is Phase.FREEZE and deed.mode == "do":
            stand_ready(self.drivers, deed, *Side)  # the next step takes the service away
        return self.check(deed, action, progress, emit)

    def check(self, deed: Deed, action: Check, progress: ProgressSink, emit: Emit) -> Outcome:
        checks = checks_of(deed, action.levels)
        if not checks:
            return Outcome.failed(
                f"{deed.system_plan.system.name} has no {' or '.join(action.levels)} check: nothing was judged",
                hint="Give the system checks in the inventory; a service that is not asked cannot pass.",
            )
        progress(Progress(text=f"{len(checks)} checks at {action.side.value}"))
        if action.through_front and (refused := self._front_elsewhere(deed, action.side)):
            return refused
        player = Player(self.drivers)
        started_at = timestamp(self.drivers.clock.now())
        values = variables(deed, action.side, fence=player.fence_of(deed, action.side), checks=checks)
        hosts = [host_at(deed, action.side)]
        result = player.run_prepared(deed, "check", action.side, emit, hosts=hosts, values=values)
        finished_at = timestamp(self.drivers.clock.now())
        outcome = outcome_of(result, started_at, finished_at, f"{len(checks)} checks passed at {action.side.value}")
        fewer = fewer_than_before(checks, result.results, deed.earlier) if outcome.passed else []
        if fewer:
            outcome = Outcome.failed("; ".join(fewer), error="CheckFailed", **outcome.observed)
        for check in checks:
            emit(
                "check.result",
                {
                    "check": check.name,
                    "level": check.level,
                    "side": action.side.value,
                    "through_front": action.through_front,
                    "result": outcome.result.value,
                    "hosts": result.results,
                },
            )
        return self._as_clients_see_it(deed, action.side, checks, outcome, emit) if action.through_front else outcome

    def _as_clients_see_it(
        self, deed: Deed, side: Side, checks: Sequence[HttpCheck], outcome: Outcome, emit: Emit
    ) -> Outcome:
        """`outcome`, or what a client's host saw wrong when it asked the name. Names are kept for a while: it waits."""
        front, host = deed.system_plan.system.front, host_at(deed, side)
        port = front.port if isinstance(front, HaproxyFront) else 0
        values = variables(deed, side, fence={})
        values["skerry_checks"] = [check.asked_at(front.name, host.site, port=port) for check in checks]
        clock, player = self.drivers.clock, Player(self.drivers)
        for client in (each for each in deed.plan.hosts.values() if each.sees_fronts):
            answer = self.drivers.front.current(front)
            until = clock.monotonic_seconds() + (answer.ttl_seconds if answer else 0) + FOLLOW_SECONDS_MAX
            while outcome.passed:
                try:
                    result = player.run_prepared(deed, "check", side, emit, hosts=[client], values=values)
                except HostUnreachable as error:
                    emit("front.not_seen", {"name": front.name, "from": client.name, "why": error.message})
                    break
                if result.status == "successful":
                    seen = {"from": client.name, "at": timestamp(clock.now()), **result.results[client.name]}
                    emit("front.seen", {"name": front.name, "side": side.value, **seen})
                    return outcome.model_copy(update={"observed": {**outcome.observed, "seen": seen}})
                if clock.monotonic_seconds() >= until:
                    why = "; ".join(result.failures) or result.status
                    return Outcome.failed(f"{front.name}, seen from {client.name}: {why}", error="CheckFailed")
                clock.sleep(LOOK_AGAIN_SECONDS)
        return outcome

    def _front_elsewhere(self, deed: Deed, side: Side) -> Outcome | None:
        front = deed.system_plan.system.front
        answer = self.drivers.front.current(front)
        wanted = host_at(deed, side).address
        if answer is not None and answer.address == wanted:
            return None
        seen = answer.address if answer else "nothing"
        return Outcome.failed(f"{front.name} answers {seen}, expected {wanted}", error="CheckFailed")
