"""The rule of drills: what a drill in a bubble is said to have shown follows from what is on record of it."""

from typing import Any

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.story import RunStory, SystemStory, seconds_between

VERBS = ("drill_in_bubble", "drill_at_cloud")
ROUNDED_SECONDS = 0.01  # times on record have milliseconds


def drills_show_what_they_claim(story: RunStory) -> tuple[list[str], str]:
    """Each system whose step of recovery passed came to life, isolated, within its objectives, and left nothing."""
    problems: list[str] = []
    told: list[str] = []
    for system in story.systems.values():
        passed = [each.started.data.get("action") or {} for each in system.attempts if each.passed]
        if all(action.get("verb") not in VERBS for action in passed):
            continue
        finished = system.of("drill.finished")
        if not finished:
            problems.append(f"{system.name}: its drill passed, and what it showed is not on record")
            continue
        last = finished[-1]
        problems += [f"entry {last.index}: {system.name}: {why}" for why in _wrong(story, system, last)]
        told.append(f"{system.name} from {last.data.get('point')}{_shown(last.data)}")
    return problems, "recovered where nothing leads out, and taken away: " + ("; ".join(told) or "no system was to be")


def _shown(said: dict[str, Any]) -> str:
    """What its claim rests on, in figures."""
    if "kept" in said:
        return ""
    figures = (
        (said.get("attempts", 0), "attempts to get out failed"),
        (len(said.get("checks", ())), "checks passed"),
        (len(said.get("carried_back", ())), "datasets the same once carried back"),
    )
    return f" ({', '.join(f'{count} {what}' for count, what in figures if count)})"


def _wrong(story: RunStory, system: SystemStory, finished: LoggedEvent) -> list[str]:
    said = finished.data
    if "kept" in said:
        return ["what the drill showed is withheld"]
    wrong = [] if said.get("passed") is True else ["the step passed, the drill did not"]
    begun = [event for event in system.of("drill.begun") if event.data.get("id") == said.get("id")]
    proved = [event for event in system.of("bubble.proved") if event.data.get("drill") == said.get("id")]
    if len(begun) != 1 or len(proved) != 1 or not begun[0].index < proved[0].index < finished.index:
        return [*wrong, "it is not on record that it began and was proved isolated before it ended"]
    # The attempts of a large estate are kept beside the log, and may be withheld.
    attempts = proved[0].data.get("attempts", ())
    isolated = said if "kept" in proved[0].data else proved[0].data
    if isolated.get("isolated") is not True or any(each.get("reached") is not False for each in attempts):
        wrong.append("the bubble was not isolated")
    if not attempts and "kept" not in proved[0].data:
        wrong.append("nothing was tried that would show that it is isolated")
    wrong += [f"its check {each.get('name')} did not pass" for each in said.get("checks", ()) if not each.get("passed")]
    if said.get("production_changed"):
        wrong.append("production changed meanwhile")
    if any((said.get("left") or {}).values()):
        wrong.append("the bubble left something behind")
    back = str(said.get("operational_at"))
    if not begun[0].time <= back <= finished.time:
        return [*wrong, "the system was not back between the drill's begin and its end"]
    return wrong + _measures(story.objectives(system.name), said, system)


def _measures(objectives: dict[str, float], said: dict[str, Any], system: SystemStory) -> list[str]:
    """What was measured, made again from the times on record."""
    begun, back = str(said["begun_at"]), str(said["operational_at"])
    actual = {
        "rto": seconds_between(begun, back),
        "rpo": max(0.0, seconds_between(str(said.get("point_at")), begun)),
    }
    wrong = []
    measured = {str(event.data.get("objective")): event for event in system.of("objective.measured")}
    for name, seconds in actual.items():
        if name not in measured:
            wrong.append(f"its {name.upper()} was not measured")
            continue
        claim = measured[name].data
        achieved, target = float(claim["achieved_seconds"]), objectives.get(name)
        if abs(achieved - seconds) > ROUNDED_SECONDS:
            wrong.append(f"its {name.upper()} is said to be {achieved:g} s; the times on record say {seconds:.3f} s")
        if target != claim.get("target_seconds") or claim.get("met") is not (target is not None and achieved <= target):
            wrong.append(f"whether its {name.upper()} was met does not follow from the figures and the plan")
    return wrong
