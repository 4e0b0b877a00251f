"""Replicate: rounds outside of any run, with evidence. Source → DR, each with a recovery point that is proved.

Once a system lives at the cloud its rounds go cloud → DR → source, so that the way back stays open; they hold no point.
So do those of a run that waits for its commit, along the chain of its own step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.contracts.databases import Role
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.engine import Runs, SystemState
from orchestrator.contracts.handler import Deed, Handlers
from orchestrator.contracts.observer import Recorder, with_references
from orchestrator.contracts.progress import Progress
from orchestrator.contracts.replication import ReplicationHistory
from orchestrator.contracts.trees import CopyOutlook
from orchestrator.evidence.envelope import LOG_RUN
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.database_name import named_database
from orchestrator.foundation.errors import (
    AuthorityError,
    EngineError,
    EvidenceError,
    HostError,
    Interrupted,
    OrchestratorError,
    RunInProgress,
    SourceShrank,
    UsageError,
)
from orchestrator.model.action import Follow, Replicate, SwitchFront, TakeRecoveryPoint
from orchestrator.model.dataset import BlockVolume, FileTree, PostgresCluster
from orchestrator.model.event import RunEvent
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import Name, SystemName
from orchestrator.model.outcome import Outcome
from orchestrator.model.replication import LagSample, Round, RoundProgress
from orchestrator.model.site import Side
from orchestrator.model.step import Inverse, Phase, Step
from orchestrator.model.system import System
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.outside_runs import deed_outside_runs
from orchestrator.steps.points import newest_point, point_id
from orchestrator.steps.shrinking import shrinkage
from orchestrator.steps.starts import guard_starts
from orchestrator.wiring.workshop import Workshop

# Says one event of a system to the evidence; durable when it returns.
Record = Callable[[SystemName, str, dict[str, Any]], None]
Tell = Callable[[SystemName, Progress], None]


def tell_nobody(_system: SystemName, _progress: Progress) -> None:
    """Nobody watches."""


def recording(workshop: Workshop, recorder: Recorder) -> Record:
    """Events of no run: they stand in the log under its own name, with their system."""

    def record(system: SystemName, kind: str, data: dict[str, Any]) -> None:
        at = timestamp(workshop.clock.now())
        told = with_references(data, recorder.keep)
        recorder.record(RunEvent(type=kind, run=LOG_RUN, system=system, at=at, data=told))

    return record


ATTEMPTS_MAX = 3  # of a deed whose failure says that trying again can help
PROGRESS_EVERY_SECONDS = 1.0
BEFORE_THE_FIRST = ""
REFUSALS = (RunInProgress, AuthorityError, SourceShrank)

_NOTHING_TO_UNDO = Inverse(none_because="a replica that is newer does no harm")
STEPS = (
    Step(
        id="replicate",
        title="Bring DR up to date",
        phase=Phase.REPLICATE,
        action=Replicate(source=Side.SOURCE, replica=Side.DR),
        inverse=_NOTHING_TO_UNDO,
    ),
    Step(
        id="recovery_point",
        title="Hold one moment at both, and prove it",
        phase=Phase.REPLICATE,
        action=TakeRecoveryPoint(sides=(Side.SOURCE, Side.DR)),
        needs=("replicate",),
        inverse=_NOTHING_TO_UNDO,
    ),
)
FOLLOW_BACK = Step(
    id="follow_back",
    title="Bring DR and the source up to what the cloud holds",
    phase=Phase.REPLICATE,
    action=Follow(chain=(Side.CLOUD, Side.DR, Side.SOURCE)),
    inverse=_NOTHING_TO_UNDO,
)
FOLLOW_ALONE = FOLLOW_BACK.model_copy(
    update={"title": "Bring DR up to what the cloud holds", "action": Follow(chain=(Side.CLOUD, Side.DR))}
)  # the source was given up


def find_system(inventory: Inventory, name: str) -> System:
    if name not in inventory.systems:
        known = ", ".join(inventory.systems)
        raise UsageError(f"no system is called {name}", hint=f"The estate has: {known}")
    return inventory.systems[name]


@dataclass(frozen=True)
class Override:
    """A person's word that these datasets may shrink, this once."""

    datasets: frozenset[str] = frozenset()
    because: str = ""


