"""File trees whose file system sends snapshots, by differences from the last one both ends have: btrfs, ZFS.

Nothing is read to find what changed, for the file system knows. What was sent is proved by digests of both ends, as
ever.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from orchestrator.contracts.access import TransferAccess
from orchestrator.contracts.authority import Order
from orchestrator.contracts.bandwidth import Bandwidth, unlimited
from orchestrator.contracts.programs import root_user, run_program
from orchestrator.contracts.progress import Progress, ProgressSink, Rated
from orchestrator.contracts.transport import Transports
from orchestrator.contracts.trees import CopyOutlook, PartedFile, PointStore, Reading, TreeMover
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.transfer import ContentDigest, TransferReport
from orchestrator.movers.emptied_trees import EmptiedTrees
from orchestrator.movers.held_points import held_for
from orchestrator.movers.limits import Turns
from orchestrator.movers.program_trouble import trouble
from orchestrator.movers.source_line import line_to_source

PROGRAM = Path(__file__).with_name("host_programs") / "snapshot_send"
COPY_SECONDS_MAX = 7 * 24 * 3600.0


class SnapshotSender(Protocol):
    """Sends one tree by its file system. Gives back what was sent, or in words why these ends cannot do it."""

    def send(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        path: str,
        order: Order | None,
        progress: ProgressSink | None,
    ) -> TransferReport | str:
        """`path` is that of the live tree, or of a point of it that is held meanwhile."""
        ...


class SnapshotSendMover:
    """`TreeMover` that has trees sent whose `snapshots` name one of `senders`, and gives all others to `inner`.

    Where the ends cannot (another file system, no subvolume or dataset of its own), `inner` copies and the report says
    why.
    """

    def __init__(self, transports: Transports, inner: TreeMover, senders: Mapping[str, SnapshotSender]) -> None:
        self._inner = inner
        self._senders = senders
        self._emptied = EmptiedTrees(transports)

    def points(self, tree: FileTree, host: Host) -> PointStore:
        return self._inner.points(tree, host)

    def copy(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        sender = self._senders.get(tree.snapshots)
        if sender is None:
            return self._inner.copy(
                tree, source, replica, from_point=from_point, order=order, progress=progress
            )
        with held_for(self._inner.points(tree, source), tree, source, replica, from_point) as path:
            self._emptied.refuse(tree, source, path, replica)
            sent = sender.send(tree, source, replica, path=path, order=order, progress=progress)
        if isinstance(sent, TransferReport):
            return sent
        report = self._inner.copy(
                tree, source, replica, from_point=from_point, order=order, progress=progress
            )
        return report.model_copy(update={"detail": {**report.detail, "tracked": f"none: {sent}"}})

    def let_empty(self, tree: FileTree) -> None:
        self._emptied.let_empty(tree)
        self._inner.let_empty(tree)

    def prepare_last(self, tree: FileTree, source: Host, replica: Host) -> str:
        if tree.snapshots in self._senders:
            return f"{tree.name} is sent by snapshot: what it costs is what changed since the last one"
        return self._inner.prepare_last(tree, source, replica)

    def copy_last(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        if tree.snapshots in self._senders:
            return self.copy(tree, source, replica, order=order, progress=progress)
        return self._inner.copy_last(tree, source, replica, order=order, progress=progress)

    def release_last(self, tree: FileTree | None = None) -> None:
        self._inner.release_last(tree)

    def outlook(self, tree: FileTree, source: Host, replica: Host) -> CopyOutlook:
        return self._inner.outlook(tree, source, replica)

    def digest(
        self,
        tree: FileTree,
        host: Host,
        *,
        point: PointId | None = None,
        reading: Reading = "all",
        progress: ProgressSink | None = None,
    ) -> ContentDigest:
        return self._inner.digest(tree, host, point=point, reading=reading, progress=progress)

    def differences(self, tree: FileTree, one: Host, other: Host, *, limit: int = 20) -> Sequence[str]:
        return self._inner.differences(tree, one, other, limit=limit)

    def parted(self, tree: FileTree, one: Host, other: Host, *, limit: int = 1000) -> Sequence[PartedFile]:
        return self._inner.parted(tree, one, other, limit=limit)


class FileSystemSender:
    """What senders have in common: the program on both hosts, asked `by` file system, and the line between."""

    by = ""

    def __init__(
        self,
        transports: Transports,
        access: TransferAccess,
        *,
        bandwidth: Bandwidth = unlimited,
        turns: Turns | None = None,
    ) -> None:
        self._transports = transports
        self._access = access
        self._bandwidth = bandwidth
        self._turns = turns or Turns()

    def _ask(
        self,
        tree: FileTree,
        host: Host,
        request: dict[str, Any],
        *,
        source: Host | None = None,
        progress: ProgressSink | None = None,
    ) -> dict[str, Any]:
        """What the program on `host` says; `{"no": why}` where the host cannot do it, `{"stopped": …}` when its time
        was over. `source` is named where a transfer from there is asked for.
        """
        show = Rated(progress)

        def hear(kind: str, value: dict[str, Any]) -> None:
            if kind == "progress" and source is not None:
                show(Progress(dataset=tree.name, text=f"{source.name} → {host.name}", bytes_done=value["bytes"]))

        result = run_program(
            self._transports(host),
            PROGRAM,
            {"by": self.by, **request},
            user=root_user(host),
            timeout_seconds=COPY_SECONDS_MAX,
            on_event=hear if progress is not None else None,
        )
        kind, why = result.get("broken"), str(result.get("why", ""))
        if kind == "cannot":
            return {"no": f"{host.name}: {why}"}
        if kind == "stopped":
            return {"stopped": why}
        if kind is not None:
            raise trouble(tree, host, source, kind, why)
        return result

    def _receive(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        words: Sequence[str],
        request: dict[str, Any],
        progress: ProgressSink | None,
    ) -> dict[str, Any]:
        """Have the replica receive what `words` send at the source, under an access for just these words."""
        command = shlex.join(["sudo", "-n", *words] if source.become else words)
        with line_to_source(self._access, source, replica, command) as access:
            line = {"do": "receive", "words": [*access.ssh_words, access.destination]}
            return self._ask(tree, replica, {**line, **request}, source=source, progress=progress)
