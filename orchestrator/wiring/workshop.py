"""An estate with everything that acts on it: hosts, movers, cloud, engine and evidence.

Vendors load slowly, so what brings them in is imported where it is first needed.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.contracts.authority import AuthorityStore
from orchestrator.contracts.buckets import ObjectStore
from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.cloud_things import CloudThings
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.engine import KeepOpen, Runs, Worker
from orchestrator.contracts.handler import Handlers
from orchestrator.contracts.observer import Observer, Recorder, SecretKeeper
from orchestrator.contracts.point_looks import PointLooks
from orchestrator.contracts.replication import ReplicationHistory
from orchestrator.contracts.signer import ApprovalJudge, ApprovalSigner
from orchestrator.contracts.trees import PointStores
from orchestrator.contracts.vault import VaultBucket, VaultRepository
from orchestrator.foundation.clock import Clock, SystemClock
from orchestrator.foundation.errors import Interrupted, UsageError
from orchestrator.foundation.limits import WORKER_DEAD_SECONDS
from orchestrator.foundation.places import lab_folder, ledger_folder, shipped_folder, shipped_playbook, skerry_home
from orchestrator.inventory.load import load_inventory
from orchestrator.inventory.secrets import SecretResolver
from orchestrator.model.event import RunEvent
from orchestrator.model.facts import Facts, HostFacts
from orchestrator.model.host import Host
from orchestrator.model.inventory import Inventory
from orchestrator.model.price import MeasuredLoad
from orchestrator.model.system import Route53Front
from orchestrator.model.transfer import ContentDigest
from orchestrator.model.vault import VaultSettings
from orchestrator.wiring.caretaker import leave_caretaker
from orchestrator.wiring.ledger import log_origin, open_enrolled, shared_ledger
from orchestrator.wiring.state import engine_url, make_home, state_url


@dataclass
class Workshop:
    """An estate with everything that acts on it. What is costly to make is made when it is first asked for."""

    inventory: Inventory
    observers: Sequence[Observer] = ()
    clock: Clock = field(default_factory=SystemClock)
    estate: Path | None = None  # the folder of the inventory
    caretaker: int = 0  # the process that was left behind, to carry what waits
    goes_on: bool = False  # what is under way when a person interrupts is carried on by a caretaker
    _open: ExitStack = field(default_factory=ExitStack)
    _keeper: SecretKeeper | None = None

    # -- what is kept

    @cached_property
    def _store(self) -> Any:
        from orchestrator.engine.store import open_store

        make_home()
        store = open_store(state_url(), clock=self.clock)
        self._open.callback(store.close)
        return store

    @property
    def runs(self) -> Runs:
        runs: Runs = self._store.runs
        return runs

    @property
    def catalogue(self) -> Catalogue:
        catalogue: Catalogue = self._store.catalogue
        return catalogue

    @property
    def replication(self) -> ReplicationHistory:
        history: ReplicationHistory = self._store.replication
        return history

    @property
    def authority(self) -> AuthorityStore:
        authority: AuthorityStore = self._store.authority
        return authority

    # -- what reaches hosts

    @cached_property
    def secrets(self) -> SecretResolver:
        return SecretResolver(skerry_home())

    @cached_property
    def transports(self) -> Any:
        from orchestrator.wiring.transports import bind_transports

        return self._open.enter_context(bind_transports(self.inventory, self._learned_keys.file))

    @cached_property
    def _learned_keys(self) -> Any:
        from orchestrator.hosts.host_keys import LearnedHostKeys

        return LearnedHostKeys(skerry_home() / "learned_host_keys")

    @cached_property
    def playbooks(self) -> Any:
        from orchestrator.hosts.ansible.playbooks import AnsiblePlaybooks

        return AnsiblePlaybooks(self.transports, shipped_folder("playbooks"), skerry_home() / "run" / "plays")

    @cached_property
    def prepared(self) -> Any:
        from orchestrator.hosts.prepared import PreparedPlaybooks, shipped_programs

        return PreparedPlaybooks(self.transports, shipped_programs(shipped_folder("playbooks")))

    @cached_property
    def drivers(self) -> Drivers:
        from orchestrator.wiring.drivers import bind_drivers

        return bind_drivers(
            self.inventory,
            self.clock,
            transports=self.transports,
            playbooks=self.playbooks,
            prepared=self.prepared,
            secrets=self.resolve_secret,
            authority=self.authority,
            catalogue=self.catalogue,
            host_keys=self._learned_keys,
            at_end=self._open,
        )

    @cached_property
    def points(self) -> PointStores:
        from orchestrator.snapshots.stores import HostPointStores

        return HostPointStores(self.transports, self.clock)

    @cached_property
    def point_looks(self) -> PointLooks:
        from orchestrator.snapshots.looks import HostPointLooks

        return HostPointLooks(self.transports)

    def digest_of_tree(self, host: Host, path: str, dataset: str) -> ContentDigest:
        """Of any folder of a host, made there."""
        from orchestrator.movers.tree_digests import tree_digest

        return tree_digest(self.transports(host), path, dataset)

    def open_vault(self, settings: VaultSettings) -> tuple[VaultRepository, VaultBucket]:
        from orchestrator.wiring.vault import bind_vault

        return bind_vault(settings, self.transports, self.resolve_secret)

    @cached_property
    def cloud_things(self) -> CloudThings:
        from orchestrator.targets.aws.session import open_session
        from orchestrator.targets.aws.things import AwsThings

        buckets = [name for name, _ in self.catalogue.list("bucket")]
        fronts = [system.front for system in self.inventory.systems.values()]
        zones = {front.zone for front in fronts if isinstance(front, Route53Front)}
        return AwsThings(open_session(self.inventory, self.clock, "auditor"), buckets=buckets, zones=zones)

    def object_store(self, bucket: str, prefix: str, tags: Mapping[str, str]) -> ObjectStore:
        from orchestrator.targets.aws.session import open_session
        from orchestrator.targets.s3.compatible import CompatibleS3
        from orchestrator.targets.s3.store import S3Store

        place = self.inventory.buckets.get(bucket)
        if place is not None:
            opened = CompatibleS3(place, self.resolve_secret)
            return S3Store(opened, self.transports, place.bucket, prefix, tags=tags, can=place.can)
        session = open_session(self.inventory, self.clock, "replicator")
        return S3Store(session, self.transports, bucket, prefix, tags=tags)

    # -- what runs

    @contextmanager
    def recorder(self) -> Iterator[Recorder]:
        """The ledger, opened for writing while inside. One process at a time, where no database is shared."""
        from orchestrator.evidence.elsewhere import compare_with_places
        from orchestrator.evidence.recorder import controller_source, open_recorder

        with shared_ledger() as shared:
            recorder = open_recorder(
                ledger_folder(),
                origin=log_origin(),
                source=controller_source(),
                clock=self.clock,
                conceal=self.inventory.concealed,
                compare=lambda ledger: compare_with_places(ledger, open_lock=open_enrolled),
                shared=shared,
            )
            if recorder.not_compared:
                self._warn(recorder.not_compared)
            self._keeper = recorder
            try:
                yield recorder
            finally:
                self._keeper = None
                recorder.close()

    def resolve_secret(self, reference: str) -> str:
        """A secret's value; from then on the ledger keeps it out of all that it records."""
        value = self.secrets(reference)
        if self._keeper is not None:
            self._keeper.register_secret(value)
        return value

    @contextmanager
    def worker(self, dead_seconds: float | None = None, *, steps_aside: bool = False) -> Iterator[Worker]:
        """A worker in this process; the ledger is open while inside. `dead_seconds`: where a database is shared, how
        long one may be silent before others take its work over; all must be told the same. `steps_aside`: a caretaker;
        any other leaves one behind where a run waits at its new side.
        """
        from orchestrator.engine.worker import WorkerSettings, open_worker, refuse_second_worker
        from orchestrator.evidence.preface import PrefacedRecorder
        from orchestrator.planning.gates import judge_gate
        from orchestrator.planning.windows import facts_of_terms

        # Before the ledger is asked for: it would only say that some process writes to it.
        needed: bool | None = refuse_second_worker(state_url())
        worker, self.caretaker = None, 0
        try:
            with self.recorder() as recorder, self._anchored(recorder), self.beside_runs(recorder):
                worker = open_worker(
                    state_url(),
                    engine_url(),
                    self.handlers,
                    PrefacedRecorder(recorder, self.papers, self._plan_of),
                    self.observers,
                    self.clock,
                    judge_gate=judge_gate,
                    known_of=lambda plan: facts_of_terms(plan.terms),
                    keep_open=self.keep_open(recorder),
                    settings=WorkerSettings(dead_seconds=dead_seconds or WORKER_DEAD_SECONDS, steps_aside=steps_aside),
                )
                yield worker
        except KeyboardInterrupt:
            if not self.goes_on:
                raise
            self.caretaker = leave_caretaker(self.estate)
            who = f"process {self.caretaker} goes" if self.caretaker else "the workers go"
            hint = "Watch it: skerry runs watch RUN; hold it: skerry runs ask pause RUN."
            raise Interrupted(f"interrupted; {who} on with what is under way", hint=hint) from None
        finally:
            if worker is not None and worker.left_open is not None:
                needed = worker.left_open
            if needed and not steps_aside and not self.caretaker:
                self.caretaker = leave_caretaker(self.estate)

    def keep_open(self, _recorder: Recorder) -> KeepOpen | None:
        """What a worker here does for systems whose run waits at their new side; None: nothing."""
        return None

    def beside_runs(self, _recorder: Recorder) -> AbstractContextManager[None]:
        """What goes on while a worker here is up, beside the runs."""
        return nullcontext()

    @contextmanager
    def between_runs(self) -> Iterator[Recorder]:
        """The ledger, for deeds outside of runs. While inside no worker begins, and nobody else is here.

        Raises RunInProgress, naming the process, where a worker or another of these is at it.
        """
        from orchestrator.engine.worker import outside_of_workers

        stepped_aside = False
        try:
            with (
                outside_of_workers(state_url()) as stepped_aside,
                self.recorder() as recorder,
                self._anchored(recorder),
            ):
                yield recorder
        finally:
            if stepped_aside:
                self.caretaker = leave_caretaker(self.estate)

    @cached_property
    def handlers(self) -> Handlers:
        from orchestrator.steps.handlers import handlers_over
        from orchestrator.wiring.roles import RoleHandlers

        cloud = self.inventory.cloud
        if not cloud.role and not cloud.roles:
            return handlers_over(self.drivers)
        return RoleHandlers(self.drivers, self.inventory, self.transports)

    @contextmanager
    def _anchored(self, recorder: Any) -> Iterator[None]:
        """While inside, and at the end, heads of the log are shown to the places that are enrolled."""
        from orchestrator.evidence.standing_anchors import StandingAnchors

        anchors = StandingAnchors(
            ledger_folder(), recorder, self.clock, open_lock=open_enrolled, warn=self._warn
        )
        try:
            yield
        finally:
            anchors.close()

    def _warn(self, event: RunEvent) -> None:
        for observer in self.observers:
            observer.notice(event)

    @cached_property
    def papers(self) -> Any:
        """What the runs of this estate rest on."""
        from orchestrator.evidence.papers import RunPapers
        from orchestrator.evidence.policy_on_record import policy_in_force
        from orchestrator.evidence.surroundings import surroundings

        def around() -> dict[str, Any]:
            return surroundings(self.estate, policy_in_force(ledger_folder()))

        return RunPapers(self.catalogue, self.clock, _shipped, around)

    def _plan_of(self, run: str) -> str:
        """The plan of a run; empty for what the log tells of no run."""
        try:
            return self.runs.status(run).plan
        except UsageError:
            return ""

    def measure_use(self, host: Host, seconds: float, paths: Sequence[str]) -> MeasuredLoad:
        from orchestrator.survey.use import measure_use

        return measure_use(self.transports(host), seconds, paths)

    def survey(self, inventory: Inventory, on_host: Callable[[HostFacts], None]) -> Facts:
        from orchestrator.survey.survey import survey

        return survey(inventory, self.transports, self.clock, on_host=on_host)

    # -- what persons allow

    @property
    def playbook_path(self) -> Callable[[str], str]:
        """Where a shipped playbook lies, by name."""
        return shipped_playbook

    @cached_property
    def signer(self) -> ApprovalSigner:
        from orchestrator.evidence.approvals import SshApprovalSigner

        return SshApprovalSigner()

    @cached_property
    def judge(self) -> ApprovalJudge:
        from orchestrator.evidence.approvals import SshApprovalJudge

        return SshApprovalJudge()

    def log_seen(self) -> dict[str, str] | None:
        """The newest head of the log, for statements that persons sign; None before the first."""
        from orchestrator.evidence.signed_words import log_seen

        return log_seen(ledger_folder()) if (ledger_folder() / "log" / "checkpoint").exists() else None

    def close(self) -> None:
        self._open.close()


Kind = TypeVar("Kind", bound=Workshop)


@contextmanager
def open_workshop(
    folder: Path, *, observers: Sequence[Observer] = (), hosts_file: Path | None = None, kind: type[Kind]
) -> Iterator[Kind]:
    """The workshop of the inventory in `folder`. `hosts_file`, or `$SKERRY_HOSTS`, replaces its hosts.yml."""
    hosts = hosts_file or _other_hosts(folder)
    workshop = kind(load_inventory(folder, home=skerry_home(), hosts_file=hosts), observers, estate=folder)
    try:
        yield workshop
    finally:
        workshop.close()


def _other_hosts(folder: Path) -> Path | None:
    """`$SKERRY_HOSTS`; for the lab's estate the file that a lab at other addresses leaves."""
    if named := os.environ.get("SKERRY_HOSTS"):
        return Path(named)
    written = lab_folder() / "hosts.yml"
    is_lab = folder.resolve() == (shipped_folder("inventories") / "lab").resolve()
    return written if is_lab and written.exists() else None


def _shipped(path: str) -> Path:
    """`playbooks/fence.yml` as it came with this skerry."""
    folder, _, name = path.partition("/")
    return shipped_folder(folder) / name
