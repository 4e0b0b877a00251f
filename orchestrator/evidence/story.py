"""One run, read back out of its events: who ordered it, what ran on which system, what was proved, how it ended.

Pure: events and a way to artifacts come in. Nothing is judged here; the rules judge, the reading copies tell.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.foundation.canonical_json import read_json
from orchestrator.foundation.errors import BrokenLog

ArtifactReader = Callable[[str], bytes | None]  # digest → content, None where it is withheld


@dataclass
class Played:
    """A playbook within a step, or the program prepared for the same deed.

    How many events of it were logged, and what its end said. A program has no events but its end.
    """

    playbook: str
    counters: list[int] = field(default_factory=list)
    finished: dict[str, Any] | None = None
    program: str = ""

    @property
    def path(self) -> str:
        """Where the plan's closure has it."""
        return f"playbooks/files/{self.program}" if self.program else f"playbooks/{self.playbook}.yml"


@dataclass
class Attempt:
    """One attempt of one step, done or undone."""

    system: str
    step: str
    number: int
    mode: str
    started: LoggedEvent
    finished: LoggedEvent | None = None
    starts: int = 1  # more than one: cut off by a crash and gone on with
    observed: dict[str, Any] = field(default_factory=dict)
    played: list[Played] = field(default_factory=list)
    last_index: int = 0

    @property
    def status(self) -> str:
        return str(self.finished.data.get("status", "")) if self.finished else "open"

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    @property
    def seconds(self) -> float:
        return float(self.finished.data.get("durationSeconds", 0.0)) if self.finished else 0.0

    @property
    def message(self) -> str:
        return str(self.finished.data.get("message", "")) if self.finished else ""


@dataclass
class SystemStory:
    """What happened to one system, in the order of the log."""

    name: str
    planned: dict[str, dict[str, Any]] = field(default_factory=dict)  # its steps by their ids
    attempts: list[Attempt] = field(default_factory=list)
    other: list[LoggedEvent] = field(default_factory=list)

    def of(self, kind: str) -> list[LoggedEvent]:
        return [event for event in self.other if event.type == kind]

    def passed(self, step: str, mode: str = "do") -> Attempt | None:
        """The attempt that passed, or None."""
        found = [each for each in self.attempts if (each.step, each.mode) == (step, mode) and each.passed]
        return found[-1] if found else None

    @property
    def was_rolled_back(self) -> bool:
        return bool(self.of("rollback.finished"))

    @property
    def was_committed(self) -> bool:
        return bool(self.of("system.committed")) and not self.of("rollback.started")

    @property
    def was_carried_out(self) -> bool:
        """A plan that commits nothing, such as a drill, has ended well when each of its steps passed."""
        commits = any((step.get("action") or {}).get("verb") == "commit" for step in self.planned.values())
        return bool(self.planned) and not commits and all(self.passed(step) is not None for step in self.planned)

    @property
    def has_succeeded(self) -> bool:
        return self.was_committed or self.was_carried_out


@dataclass
class RunStory:
    """A whole run. `plan` is what persons approved, as JSON; empty where its artifact is withheld."""

    run: str
    events: list[LoggedEvent]
    plan_digest: str = ""
    plan: dict[str, Any] = field(default_factory=dict)
    systems: dict[str, SystemStory] = field(default_factory=dict)

    def of(self, kind: str) -> list[LoggedEvent]:
        return [event for event in self.events if event.type == kind]

    def first(self, kind: str) -> LoggedEvent | None:
        return next(iter(self.of(kind)), None)

    @property
    def created(self) -> dict[str, Any]:
        event = self.first("run.created")
        return event.data if event else {}

    @property
    def kind(self) -> str:
        return str(self.created.get("kind", ""))

    @property
    def operator(self) -> str:
        return str(self.created.get("operator", ""))

    @property
    def author(self) -> str:
        return str(self.plan.get("author") or self.created.get("author", ""))

    @property
    def result(self) -> str:
        event = self.first("run.finished")
        return str(event.data.get("result", "")) if event else "unfinished"

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Path → artifact of every file of the plan's closure that was put on record."""
        event = self.first("runbook.registered")
        listed = event.data.get("files", {}) if event else {}
        return {str(path): ref for path, ref in listed.items() if isinstance(ref, dict)} if listed else {}

    def planned(self, system: str) -> dict[str, dict[str, Any]]:
        """Step id → step, as the plan has them for `system`."""
        for each in self.plan.get("systems", []):
            if each["system"]["name"] == system:
                return {step["id"]: step for step in each["steps"]}
        return {}

    def objectives(self, system: str) -> dict[str, float]:
        for each in self.plan.get("systems", []):
            if each["system"]["name"] == system:
                return {name: float(seconds) for name, seconds in each["system"]["objectives"].items()}
        return {}