@dataclass
class Replication:
    """Rounds over one estate. Whoever calls sees to it that no worker and no other round is at it."""

    inventory: Inventory
    drivers: Drivers
    handlers: Handlers
    runs: Runs
    history: ReplicationHistory
    record: Record
    tell: Tell = tell_nobody
    _told_at: dict[str, float] = field(default_factory=dict)

    def round(
        self, name: SystemName, *, by: Name, override: Override | None = None, waiting: Deed | None = None
    ) -> Round:
        """One round of one system, whatever comes of it: the round says so. What breaks our own machinery is raised.

        `waiting` is the deed that is done once more for a run at rest, whose engine lets nothing else happen meanwhile.
        """
        system = find_system(self.inventory, name) if waiting is None else waiting.system_plan.system
        holder = self._held_by(name) if waiting is None else ""
        if not holder:
            self._close_what_broke_off(name)
        started = self.drivers.clock.monotonic_seconds()
        round_ = Round(id=new_run_id(), system=name, by=by, started_at=self._now())
        round_ = round_.model_copy(update={"point": point_id(self._deed(system, round_, STEPS[1]))})
        self.history.put_round(round_)
        try:
            side = self.drivers.authority.read(name).side
            if waiting is None:
                self._refuse_what_is_not_ours(system, side, holder)
            of_run = {"of_run": waiting.run} if waiting is not None else {}
            self.record(name, "replication.started", {"round": round_.id, "by": by, **of_run})
            self._guard_starts(system, round_)
            self._look_before(system, round_, override or Override())
            follows = waiting is not None or side is Side.CLOUD
            done = self._follow_back(system, round_, waiting) if follows else self._carry_out(system, round_)
        except (EvidenceError, EngineError, Interrupted):
            raise
        except OrchestratorError as error:
            result = "refused" if isinstance(error, REFUSALS) else "failed"
            problem = {"result": result, "message": error.message, "error": type(error).__name__, "hint": error.hint}
            done = round_.model_copy(update=problem)
        seconds = round(self.drivers.clock.monotonic_seconds() - started, 3)
        done = done.model_copy(update={"finished_at": self._now(), "seconds": seconds})
        self.record(name, "replication.finished", {"round": done.id, **done.model_dump(mode="json", exclude={"id"})})
        self.history.put_round(done)
        self._note_lag(system, done)
        return done

    # -- before

    def _close_what_broke_off(self, name: SystemName) -> None:
        """Nobody else is at it, so a round that still runs was cut off."""
        for left in self.history.rounds(name, limit=10):
            if left.result == "running":
                told = {"result": "broken_off", "finished_at": self._now(), "message": "its process ended"}
                self.history.put_round(left.model_copy(update=told))
                self.record(name, "replication.finished", {"round": left.id, "result": "broken_off"})

    def _held_by(self, name: SystemName) -> str:
        """The run that lets nobody else bring rounds of this system; "": there is none."""
        run = self.history.run_holding(name)
        return run if run and keeps_rounds_to_itself(self.runs, run, name) else ""

    def _refuse_what_is_not_ours(self, system: System, side: Side, holder: str) -> None:
        if holder:
            raise RunInProgress(
                f"{system.name} is held by run {holder}",
                hint=f"Rounds go on when that run has ended. See it with: skerry runs show {holder}",
            )
        if side is Side.DR:
            raise AuthorityError(
                f"{system.name} lives at dr: nothing is known of what should follow it",
                hint="Bring it to the source or the cloud first.",
            )

    def _guard_starts(self, system: System, round_: Round) -> None:
        """A side that cannot be guarded is replicated all the same: it is then that a copy is needed most."""
        if not system.guard_starts:
            return
        try:
            guard_starts(
                self.drivers,
                self._deed(system, round_, STEPS[0]),
                lambda kind, data: self.record(system.name, kind, {"round": round_.id, **data}),
                held_down=lambda: False,  # a run that keeps it down lets no round begin
            )
        except (AuthorityError, HostError) as error:
            self.tell(system.name, Progress(text=f"starts are not guarded: {error.message}"))

    def _look_before(self, system: System, round_: Round, override: Override) -> None:
        """How far DR is behind, as a sample; and no source that has shrunk beyond what is allowed, but by a word."""
        trees = {tree.name: tree for tree in system.datasets if isinstance(tree, FileTree)}
        outlooks = {name: self._outlook(system, tree) for name, tree in trees.items()}
        last = newest_point(self.drivers.catalogue, system.name)
        before = {held.dataset: held.bytes_total for held in last.datasets} if last else {}
        wrong = {}
        for name, outlook in outlooks.items():
            share_max = self.drivers.shrink_share_max
            if problem := shrinkage(outlook, share_max=share_max, bytes_before=before.get(name, 0)):
                wrong[name] = problem
        for name in sorted(wrong.keys() & override.datasets):
            self.drivers.trees.let_empty(trees[name])
            said = {"what": f"{name}: {wrong.pop(name)}", "by": round_.by, "reason": override.because}
            self.record(system.name, "deviation.recorded", {"round": round_.id, **said})
        for volume in system.datasets:
            if isinstance(volume, BlockVolume) and volume.name in override.datasets:
                self.drivers.volumes.let_empty(volume)
                said = {"what": f"{volume.name}: may shrink", "by": round_.by, "reason": override.because}
                self.record(system.name, "deviation.recorded", {"round": round_.id, **said})
        self._note_lag(system, None, {name: outlook.bytes_pending for name, outlook in outlooks.items()})
        if wrong:
            told = "; ".join(f"{name}: {problem}" for name, problem in wrong.items())
            words = " ".join(f"--accept-shrinkage {name}" for name in wrong)
            raise SourceShrank(
                f"{told}. Nothing was copied",
                hint=f"See that every disk is mounted at the source. If it is meant: {words} --because WHY",
            )

    def _outlook(self, system: System, tree: FileTree) -> CopyOutlook:
        return self.drivers.trees.outlook(tree, *self._ends(system, tree.name))

    # -- the round

    def _carry_out(self, system: System, round_: Round) -> Round:
        moved = self._do(self._deed(system, round_, STEPS[0]), round_)
        moment_at = self._now()
        held = self._do(self._deed(system, round_, STEPS[1]), round_)
        self._let_go_of_own_hold(system.name, str(held.observed.get("point", "")))
        return round_.model_copy(
            update={
                "result": "passed",
                "message": held.message,
                "point": str(held.observed.get("point", "")),
                "moment_at": moment_at,
                "bytes_wire": int(moved.observed.get("bytes_wire", 0)),
                "bytes_total": int(moved.observed.get("bytes_total", 0)),
            }
        )

    def _follow_back(self, system: System, round_: Round, waiting: Deed | None) -> Round:
        moment_at = self._now()
        retired = self.drivers.catalogue.get("retired_source", system.name) is not None
        deed = waiting or self._deed(system, round_, FOLLOW_ALONE if retired else FOLLOW_BACK)
        moved = self._do(deed, round_)
        found = {"bytes_wire": int(moved.observed.get("bytes_wire", 0)), "moment_at": moment_at, "point": ""}
        return round_.model_copy(update={"result": "passed", "message": moved.message, **found})

    def _do(self, deed: Deed, round_: Round) -> Outcome:
        handler = self.handlers(deed.action.verb)
        for attempt in range(1, ATTEMPTS_MAX + 1):
            outcome = handler.act(
                deed.model_copy(update={"attempt": attempt}),
                lambda progress: self._show(round_, progress),
                lambda kind, data: self.record(round_.system, kind, {"round": round_.id, **data}),
            )
            if outcome.passed or not outcome.retryable:
                break
        if not outcome.passed:
            raise error_named(outcome.error, outcome.message, outcome.hint)
        return outcome

    def _deed(self, system: System, round_: Round, step: Step) -> Deed:
        return deed_outside_runs(
            self.inventory, system, step, of=round_.id, by=round_.by, what="replication", steps=STEPS
        )

    def _let_go_of_own_hold(self, system: SystemName, point: str) -> None:
        """What keeps a round's point is the policy alone."""
        document = self.drivers.catalogue.get("recovery_point", f"{system}/{point}")
        if document is not None:
            self.drivers.catalogue.put("recovery_point", f"{system}/{point}", {**document, "holds": []})

    def _show(self, round_: Round, progress: Progress) -> None:
        self.tell(round_.system, progress)
        now = self.drivers.clock.monotonic_seconds()
        if now - self._told_at.get(round_.system, -PROGRESS_EVERY_SECONDS) >= PROGRESS_EVERY_SECONDS:
            self._told_at[round_.system] = now
            told = progress.model_dump()
            self.history.put_progress(RoundProgress(system=round_.system, round=round_.id, at=self._now(), **told))

    # -- after

    def ask_lag(self, name: SystemName, *, trees_too: bool) -> None:
        """Ask the hosts now how far each dataset is behind, and remember it. Trees cost a look at every file; without
        them databases alone are asked, and what was seen of the others stays as it is.
        """
        system = find_system(self.inventory, name)
        if not trees_too:
            found = [dataset for dataset in system.datasets if isinstance(dataset, PostgresCluster)]
            system = system.model_copy(update={"datasets": tuple(found)})
        trees = [tree for tree in system.datasets if isinstance(tree, FileTree)]
        self._note_lag(system, None, {tree.name: self._outlook(system, tree).bytes_pending for tree in trees})

    def _note_lag(
        self, system: System, after: Round | None, bytes_pending: Mapping[str, int] | None = None
    ) -> None:
        """Samples of this moment. After a round that passed, a tree is behind by what happened since its moment."""
        passed = after is not None and after.result == "passed"
        moment_at = after.moment_at if after is not None and passed else last_moment(self.history, system.name)
        samples = []
        for dataset in system.datasets:
            sample = LagSample(system=system.name, dataset=dataset.name, at=self._now())
            if isinstance(dataset, PostgresCluster):
                sample = self._cluster_lag(system, dataset, sample)
            elif moment_at:
                pending = 0 if passed else (bytes_pending or {}).get(dataset.name)
                behind = round(seconds_since(moment_at, self.drivers.clock.now()), 3)
                sample = sample.model_copy(update={"seconds_behind": behind, "bytes_behind": pending})
            elif bytes_pending:
                sample = sample.model_copy(update={"bytes_behind": bytes_pending.get(dataset.name)})
            samples.append(sample)
        self.history.note(samples)

    def _cluster_lag(self, system: System, cluster: PostgresCluster, sample: LagSample) -> LagSample:
        upstream, standby = self._ends(system, cluster.name)
        try:
            if self.drivers.databases.role(cluster, standby) is not Role.STANDBY:
                return sample
            lag = self.drivers.databases.lag(cluster, upstream, standby)
        except (EvidenceError, EngineError, Interrupted):
            raise
        except OrchestratorError:
            return sample  # not known, and the sample says so
        seconds = None if lag.seconds_behind is None else round(lag.seconds_behind, 3)
        return sample.model_copy(update={"seconds_behind": seconds, "bytes_behind": lag.bytes_behind})

    def _ends(self, system: System, dataset: str) -> tuple[Any, Any]:
        """Of the hop to DR: whoever may write, and DR."""
        hosts, side = self.inventory.hosts, self.drivers.authority.read(system.name).side
        return hosts[system.host_of(side, dataset)], hosts[system.host_of(Side.DR, dataset)]

    def _now(self) -> str:
        return timestamp(self.drivers.clock.now())


