"""Standing work: rounds of replication, points and verifications over an opened desk, once or over and over."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.contracts.observer import Recorder
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import EngineError, Interrupted, OrchestratorError, RunInProgress, UsageError
from orchestrator.model.frozen import Frozen
from orchestrator.model.names import SystemName
from orchestrator.model.replication import Round
from orchestrator.model.site import Side
from orchestrator.model.step import Phase
from orchestrator.operations.desk import Desk
from orchestrator.operations.lag import SystemLag, lag_of_estate
from orchestrator.operations.metrics import exposition, replication_families
from orchestrator.operations.points import POINTS_MAX, Points, PruneDecision
from orchestrator.operations.replication import (
    Override,
    Record,
    Replication,
    Tell,
    error_named,
    recording,
    rests_at_new_side,
    seconds_since,
    tell_nobody,
)
from orchestrator.operations.verify import Verifier
from orchestrator.wiring.workshop import Workshop

Done = TypeVar("Done")
WAIT_POLL_SECONDS = 2.0
# From the first of them on a system is on its way from one side to the other.
MOVING = frozenset(
    {Phase.QUIESCE, Phase.FINAL_SYNC, Phase.FENCE_SOURCE, Phase.PROMOTE, Phase.START, Phase.SWITCH_TRAFFIC}
)


def systems_named(desk: Workshop, names: Sequence[str], *, every: bool) -> list[SystemName]:
    """The systems meant; UsageError for an unknown one, for none, and for both ways of naming them."""
    if bool(names) == every:
        raise UsageError("name systems, or say --all")
    unknown = [name for name in names if name not in desk.inventory.systems]
    if unknown:
        known = ", ".join(desk.inventory.systems)
        raise UsageError(f"no system is called {', '.join(unknown)}", hint=f"The estate has: {known}")
    return list(names) or list(desk.inventory.systems)


@contextmanager
def when_free(
    desk: Desk,
    wait_seconds: float,
    show: ProgressSink = lambda progress: None,
    *,
    unmoved: Sequence[SystemName] = (),
) -> Iterator[Recorder]:
    """The ledger between runs; waits for a run, or another of these, for so long, then RunInProgress.

    A run that is just moving a system of `unmoved` is waited for too, even where nobody carries it on. What is waited
    for is shown once.
    """

    def enter() -> tuple[ExitStack, Recorder]:
        with ExitStack() as stack:
            recorder = stack.enter_context(desk.between_runs())
            _ensure_unmoved(desk, unmoved)
            return stack.pop_all(), recorder

    stack, recorder = once_possible(enter, desk.clock, wait_seconds, show)
    with stack:
        yield recorder


def once_possible(attempt: Callable[[], Done], clock: Clock, wait_seconds: float, show: ProgressSink) -> Done:
    """What `attempt` gives as soon as no run is in its way; RunInProgress after `wait_seconds`."""
    deadline = clock.monotonic_seconds() + wait_seconds
    waits_for = ""
    while True:
        try:
            return attempt()
        except RunInProgress as error:
            if clock.monotonic_seconds() >= deadline:
                raise
            if error.message != waits_for:
                show(Progress(text=f"waiting: {error.message}"))
            waits_for = error.message
        clock.sleep(WAIT_POLL_SECONDS)


def _ensure_unmoved(desk: Desk, systems: Sequence[SystemName]) -> None:
    """RunInProgress where a run has begun to move one of them, and clients are not sent to the new side yet."""
    for name in systems:
        run = desk.replication.run_holding(name)
        if not run:
            continue
        moving = {step.id for step in desk.runs.plan(run).system_plan(name).steps if step.phase in MOVING}
        [found] = [each for each in desk.runs.status(run).systems if each.system == name]
        if not moving.isdisjoint(row.step for row in found.steps) and not rests_at_new_side(desk.runs, run, name):
            raise RunInProgress(
                f"run {run} is moving {name}", hint=f"Let it end first. See it with: skerry runs show {run}"
            )


def unrecorded(system: SystemName, kind: str, data: dict[str, Any]) -> None:
    """For what only looks. Saying anything to it is our own mistake."""
    raise ValueError(f"{kind} was to be recorded by a command that only looks")


def replication_over(desk: Desk, record: Record, tell: Tell) -> Replication:
    return Replication(desk.inventory, desk.drivers, desk.handlers, desk.runs, desk.replication, record, tell)


def points_over(desk: Desk, record: Record = unrecorded) -> Points:
    return Points(desk.inventory, desk.drivers, desk.runs, desk.replication, record)


def verifier_over(desk: Desk, record: Record, progress: ProgressSink = lambda progress: None) -> Verifier:
    return Verifier(desk.inventory, desk.drivers, record, progress)


def run_rounds(
    desk: Desk,
    systems: Sequence[SystemName],
    *,
    by: str,
    override: Override,
    wait_seconds: float,
    prune: bool,
    tell: Tell,
    on_round: Callable[[Round, PruneDecision | None], None],
) -> list[Round]:
    """One round of each system, one after the other; one that fails does not keep the next from its turn."""
    done = []
    with when_free(desk, wait_seconds, lambda progress: tell(", ".join(systems), progress)) as recorder:
        record = recording(desk, recorder)
        replication, points = replication_over(desk, record, tell), points_over(desk, record)
        for name in systems:
            round_ = replication.round(name, by=by, override=override)
            removed = points.prune(name, by=by) if prune and round_.result == "passed" else None
            on_round(round_, removed)
            done.append(round_)
    return done


def complain_of_rounds(rounds: Sequence[Round]) -> None:
    """The error of the first round that did not pass, naming all of them."""
    bad = [each for each in rounds if each.result != "passed"]
    if bad:
        told = "; ".join(f"{each.system} {each.result.replace('_', ' ')}: {each.message}" for each in bad)
        raise error_named(bad[0].error, told, bad[0].hint)


def repeat(
    desk: Desk, every_seconds: float, deed: Callable[[], None], on_trouble: Callable[[OrchestratorError], None]
) -> None:
    """`deed` over and over at a fixed beat, until the process is told to end. A beat that was overrun is left out.

    What the world refuses is told and tried again at the next beat; a store out of order ends it.
    """
    start, beat = desk.clock.monotonic_seconds(), 0
    while True:
        try:
            deed()
        except (EngineError, Interrupted):
            raise
        except OrchestratorError as error:
            on_trouble(error)
        beat = max(beat + 1, int((desk.clock.monotonic_seconds() - start) / every_seconds) + 1)
        desk.clock.sleep(max(0.0, start + beat * every_seconds - desk.clock.monotonic_seconds()))


def lag_now(desk: Workshop, systems: Sequence[SystemName] = ()) -> list[SystemLag]:
    """From the store alone."""
    now = desk.clock.now()
    return lag_of_estate(desk.inventory, desk.catalogue, desk.authority, desk.replication, now, systems=systems)


def metrics_text(desk: Workshop) -> str:
    """OpenMetrics of the whole estate, from the store alone."""
    systems = lag_now(desk)
    points = {
        each.system: len(desk.catalogue.list("recovery_point", prefix=f"{each.system}/", limit=POINTS_MAX))
        for each in systems
    }
    verified_at = {
        (each.system, kind): str(found["at"])
        for each in systems
        for kind in ("read", "scrub")
        if (found := desk.catalogue.get("verification", f"{each.system}/{kind}-passed")) is not None
    }
    history = desk.replication
    return exposition(replication_families(systems, history.totals(), history.size(), points, verified_at))


def write_metrics(desk: Workshop, path: Path) -> int:
    """The text into a file that appears whole, readable for everybody, as a collector wants it. Returns its size."""
    text = metrics_text(desk).encode()
    replace_file(path, text, mode=0o644)
    return len(text)


def ask_hosts(desk: Desk, systems: Sequence[SystemName], *, trees_too: bool) -> None:
    """Measure how far the replicas of `systems` are behind, and remember it. Changes nothing on hosts."""
    replication = replication_over(desk, unrecorded, tell_nobody)
    for name in systems:
        if desk.authority.read(name).side is Side.SOURCE:
            replication.ask_lag(name, trees_too=trees_too)


class Pace(Frozen):
    """The round under way: what it is at, how quick it is, and how long it still takes; None: nobody knows."""

    system: str
    dataset: str
    text: str
    bytes_done: int
    bytes_total: int
    bytes_per_second: float
    seconds_left: float | None


def pace_of(desk: Workshop, system: SystemName, *, fresh_seconds: float) -> Pace | None:
    """None where no round is under way, or it has said nothing for so long."""
    last = next(iter(desk.replication.rounds(system, limit=1)), None)
    said = desk.replication.progress(system)
    if last is None or said is None or last.result != "running" or said.round != last.id:
        return None
    if seconds_since(said.at, desk.clock.now()) > fresh_seconds:
        return None
    left = max(0, said.bytes_total - said.bytes_done)
    known = said.bytes_total > 0 and said.bytes_per_second > 0
    return Pace(
        system=system,
        dataset=said.dataset,
        text=said.text,
        bytes_done=said.bytes_done,
        bytes_total=said.bytes_total,
        bytes_per_second=said.bytes_per_second,
        seconds_left=round(left / said.bytes_per_second, 1) if known else None,
    )
