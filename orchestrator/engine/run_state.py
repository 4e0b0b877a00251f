"""Where the run of one system stands: a value, folded from its events by the reducer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.contracts.engine import SystemState
from orchestrator.engine.turns import Mode

# Verbs that no handler carries: the engine waits for a person, or for time.
PERSON_VERBS = frozenset({"approval", "manual", "decision"})
TIME_VERBS = frozenset({"wait"})
UNDO_ATTEMPTS_MIN = 2

Key = tuple[str, Mode]
Course = Literal["forward", "stopping", "turning", "backward"]


@dataclass(frozen=True)
class Progress:
    """Where one step stands in one direction. `settled_absent`: a person found that it had not taken effect."""

    state: Literal["running", "waiting", "resting", "done", "failed", "unknown", "waived"]
    attempts: int = 0
    message: str = ""
    settled_absent: bool = False


@dataclass(frozen=True)
class RunState:
    """One system's run, folded from its events.

    `course`: forward; stopping (a person will decide) and turning (roll-back will follow) let what is under way end;
    backward undoes. `ended` is the order in which forward steps ended. `is_over`: nothing can move it any more, and
    other runs may take the system.
    """

    status: SystemState = "waiting"
    reason: str = ""
    course: Course = "forward"
    paused: bool = False
    stops: frozenset[str] = frozenset()  # steps before which a person wants the run to pause
    progress: Mapping[Key, Progress] = field(default_factory=dict)
    deadlines: Mapping[Key, float] = field(default_factory=dict)
    due: Mapping[str, float] = field(default_factory=dict)  # by when a step must have passed, or all is rolled back
    ended: tuple[str, ...] = ()
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    answered: frozenset[int] = frozenset()
    beyond_return: str = ""
    committed: bool = False
    doors: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # gates that may be gone round: by whom, and why
    gone_round: tuple[str, ...] = ()  # those that were, in words
    asked_back: bool = False  # it turned because a person asked, and for no other reason
    is_over: bool = False

    @property
    def running(self) -> tuple[Key, ...]:
        return tuple(key for key, progress in self.progress.items() if progress.state == "running")

    @property
    def is_busy(self) -> bool:
        """Something is under way, or is about to be tried again."""
        return any(progress.state in ("running", "resting") for progress in self.progress.values())

    @property
    def next_deadline(self) -> tuple[float, Key] | None:
        found: list[tuple[float, Key]] = [(at, key) for key, at in self.deadlines.items()]
        if self.course == "forward" and not self.is_over:
            # Once it turns, or waits for a person, nothing is late; where it goes on, it may be late at once.
            found += [(at, (step, "do")) for step, at in self.due.items()]
        return min(found, default=None)
