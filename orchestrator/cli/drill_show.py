"""What a drill in a bubble showed, as a table; and moments as drills print them."""

from collections.abc import Callable
from typing import Any

import click


def teller(*, as_json: bool) -> Callable[[Any], None]:
    """Says how it goes on, to people."""
    return lambda progress: None if as_json else click.echo(f"  {progress.text}", err=True)


def moment(text: str) -> str:
    return text[:16].replace("T", " ") + "Z" if text else ""


def _machine(machine: Any) -> list[tuple[str, str]]:
    """Whether it came up, by what it said; and where console and picture lie below the ledger's folder."""
    from orchestrator.evidence.artifacts import artifact_path
    from orchestrator.foundation.amounts import seconds_text

    found = f"{'up' if machine.up else 'not up'} after {seconds_text(machine.seconds)}"
    by = f"by {machine.firmware}, {machine.accelerator}"
    kept = (("console", machine.console), ("screen", machine.picture))
    return [
        (f"machine {machine.dataset}", "; ".join([f"{found}, {by}", *machine.wrong, *machine.last_lines[-1:]])),
        *((f"  its {what}", artifact_path(digest)) for what, digest in kept if digest),
    ]


def show_bubble(drill: Any) -> None:
    from orchestrator.cli.console import bad, console, good, table
    from orchestrator.foundation.amounts import seconds_text

    out = console()
    rows: list[tuple[str, str]] = [
        ("point", f"{drill.point} of {moment(drill.point_at)}, on {drill.host}"),
        ("clones", ", ".join(f"{each.dataset} by {each.how} in {seconds_text(each.seconds)}" for each in drill.clones)),
        (
            "isolation",
            f"{len(drill.attempts)} attempts from within, none got through"
            if drill.isolated
            else f"{sum(each.reached for each in drill.attempts)} of {len(drill.attempts)} attempts got through"
            if drill.attempts
            else "not tried",
        ),
        *(row for each in drill.machines for row in _machine(each)),
        ("started", ", ".join(f"{each.unit} after {seconds_text(each.seconds)}" for each in drill.started)),
        ("seconds", ", ".join(f"{what} {seconds_text(spent)}" for what, spent in drill.seconds.items())),
        *((f"check {each.name}", "passed" if each.passed else "; ".join(each.wrong)) for each in drill.checks),
        *((each.objective, _verdict_told(each)) for each in drill.verdicts),
        *((f"with {each.system}", _verdicts_told(each.verdicts, f"from {each.point}")) for each in drill.with_systems),
        *((("the service", _verdicts_told(drill.service)),) if drill.service else ()),
        *((f"without {each}", "its replica lies on another host") for each in drill.without_systems),
        (
            "way back",
            ", ".join(f"{each.dataset} in {seconds_text(each.seconds)}" for each in drill.carried_back)
            or "not tried",
        ),
        (
            "replication",
            ", ".join(f"{each.dataset} {each.when}: {each.bytes_behind} B behind" for each in drill.replication)
            or "nothing streams",
        ),
        ("erased", drill.erased_at or "not seen"),
        ("production", "; ".join(drill.production_changed) or "as before"),
        ("left behind", "nothing" if not drill.left.any else str(drill.left)),
    ]
    if drill.inject:
        rows.append((f"inject {drill.inject}", f"found: {drill.found}" if drill.found else "not found"))
    out.print(table(("drill", drill.system), rows))
    out.print(good("passed") if drill.passed else bad("failed"))


def _verdict_told(verdict: Any) -> str:
    from orchestrator.foundation.amounts import seconds_text

    told = f"{seconds_text(verdict.actual_seconds)} of {seconds_text(verdict.target_seconds)}"
    return told + ("" if verdict.met else ", missed")


def _verdicts_told(verdicts: Any, *first: str) -> str:
    return ", ".join([*first, *(f"{each.objective} {_verdict_told(each)}" for each in verdicts)])
