"""Drills on a schedule: what is drilled when, and what became of each time it was due."""

from typing import Literal, get_args

from pydantic import Field

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Digest, Name, Seconds, SystemName
from orchestrator.model.wave import Freeze

# coming     its time has not come
# due        it is time, and something is in the way: it is tried again until it is too late
# running    its run is under way, or waits for a person
# passed, failed   what its run came to
# missed     nobody was there in time, or a later time made up for it
# blacked_out      it fell into a time in which nothing is drilled
# refused    there was no plan that people approved, or it is void by now
FireState = Literal["coming", "due", "running", "passed", "failed", "missed", "blacked_out", "refused"]
OVER: frozenset[FireState] = frozenset({"passed", "failed", "missed", "blacked_out", "refused"})

# What a drill may find wrong on purpose, within its bubble or in its own eyes; never at production. docs/drills.md
# says of each what is broken and what finds it.
InjectName = Literal[
    "corrupted_block",
    "missing_point",
    "stopped_dependency",
    "expired_credential",
    "dead_primary",
    "wrong_mapping",
    "quota_full",
    "dead_link",
    "slow_disk",
    "clock_off",
    "replica_behind",
    "tampered_file",
]
INJECTS: tuple[InjectName, ...] = get_args(InjectName)


class ScheduledDrill(Frozen):
    """One drill and its times: a line of cron, read in a time zone.

    A time that the zone skips, when clocks are set forward, is moved to the moment they are; one that it has twice
    counts once, the first time.
    """

    name: Name
    systems: tuple[SystemName, ...] = Field(min_length=1)
    cron: str  # minute, hour, day of month, month, day of week
    time_zone: str
    operator: Name  # in whose name it runs
    runbook: str = "drill"
    tenant: Name = "estate"  # whose drill it is: drills of one tenant run one after the other
    jitter_seconds: Seconds = 0.0  # it starts at a moment within so many seconds after it is due, the same each time
    late_seconds: Seconds = 6 * 3600.0  # how long after its time it may still begin
    missed: Literal["catch_up", "report"] = "catch_up"  # when nobody was there in time
    # One of these is put into each of its systems, in a bubble, every time: whichever was longest ago.
    injects: tuple[InjectName, ...] = Field(default=INJECTS, min_length=1)
    # By their ids; what is not said here is as the runbook's scope has it.
    participants: tuple[Name, ...] = ()
    observers: tuple[Name, ...] = ()
    announced: bool | None = None  # to those whom it concerns


class DrillCalendar(Frozen):
    """All drills of an estate, and when nothing is drilled."""

    drills: tuple[ScheduledDrill, ...]
    blackouts: tuple[Freeze, ...] = ()

    def drill(self, name: str) -> ScheduledDrill | None:
        return next((each for each in self.drills if each.name == name), None)


class Injected(Frozen):
    """What was broken in a drill of one system, and whether that was found and named."""

    system: SystemName
    inject: InjectName | None = None
    drill: str = ""
    found: str = ""
    why_not: str = ""  # why the drill with it did not pass


class Fire(Frozen):
    """One time at which a drill was due, RFC 3339 UTC; `start` is that time with its jitter."""

    drill: Name
    due: str
    start: str
    state: FireState
    because: str = ""
    plan: Digest | None = None
    run: str = ""
    finished_at: str = ""
    injected: tuple[Injected, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.drill}@{self.due}"