def moment(text: str) -> datetime:
    """A logged time; BrokenLog when it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BrokenLog(f"{text[:40]!r} is not a time") from None
    if found.tzinfo is None:
        raise BrokenLog(f"{text[:40]!r} is a time without zone")
    return found


def seconds_between(earlier: str, later: str) -> float:
    return (moment(later) - moment(earlier)).total_seconds()


def references(value: Any) -> Iterator[dict[str, Any]]:
    """Every artifact reference within an event's data."""
    if isinstance(value, dict):
        if {"digest", "size", "mediaType"} <= value.keys():
            yield value
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def load_json(content: bytes | None, what: str) -> Any:
    """An artifact's JSON; None where it is withheld."""
    if content is None:
        return None
    try:
        return read_json(content)
    except ValueError as error:
        raise BrokenLog(f"{what} is not JSON: {error}") from None


@contextmanager
def as_logged() -> Iterator[None]:
    """Data of another shape than its kind has is a dishonest or broken writer's, not our own trouble: BrokenLog."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise BrokenLog(f"what was logged is malformed: {type(error).__name__}: {error}") from error


def tell_story(events: Sequence[LoggedEvent], artifact: ArtifactReader) -> RunStory:
    """The story of the run that `events` are of, in order. BrokenLog when an event lacks what its kind must have."""
    if not events:
        raise BrokenLog("there are no events")
    with as_logged():
        whole = [_whole(event, artifact) for event in events]
        story = RunStory(events[0].run, whole)
        created = story.first("run.created")
        if created is not None:
            reference = created.data.get("planArtifact", {})
            story.plan_digest = str(created.data.get("plan", ""))
            plan = load_json(artifact(str(reference.get("digest", ""))), "the plan") if reference else None
            story.plan = plan if isinstance(plan, dict) else {}
        for event in whole:
            if event.system:
                system = story.systems.setdefault(event.system, SystemStory(event.system, story.planned(event.system)))
                _tell_of_system(system, event, artifact)
    return story


def _whole(event: LoggedEvent, artifact: ArtifactReader) -> LoggedEvent:
    """An event whose data was too large for the log, with its data again."""
    if set(event.data) != {"kept"}:
        return event
    data = load_json(artifact(str(event.data["kept"].get("digest", ""))), f"the data of entry {event.index}")
    return replace(event, data=data) if isinstance(data, dict) else event


def _tell_of_system(system: SystemStory, event: LoggedEvent, artifact: ArtifactReader) -> None:
    number = int(event.subject.split("/")[2]) if event.step else 0
    mode = str(event.data.get("mode", "do"))
    attempt = _attempt(system, event.step, number, mode if event.type.startswith("step.") else "")
    if attempt is not None:
        attempt.last_index = event.index
    match event.type:
        case "step.started" if attempt is not None and attempt.finished is None:
            attempt.starts += 1
        case "step.started":
            system.attempts.append(
                Attempt(system.name, event.step, number, mode, started=event, last_index=event.index)
            )
        case "step.finished" if attempt is not None:
            attempt.finished = event
            attempt.observed = _observed(event, artifact)
        case "ansible.event" if attempt is not None:
            counter = int(event.data["counter"])
            _play(attempt, event.data["playbook"], counter).counters.append(counter)
        case "playbook.finished" if attempt is not None:
            _play(attempt, event.data["playbook"]).finished = event.data
        case "program.finished" if attempt is not None:
            end = {**event.data, "events": 0}
            attempt.played.append(Played(str(event.data["deed"]), finished=end, program=str(event.data["program"])))
        case _:
            system.other.append(event)


def _attempt(system: SystemStory, step: str, number: int, mode: str) -> Attempt | None:
    """The newest attempt that an event belongs to; number 0 (a step given up on) takes the newest of its step."""
    for attempt in reversed(system.attempts):
        if attempt.step == step and number in (attempt.number, 0) and mode in (attempt.mode, ""):
            return attempt
    return None


def _play(attempt: Attempt, playbook: str, counter: int = 0) -> Played:
    """The playbook's run that goes on; another begins after its end, and when its counter starts anew after a crash."""
    last = attempt.played[-1] if attempt.played else None
    if last is None or last.playbook != playbook or last.finished is not None or (counter == 1 and last.counters):
        last = Played(playbook)
        attempt.played.append(last)
    return last


def _observed(event: LoggedEvent, artifact: ArtifactReader) -> dict[str, Any]:
    observed = event.data.get("observed")
    if "observedArtifact" in event.data:
        observed = load_json(artifact(str(event.data["observedArtifact"]["digest"])), "what a step observed")
    return observed if isinstance(observed, dict) else {}
