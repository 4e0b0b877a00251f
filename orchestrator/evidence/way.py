"""From which side to which a plan brings a system, as persons approved it."""

from dataclasses import dataclass

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.story import RunStory


@dataclass(frozen=True)
class Way:
    """From which side to which a system's plan brings it."""

    start: str
    goal: str


def way_of(story: RunStory, system: str) -> Way:
    """What the plan that persons approved says; source to cloud where it says nothing."""
    actions = [step.get("action") or {} for step in story.planned(system).values()]
    moves = [action for action in actions if action.get("verb") in ("move_authority", "seize_authority")]
    commits = [action for action in actions if action.get("verb") == "commit"]
    if not moves:
        # Nothing moves (a drill): the system stays where it is.
        stays = str(commits[-1].get("side")) if commits else "source"
        return Way(stays, "cloud" if not actions else stays)
    return Way(str(moves[0].get("from_side")), str(moves[-1].get("to_side")))


def sides_to_compare(story: RunStory, system: str, moved: LoggedEvent, goal: str) -> set[str]:
    """The sides at which all datasets must have been proved equal before authority moved to `goal`.

    Every side; where one was lost, and a person said so, the two others; on a way back that is a plan of its own, the
    two sides that it is between.
    """
    verbs = {(step.get("action") or {}).get("verb") for step in story.planned(system).values()}
    # A word counts only where the plan that was approved is one of taking over from a lost side.
    if "word" in (moved.data.get("confirmed") or {}) and "seize_authority" in verbs:
        return {"dr", goal}
    if goal == "source" and "verify_digests" not in verbs:
        return {str(moved.data.get("from")), goal}
    return {"source", "dr", "cloud"}