def keeps_rounds_to_itself(runs: Runs, run: str, system: SystemName) -> bool:
    """Whether nobody may bring rounds beside this run's. One that rests at its new side lets others shorten its way
    back, but where a database is shared: its worker does that, and may begin to go back while nobody here would know.
    """
    return bool(named_database()) or not rests_at_new_side(runs, run, system)


def rests_at_new_side(
    runs: Runs, run: str, system: SystemName, states: tuple[SystemState, ...] = ("paused",)
) -> bool:
    """Whether the run is paused for this system, or in one of these states, after it sent clients to the new side, and
    undid nothing.
    """
    found = next(each for each in runs.status(run).systems if each.system == system)
    switches = [step.id for step in runs.plan(run).system_plan(system).steps if isinstance(step.action, SwitchFront)]
    done = {row.step for row in found.steps if row.state == "done"}
    return found.state in states and not done.isdisjoint(switches) and all(row.mode == "do" for row in found.steps)


def last_moment(history: ReplicationHistory, system: SystemName) -> str:
    """The moment that DR's trees are proved to be at, by the newest round that passed; empty before the first."""
    return next((each.moment_at for each in history.rounds(system, limit=500) if each.result == "passed"), "")


def seconds_since(at: str, now: datetime) -> float:
    return max(0.0, (now - datetime.fromisoformat(at)).total_seconds())


def error_named(name: str, message: str, hint: str) -> OrchestratorError:
    """The error of the tree that a recorded outcome names."""
    kinds = [OrchestratorError]
    while kinds:
        kind = kinds.pop()
        if kind.__name__ == name:
            return kind(message, hint=hint or None)
        kinds += kind.__subclasses__()
    return OrchestratorError(message, hint=hint or None)
