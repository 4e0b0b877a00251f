"""Watch: a side is looked at for a while, and what it writes meanwhile is brought back along the chain."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

from orchestrator.contracts.authority import Order
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.errors import EngineError, EvidenceError, OrchestratorError
from orchestrator.model.action import Check, Watch
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.transfer import TransferReport
from orchestrator.steps.asked import asked
from orchestrator.steps.moving import hop_name
from orchestrator.steps.places import clusters, host_at, trees
from orchestrator.steps.playing import CheckHandler
from orchestrator.steps.readiness import in_parallel
from orchestrator.steps.still_data import StillData, StillDataMover, still_data
from orchestrator.steps.written_over import refuse_open

WATCH_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class WatchHandler:
    """The checks again and again for a while; the first that fails ends the watch, and so does who asks to commit."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, Watch)
        for tree in trees(deed):
            self.drivers.trees.release_last(tree)  # clients do not wait any more
        for cluster in clusters(deed):
            self.drivers.databases.release(cluster)
        clock = self.drivers.clock
        started = clock.monotonic_seconds()
        rounds = 0
        with _Passes(self.drivers, deed, action, emit) as passes:
            while True:
                rounds += 1
                wanted = Check(side=action.side, through_front=True, levels=action.levels)
                outcome = CheckHandler(self.drivers).check(deed, wanted, progress, emit)
                if not outcome.passed:
                    return outcome
                asked_by = "" if action.whole else self._commit_asked(deed)
                if asked_by:
                    emit("watch.ended", {"asked_by": asked_by, "rounds": rounds, "wanted_seconds": action.seconds})
                    break
                left = action.seconds - (clock.monotonic_seconds() - started)
                if left <= 0:
                    break
                progress(Progress(text=f"watching, {left:.0f}s to go{passes.words()}"))
                clock.sleep(min(left, WATCH_PAUSE_SECONDS))
        return Outcome.done(
            f"{rounds} rounds of checks passed" + (f"; {asked_by} asked for the commit" if asked_by else ""),
            rounds=rounds,
            last=outcome.observed,
            followed=passes.account(),
            ended_by=asked_by,
        )

    def _commit_asked(self, deed: Deed) -> str:
        """Who asked for the commit of the run; nobody: ""."""
        word = self.drivers.catalogue.get("commit_asked", deed.run)
        return str(word["by"]) if word is not None else ""


@dataclass
class _Passes:
    """Brings trees and volumes along the chain for as long as it is open, one pass after the other, in a thread.

    Whether databases follow is the mover's business: they stream. A pass that fails is told and counted, and the next
    one brings what it did not.
    """

    drivers: Drivers
    deed: Deed
    action: Watch
    emit: Emit
    done: int = 0
    failed: int = 0
    bytes_wire: int = 0
    last_failure: str = ""
    _ends: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="follow"))
    _going: "Future[None] | None" = None

    def __enter__(self) -> Self:
        if self.action.follow and list(still_data(self.deed)):
            self._going = self._pool.submit(self._go)
        return self

    def __exit__(self, *_: object) -> None:
        """Return when the pass under way has ended; what broke in it that is no error of the world is raised."""
        self._ends.set()
        self._pool.shutdown()
        if self._going is not None:
            self._going.result()

    def words(self) -> str:
        if not self.action.follow:
            return ""
        return f"; the way back stays open: {self.done} passes, {self.bytes_wire} bytes" + (
            f", the last failed: {self.last_failure}" if self.last_failure else ""
        )

    def account(self) -> dict[str, Any]:
        return {
            "passes": self.done,
            "failed": self.failed,
            "bytes_wire": self.bytes_wire,
            "last_failure": self.last_failure,
        }

    def _go(self) -> None:
        while True:
            self._pass()
            if self._ends.wait(WATCH_PAUSE_SECONDS):
                return

    def _pass(self) -> None:
        try:
            for upstream, replica in pairwise(self.action.follow):
                order = refuse_open(self.drivers, self.deed, replica)

                def bring(
                    tree: StillData, hop: tuple[Any, Any] = (upstream, replica), order: Order | None = order
                ) -> TransferReport:
                    above, below = (host_at(self.deed, side, tree.name) for side in hop)
                    return StillDataMover(self.drivers).copy(tree, above, below, order=order)

                for report in in_parallel(bring, list(still_data(self.deed))):
                    self.bytes_wire += report.bytes_wire
                    told = report.model_dump(mode="json", exclude={"changed"})
                    self.emit("transfer.finished", {"hop": hop_name(upstream, replica), **told})
            self.done, self.last_failure = self.done + 1, ""
        except (EvidenceError, EngineError):
            raise
        except OrchestratorError as error:
            self.failed, self.last_failure = self.failed + 1, error.message
            chain = [side.value for side in self.action.follow]
            self.emit("replication.behind", {"chain": chain, "why": error.message})
