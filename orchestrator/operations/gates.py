"""All nine gates of a plan: where each stands, what it asks, what was observed, who decided and until when."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

from orchestrator.contracts.engine import RunStatus
from orchestrator.model.frozen import Frozen
from orchestrator.model.gate import CriterionVerdict
from orchestrator.model.plan import Plan
from orchestrator.model.wave import GateName
from orchestrator.operations.desk import Desk
from orchestrator.operations.wave_gates import GateStanding
from orchestrator.planning.gates import judge_gate

GATES: tuple[GateName, ...] = get_args(GateName)
# not_judged: its time has not come. nowhere: it has no criteria, so nothing was judged, and it is closed.
GateState = Literal["open", "closed", "skipped", "not_judged", "nowhere"]


class GateRow(Frozen):
    """One gate at one place. `by` is who decided; of a gate that a run judges, whose run it was."""

    gate: GateName
    title: str = ""
    where: str
    state: GateState
    criteria: tuple[CriterionVerdict, ...] = ()
    by: tuple[str, ...] = ()
    expires_at: str = ""
    why: str = ""


def gates_of(desk: Desk, plan: Plan, standings: tuple[GateStanding, ...] = ()) -> list[GateRow]:
    """Every gate of the plan, G0 to G8; `standings` are those of its wave, where it is one of a wave."""
    rows = [*_of_wave(plan, standings), *_of_steps(desk, plan)]
    missing = [gate for gate in GATES if gate not in {row.gate for row in rows}]
    rows += [
        GateRow(gate=gate, where="nowhere", state="nowhere", why="it has no criteria, so nothing was judged")
        for gate in missing
    ]
    return sorted(rows, key=lambda row: row.gate)


def _of_wave(plan: Plan, standings: tuple[GateStanding, ...]) -> Iterator[GateRow]:
    places: dict[str, str] = {}
    if plan.terms is not None:
        for where, gates in (
            ("before the wave", plan.terms.entry),
            ("after its soak", plan.terms.exit),
            ("before the old side is retired", plan.terms.retire),
        ):
            places |= {gate.id: where for gate in gates}
    for standing in standings:
        state: GateState = "open" if standing.open else "skipped" if standing.skipped is not None else "closed"
        decided = [f"{word.person} ({word.role}): {word.decision.replace('_', '-')}" for word in standing.words]
        yield GateRow(
            gate=standing.gate,
            title=standing.title,
            where=places[standing.gate],
            state=state,
            criteria=standing.verdict.criteria,
            by=tuple(decided),
            expires_at=standing.expires_at,
            why="" if standing.open else standing.why_closed,
        )


def _of_steps(desk: Desk, plan: Plan) -> Iterator[GateRow]:
    """Gates that the run itself judges, from what its steps observed."""
    runs: dict[str, RunStatus] = {}
    for status in desk.runs.list(limit=1000):
        if status.plan == plan.digest:
            for system in status.systems:
                runs.setdefault(system.system, status)
    found = {run: desk.runs.status(run) for run in {status.run for status in runs.values()}}
    for planned in plan.systems:
        name = planned.system.name
        run = found[runs[name].run] if name in runs else None
        of_system = next((each for each in run.systems if each.system == name), None) if run is not None else None
        rows = of_system.steps if of_system is not None else ()
        earlier: dict[str, Any] = {row.step: row.observed for row in rows if row.mode == "do" and row.state == "done"}
        begun = {row.step: row.state for row in rows if row.mode == "do"}
        for step in planned.steps:
            if step.gate is None:
                continue
            verdict = judge_gate(step.gate, earlier)
            judged = step.id in begun
            _, door, said = (of_system.reason if of_system is not None else "").partition(
                f"gate {step.gate.id} of {step.id} was skipped by "
            )
            state: GateState = (
                "not_judged"
                if not judged
                else "skipped"
                if door
                else "open"
                if verdict.passed or begun[step.id] != "failed"  # what it judged may have been undone since
                else "closed"
            )
            yield GateRow(
                gate=step.gate.id,
                title=step.gate.title,
                where=f"before {step.id} of {name}",
                state=state,
                criteria=verdict.criteria if judged else (),
                by=(run.operator,) if run is not None and judged else (),
                why=f"skipped by {said}" if state == "skipped" else verdict.message if state == "closed" else "",
            )
