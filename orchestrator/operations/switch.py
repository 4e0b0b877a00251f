"""Cutover, failover, failback and rollback of one system as plans of their own, from the shipped runbooks.

The same words give the same plan as long as the estate and the facts are the same: ask once, have it approved, ask
again.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from orchestrator.contracts.engine import RunStatus
from orchestrator.evidence.words import WORD_VALID_DEFAULT, sign_word
from orchestrator.foundation.errors import ApprovalInvalid, UsageError
from orchestrator.foundation.places import shipped_folder
from orchestrator.foundation.written_file import did_you_mean
from orchestrator.model.names import Name, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.site import Side
from orchestrator.model.word import SignedWord, WordKind
from orchestrator.operations import migrate
from orchestrator.operations.accounts import run_with_way_back
from orchestrator.operations.desk import Desk
from orchestrator.operations.lost_sides import leave_runs_of_lost_side
from orchestrator.operations.survey import newest_facts
from orchestrator.planning.runbook import Scalar
from orchestrator.steps.words import word_key

Switch = Literal["cutover", "failover", "failback", "rollback"]


def ensure_system(desk: Desk, system: str) -> SystemName:
    """The system's name; UsageError where the estate has none of it."""
    known = list(desk.inventory.systems)
    if system not in known:
        raise UsageError(
            f"no system is called {system}{did_you_mean(system, known)}", hint=f"There are: {', '.join(known)}"
        )
    return system


def switch_plan(
    desk: Desk, kind: Switch, system: SystemName, *, author: Name, inputs: Mapping[str, Scalar] | None = None
) -> Plan:
    """The plan of this switch, made and kept. Touches no host; raises PlanningError with every reason why not."""
    return desk.make_plan(
        shipped_folder("runbooks") / f"{kind}.yml",
        wave=f"{kind}-{system}",
        author=author,
        facts=newest_facts(desk.inventory, desk.catalogue),
        systems=[ensure_system(desk, system)],
        inputs=dict(inputs or {}),
    )


def run_switch(
    desk: Desk,
    plan: Plan,
    *,
    kind: Switch,
    operator: Name,
    on_run: migrate.OnRun = migrate.tell_nobody,
    skip: Mapping[str, str] | None = None,
    hold: bool = False,
) -> RunStatus:
    """Run the plan in this process; with `hold` it pauses before the commit.

    ApprovalMissing until enough of the right persons approved it.
    """
    if kind == "failover":
        leave_runs_of_lost_side(desk, plan, operator=operator, on_run=on_run)
    return desk.run(plan, operator=operator, kind=kind, on_run=on_run, skip=skip, stage="cutover" if hold else None)


def give_word(
    desk: Desk,
    kind: WordKind,
    *,
    system: SystemName,
    side: Side,
    person: Name,
    role: Name | None,
    key_file: str,
    because: str,
    account: Mapping[str, Any] | None = None,
    valid_for: timedelta = WORD_VALID_DEFAULT,
) -> SignedWord:
    """Sign and keep a person's word about `side`: good while the system's fencing number stays what it is now.

    `account` is what was shown to the person of what only the side holds; it is signed with the word.
    """
    present = desk.authority.read(ensure_system(desk, system))
    if kind == "side_is_down" and present.side is not side:
        raise ApprovalInvalid(
            f"{system}: authority is at {present.side.value}; that {side.value} is down needs nobody's word",
            hint="A word is asked for only about the side that may write.",
        )
    if kind == "loss_accepted" and present.side is side and run_with_way_back(desk, system, side) is None:
        raise ApprovalInvalid(
            f"{system}: {side.value} may write now, and no run leads back from there, so nothing of it is given up"
        )
    held = desk.inventory.people[person].roles if person in desk.inventory.people else ()
    if role is None and len(held) > 1:
        raise UsageError(f"{person} holds several roles: {', '.join(held)}", hint="Say which: --role ROLE")
    word = sign_word(
        kind,
        system=system,
        side=side,
        number=present.number,
        person=person,
        role=role or (held[0] if held else "none"),
        because=because,
        account=dict(account or {}),
        key_file=key_file,
        people=desk.inventory.people,
        clock=desk.clock,
        valid_for=valid_for,
    )
    key = f"{word_key(kind, system, side, present.number)}{word.at}-{person}"
    desk.catalogue.put("word", key, word.model_dump(mode="json"))
    return word
