"""Follow: each side of a chain becomes, and stays, a current replica of the one before it.

Rules:
  the chain begins at the side that has authority, or at DR where the side with authority is lost
  a primary is never made a replica; nothing that exists at one side alone is overwritten
  where histories have parted, or a side was lost while it had authority, only a person's signed word allows the loss;
  what trees and volumes held then is kept as a point
  the last pass, when nobody writes any more, takes what was made ready; what is not ready takes the long way
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from orchestrator.contracts.authority import Authority, Order
from orchestrator.contracts.databases import Role
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.errors import AuthorityError, DataError
from orchestrator.foundation.limits import MIB
from orchestrator.model.action import Follow
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.model.transfer import TransferReport
from orchestrator.model.word import SignedWord
from orchestrator.steps.asked import asked
from orchestrator.steps.meetings import note_meetings
from orchestrator.steps.moving import await_last, hop_name, prepare_last
from orchestrator.steps.orders import order_of
from orchestrator.steps.places import clusters, host_at
from orchestrator.steps.readiness import in_parallel, stand_ready
from orchestrator.steps.still_data import StillData, StillDataMover, keep_given_up, still_data
from orchestrator.steps.words import as_evidence, given_up, is_lost, mark_found, word_of
from orchestrator.steps.written_over import asked_meanwhile, refuse_open

CATCH_UP_SECONDS_MAX = 300.0


@dataclass(frozen=True)
class FollowHandler:
    """Databases stream on after the step; trees are as they were at its end, until the next one."""

    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # what follows already is left alone, and a second pass moves only what differs

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, Follow)
        system = deed.system_plan.system.name
        first = action.chain[0]
        authority, began = self._ensure_leads(system, first), self.drivers.clock.now()
        observed: dict[str, Any] = {"chain": [side.value for side in action.chain], "hops": {}, "trees": {}}
        hops = [
            _Hop(self.drivers, deed, first, upstream, replica, self._accepted(deed, replica), progress, emit)
            for upstream, replica in pairwise(action.chain)
        ]
        quick = self._last(hops) if action.pace == "last" else {}
        for hop in hops:
            # Who slept since the hop before may have been taken over from, and the system may live elsewhere by now.
            self._ensure_leads(system, first)
            brought = {report.dataset for report in quick.get(hop.replica, ())}
            left = [each for each in still_data(deed) if each.name not in brought]
            order = None
            if action.datasets == "all" and (left or action.pace != "last"):  # who brought the last has asked
                order = refuse_open(self.drivers, deed, hop.replica)
            if action.pace == "ahead":
                not_ready = prepare_last(self.drivers, deed, hop.upstream, hop.replica)
                observed.setdefault("last_delta_not_ready", {}).update(not_ready)
            # Databases first: they know when histories have parted, and then nothing else is touched.
            reports = in_parallel(hop.cluster, [each for each in clusters(deed) if each.name not in brought])
            if action.datasets == "all":
                reports += in_parallel(partial(hop.still, order=order), left)
            self._note(hop, [*quick.get(hop.replica, ()), *reports], observed)
        if action.datasets == "all" and action.pace != "last":
            note_meetings(self.drivers, system, action.chain, began)
        if action.pace == "ahead":
            stand_ready(self.drivers, deed, *action.chain)
        observed["bytes_wire"] = sum(
            report["bytes_wire"] for reports in observed["hops"].values() for report in reports.values()
        )
        emit("replication.follows", {"number": authority.number, "chain": observed["chain"]})
        way = " → ".join(observed["chain"])
        return Outcome.done(f"{way}: {observed['bytes_wire'] / MIB:.1f} MiB moved", **observed)

    def _ensure_leads(self, system: str, first: Side) -> Authority:
        authority = self.drivers.authority.read(system)
        if first is not authority.side and first is not Side.DR:
            raise AuthorityError(
                f"{system}: nothing follows {first.value}, for authority is at {authority.side.value}",
                hint="A replica follows the side that may write; look which side that is: skerry runs list",
            )
        return authority

    def _accepted(self, deed: Deed, replica: Side) -> SignedWord | None:
        """The word that accepts what `replica` alone may hold; DataError where one is needed and nobody gave it."""
        system = deed.system_plan.system.name
        number = self.drivers.authority.read(system).number
        accepted = word_of(self.drivers, deed, "loss_accepted", replica, number) or given_up(deed, replica)
        if accepted is None and is_lost(self.drivers, system, replica):
            raise DataError(
                f"{system}: {replica.value} was lost while it had authority, and may hold writes that are nowhere else",
                hint="Look at what it holds. Then a named person accepts the loss: "
                f"skerry word {system} --accept-loss {replica.value} --as PERSON --key KEYFILE --because WHY",
            )
        return accepted

    def _last(self, hops: Sequence["_Hop"]) -> dict[Side, list[TransferReport]]:
        """By replica, what could be brought the quick way. Datasets go along the chain without waiting for each other.

        Whatever is not in it is left to the long way, which begins where the quick one ended.
        """
        if any(hop.accepted is not None for hop in hops):
            return {}
        deed = hops[0].deed
        datasets: list[PostgresCluster | StillData] = [*clusters(deed), *still_data(deed)]

        def bring(dataset: PostgresCluster | StillData) -> list[TransferReport | None]:
            if isinstance(dataset, PostgresCluster):
                # What the first of the chain has written last is waited for at every replica at once.
                return in_parallel(lambda hop: hop.last_of_cluster(dataset), hops)
            return [hop.last_of_still(dataset, refuse) for hop in hops]

        found: dict[Side, list[TransferReport]] = {hop.replica: [] for hop in hops}
        with asked_meanwhile(self.drivers, deed, [hop.replica for hop in hops]) as refuse:
            brought = in_parallel(bring, datasets)
        for reports in brought:
            for hop, report in zip(hops, reports, strict=True):
                if report is None:
                    break  # behind a hop that goes the long way, everything does
                found[hop.replica].append(report)
        return found

    def _note(self, hop: "_Hop", reports: Sequence[TransferReport], observed: dict[str, Any]) -> None:
        system = hop.deed.system_plan.system.name
        if hop.accepted is not None:
            mark_found(self.drivers, system, hop.replica, self.drivers.authority.read(system).number)
        name = hop_name(hop.upstream, hop.replica)
        observed["hops"][name] = {report.dataset: _kept(report) for report in reports}
        for report in reports:
            hop.emit("transfer.finished", {"hop": name, **report.model_dump(mode="json", exclude={"changed"})})
        trees = {tree.name for tree in still_data(hop.deed)}
        observed["trees"] |= {
            f"{report.dataset}.{name}": report.bytes_wire for report in reports if report.dataset in trees
        }


@dataclass(frozen=True)
class _Hop:
    """One link of the chain."""

    drivers: Drivers
    deed: Deed
    first: Side  # of the chain: its databases are primary, unless it is DR itself
    upstream: Side
    replica: Side
    accepted: SignedWord | None
    progress: ProgressSink
    emit: Emit

    def cluster(self, cluster: PostgresCluster) -> TransferReport:
        databases = self.drivers.databases
        above, below = (host_at(self.deed, side, cluster.name) for side in (self.upstream, self.replica))
        self.progress(Progress(dataset=cluster.name, text=f"{below.name} follows {above.name}"))
        if databases.role(cluster, above) is Role.STOPPED:
            databases.start(cluster, above, order=self._order_to_start(above))
        if self.accepted is not None and databases.role(cluster, below) is Role.PRIMARY:
            # It came back by itself: its services are fenced, and the authority to write is elsewhere.
            databases.shut_down(cluster, below)
        if self.replica is Side.DR or databases.role(cluster, below) is Role.MISSING:
            # DR never takes writes, so that nothing can exist there alone.
            report = databases.make_standby(cluster, above, below, progress=self.progress)
        else:
            if self.accepted is not None:
                # What is given up is taken back against the primary; a replica cannot lend itself to that.
                primary = host_at(self.deed, self.first, cluster.name)
                taken_back = databases.rejoin(cluster, below, primary, allow_rewind=True)
                if discarded := taken_back.detail.get("discarded_bytes"):
                    self._tell_loss({"dataset": cluster.name, "host": below.name, "bytes": int(discarded)})
            report = databases.rejoin(cluster, below, above)
        lag = databases.await_caught_up(cluster, above, below, timeout_seconds=CATCH_UP_SECONDS_MAX)
        detail = {**report.detail, "lag_bytes": str(lag.bytes_behind), "received": lag.received}
        return report.model_copy(update={"detail": detail})

    def _order_to_start(self, above: Host) -> Order:
        """AuthorityError where databases that were stopped could come back as primaries without authority."""
        authority = self.drivers.authority.read(self.deed.system_plan.system.name)
        if self.upstream not in (authority.side, Side.DR):
            raise AuthorityError(
                f"{above.name} is stopped and is not started: authority is at {authority.side.value}, not at"
                f" {self.upstream.value}"
            )
        return order_of(authority, self.deed, self.upstream)

    def last_of_cluster(self, cluster: PostgresCluster) -> TransferReport | None:
        """None where the replica does not stream: then whoever makes standbys looks why."""
        above, below = (host_at(self.deed, side, cluster.name) for side in (self.first, self.replica))
        return await_last(self.drivers, cluster, above, below)

    def last_of_still(self, tree: StillData, refuse: Callable[[Side], Order | None]) -> TransferReport:
        order = refuse(self.replica)
        above, below = (host_at(self.deed, side, tree.name) for side in (self.upstream, self.replica))
        return StillDataMover(self.drivers).copy_last(tree, above, below, order=order, progress=self.progress)

    def still(self, tree: StillData, *, order: Order | None) -> TransferReport:
        above, below = (host_at(self.deed, side, tree.name) for side in (self.upstream, self.replica))
        if self.accepted is not None:
            keep_given_up(self.drivers, self.deed, self.replica, tree, self._tell_loss)
        return StillDataMover(self.drivers).copy(tree, above, below, order=order, progress=self.progress)

    def _tell_loss(self, what: Mapping[str, Any]) -> None:
        if self.accepted is not None:
            self.emit("loss.accepted", {"side": self.replica.value, **what, **as_evidence(self.accepted)})


def _kept(report: TransferReport) -> dict[str, Any]:
    return report.model_dump(mode="json", include={"method", "bytes_total", "bytes_wire", "seconds", "detail"})
