"""What the drills of a run showed: isolation, measures of each system and of the service, way back, trend."""

from typing import Any

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.reading.material import Material
from orchestrator.evidence.reading.report_parts import Cell, Html, chip, facts, table, whole
from orchestrator.evidence.reading.words import duration, readable, text

_HEAD = ["System", "Objective", "Asked for", "Measured", "Verdict"]
_TREND_OF = ("RTO", "RPO")
# What a drill's time goes into, in turn; the log has it by name.
_SPENT_ON = ("looks", "bring", "clone", "isolation", "data", "start", "checks", "back", "close")


def drills(material: Material) -> str:
    """The section, as HTML: one drill after the other, as they ended."""
    return "".join(map(_drill, material.story.of("drill.finished")))


def _drill(event: LoggedEvent) -> str:
    said = event.data
    if "kept" in said:
        return f"<p>What the drill of entry {event.index} showed is withheld.</p>"
    verdict = "passed" if said.get("passed") else "failed"
    heading = f"<h3>{text(said['system'])} {chip(verdict).code}</h3>"
    return heading + facts(_told(said, event.index)) + table(_HEAD, _verdicts(said), numbers=(2, 3)) + _trend(said)


def _told(said: dict[str, Any], index: int) -> list[tuple[str, Cell]]:
    clones = [f"{each['dataset']} by {each['how']} in {duration(each['seconds'])}" for each in said["clones"]]
    back = [
        f"{each['dataset']}: {each['bytes_carried']} bytes in {duration(each['seconds'])}"
        for each in said["carried_back"]
    ]
    streams = [f"{each['dataset']} {each['when']}: {each['bytes_behind']} bytes behind" for each in said["replication"]]
    spent = [f"{what} {duration(said['seconds'][what])}" for what in _SPENT_ON if what in said["seconds"]]
    left = [f"{name}: {each}" for name, each in said["left"].items() if each]
    rows: list[tuple[str, Cell]] = [
        ("Recovery point", f"{said['point']} of {readable(said['point_at'])}, on {said['host']}"),
        ("Clock began", readable(said["begun_at"])),
        ("Every check had passed", readable(said["operational_at"]) or "never"),
        ("Cloned", ", ".join(clones)),
        ("Where the time went", ", ".join(spent)),
        ("Isolated", f"{'yes' if said['isolated'] else 'no'}, {said['attempts']} attempts from within"),
        ("Who may enter", ", ".join(said["may_enter"]) or "whoever may drill"),
        ("Left out", ", ".join(f"{each}: its replica lies elsewhere" for each in said["without_systems"])),
        ("Carried back", ", ".join(back) or "not tried"),
        ("Replication", ", ".join(streams) or "nothing streams"),
        ("Production", "; ".join(said["production_changed"]) or "as before"),
        ("Left behind", "; ".join(left) or "nothing"),
        ("Erased", readable(said["erased_at"]) or "not seen"),
        ("Why it did not pass", "; ".join(said["why_not"])),
        ("Log entry", index),
    ]
    return [row for row in rows if row[1] != ""]


def _verdicts(said: dict[str, Any]) -> list[list[Cell]]:
    members = [(each["system"], each["verdicts"]) for each in said["with_systems"]]
    whole_service = [("the service", said.get("service", ()))]
    return [
        [name, each["objective"], duration(each["target_seconds"]), duration(each["actual_seconds"]), _met(each)]
        for name, verdicts in (*members, (said["system"], said["verdicts"]), *whole_service)
        for each in verdicts
    ]


def _met(verdict: dict[str, Any]) -> Html:
    return chip("met" if verdict["met"] else "missed")


def _trend(said: dict[str, Any]) -> str:
    """The drill and those before it, oldest first, each measure with a bar as long as it took."""
    this = {"at": said["begun_at"], "verdicts": said["verdicts"]}
    rows: list[list[Cell]] = []
    drilled = [each for each in (*said.get("trend", ()), this) if each["verdicts"]]
    for objective in _TREND_OF if len(drilled) > 1 else ():
        found = [(each["at"], row) for each in drilled for row in each["verdicts"] if row["objective"] == objective]
        longest = max(row["actual_seconds"] for _, row in found) or 1.0
        for at, row in found:
            width = max(1, round(100 * row["actual_seconds"] / longest))
            bar = Html(f'<span style="display:inline-block;height:.7em;width:{width}px;background:#4a7fb5"></span>')
            rows.append([objective, whole(readable(at)), bar, duration(row["actual_seconds"]), _met(row)])
    return (
        "<h4>Trend</h4>" + table(["Objective", "Drill of", "", "Measured", "Verdict"], rows, numbers=(3,))
        if rows
        else ""
    )
