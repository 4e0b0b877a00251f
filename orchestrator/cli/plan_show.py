"""Plans and their approval, as a person reads them and as programs do."""

from typing import Any

from rich.text import Text

from orchestrator.cli.console import bad, console, good, heading, quiet, short_digest, table
from orchestrator.evidence.told_surroundings import scope_rows
from orchestrator.foundation.amounts import seconds_text, size_text
from orchestrator.model.action import Action
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.site import Side
from orchestrator.model.step import Step
from orchestrator.operations.approve import Standing


def plan_as_data(plan: Plan) -> dict[str, Any]:
    """What `skerry plan make|show --json` prints: the digest, and exactly what it is over."""
    return {"digest": plan.digest, "plan": plan.model_dump(mode="json")}


def action_text(action: Action) -> str:
    """A deed in a few words: `replicate source → dr`, `fence cloud`."""
    values: dict[str, Any] = action.model_dump(mode="json")
    verb = str(values.pop("verb")).replace("_", " ")
    if values.get("playbook"):
        return f"{values['playbook']} {values['side']}"
    ends = [str(values[key]) for key in ("source", "replica", "from_side", "to_side") if key in values]
    if len(ends) == 2:
        point = ", its point" if values.get("read") == "point" else ""
        return f"{verb.removeprefix('move ')} {ends[0]} → {ends[1]}{point}"
    if values.get("chain"):
        return f"{verb} {' → '.join(values['chain'])}"
    if "beside" in values:
        return f"account what only {values['at']} has"
    if "side" in values:
        front = " by front" if values.get("through_front") else ""
        return f"{verb} {values['side']}{front}"
    if verb == "preflight" and values.get("home"):
        return f"look at the way back to {values['home']}"
    if verb == "preflight":
        return f"look at {', '.join(values['sides'])}"
    if "sides" in values:
        compared = " = ".join(values["sides"])
        return f"digests {compared}" if "digest" in verb else f"recovery point {', '.join(values['sides'])}"
    return verb


def way_back(step: Step) -> Text:
    """The inverse of a step, or that it needs none."""
    if step.inverse.action is not None:
        return Text(action_text(step.inverse.action))
    return Text("none after this" if step.point_of_no_return else "none needed", style="dim")


def step_rows(steps: tuple[Step, ...]) -> list[tuple[str | Text, ...]]:
    rows: list[tuple[str | Text, ...]] = []
    phase = ""
    for step in steps:
        shown = step.phase.value.replace("_", " ") if step.phase.value != phase else ""
        phase = step.phase.value
        gate = step.gate.id if step.gate else ""
        rows.append((quiet(shown), step.id, action_text(step.action), gate, way_back(step), seconds_text(step.timeout)))
    return rows


def show_plan(plan: Plan) -> None:
    """Print the plan: header, systems, steps."""
    screen = console()
    screen.print(heading(f"plan {short_digest(plan.digest)}  wave {plan.wave}, by {plan.author}"))
    screen.print(quiet(f"{plan.runbook} {plan.runbook_version} · digest {plan.digest}"))
    screen.print()
    rows = [_system_row(planned) for planned in plan.systems]
    screen.print(
        table(("system", "source → dr → cloud", "datasets", ">to move", ">about", "RTO / RPO", "approval"), rows)
    )
    show_scope(plan)
    screen.print()
    # Systems of one wave share the runbook, so its steps are shown once.
    shown: list[tuple[Step, ...]] = []
    for planned in plan.systems:
        if planned.steps not in shown:
            shown.append(planned.steps)
            screen.print(table(("phase", "step", "what", "gate", "way back", ">limit"), step_rows(planned.steps)))
    screen.print()
    screen.print(quiet(f"{len(plan.closure)} files decide what runs: {', '.join(sorted(plan.closure))}"))


def show_scope(plan: Plan) -> None:
    """Print what the plan is for, and what its author says that no program can see, where it is said."""
    rows = scope_rows(plan.model_dump(mode="json"))
    values = [("Input", f"{name} = {value}") for name, value in plan.inputs.items()]
    if rows or values:
        console().print()
        console().print(table(("about", ""), [*rows, *values]))


def _system_row(planned: SystemPlan) -> tuple[str, ...]:
    system = planned.system
    objectives = f"{seconds_text(system.objectives.rto)} / {seconds_text(system.objectives.rpo)}"
    rule = planned.approval
    return (
        system.name,
        " → ".join(system.host_of(side) for side in Side),
        ", ".join(item.name for item in system.datasets),
        size_text(planned.bytes_expected),
        seconds_text(planned.copy_seconds_expected) if planned.copy_seconds_expected else "",
        objectives,
        f"{rule.persons_min} × {', '.join(rule.roles)}",
    )


def show_standing(standing: Standing) -> None:
    """Print who approved, and what is missing."""
    screen = console()
    screen.print()
    for signed in standing.valid:
        word = signed.statement
        ticket = f", change {word.change_ticket}" if word.change_ticket else ""
        screen.print(good(f"approved by {word.person} as {word.role} at {word.at}, until {word.expires_at}{ticket}"))
    for signed in standing.rejected:
        word = signed.statement
        screen.print(bad(f"rejected by {word.person} as {word.role} at {word.at}: {word.comment or 'no reason given'}"))
    for signed in standing.revoked:
        word = signed.statement
        screen.print(bad(f"taken back by {word.person} as {word.role} at {word.at}: {word.comment}"))
    for refused in standing.refused:
        screen.print(quiet(f"does not count: {refused.person} as {refused.role}: {refused.why}"))
    for text in standing.missing:
        screen.print(bad(f"missing: {text}"))
    if standing.outdated:
        screen.print(bad(f"the plan may not run, whoever approves: {standing.outdated}"))
    elif standing.approved:
        screen.print(good("the plan may run"))
