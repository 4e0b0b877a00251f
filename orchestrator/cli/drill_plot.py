"""The trend of drills in a terminal, and as a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.cli.console import bad, console, good, heading, print_json, quiet, table
from orchestrator.foundation.amounts import seconds_text
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import UsageError
from orchestrator.operations.drill_trend import picture
from orchestrator.steps.drill_measures import Measured

BAR = 30
OBJECTIVES = ("RTO", "RPO")


def show_trends(found: Mapping[str, Sequence[Measured]], *, svg: str | None, as_json: bool) -> None:
    """A bar for each drill; with `svg` a file for each system and objective beside that name."""
    if svg:
        if not found:
            raise UsageError("no drill was measured yet", hint="Begin one: skerry drill bubble SYSTEM --as PERSON")
        for system, trend in found.items():
            for objective in OBJECTIVES:
                path = Path(svg).with_name(f"{Path(svg).stem}-{system}-{objective.lower()}.svg")
                replace_file(path, picture(system, objective, trend).encode(), mode=0o644)
    if as_json:
        print_json({"trends": {name: [each.model_dump(mode="json") for each in rows] for name, rows in found.items()}})
        return
    out = console()
    if not found:
        out.print(quiet("no drill was measured yet; begin one: skerry drill bubble SYSTEM --as PERSON"))
    for system, trend in found.items():
        for objective in OBJECTIVES:
            _show(system, objective, trend)


def _show(system: str, objective: str, trend: Sequence[Measured]) -> None:
    rows = [(each, verdict) for each in trend if (verdict := each.of(objective)) is not None]
    longest = max((verdict.actual_seconds for _, verdict in rows), default=0.0) or 1.0
    out = console()
    asked = rows[-1][1].target_seconds if rows else 0.0
    out.print(heading(f"{system}: {objective}, {seconds_text(asked)} asked for"))
    out.print(
        table(
            ("drill", "", ">measured", ""),
            [
                (
                    each.at[:16].replace("T", " ") + "Z",
                    "█" * max(1, round(BAR * verdict.actual_seconds / longest)),
                    seconds_text(verdict.actual_seconds),
                    good("met") if verdict.met else bad("missed"),
                )
                for each, verdict in rows
            ],
        )
    )
