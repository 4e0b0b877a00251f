"""File trees that are btrfs subvolumes at both ends: snapshots sent as differences from the last one both have.

Nothing is read to find what changed, for btrfs knows. What was sent is proved by digests of both ends, as ever.
"""

import secrets
import shlex
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.contracts.access import TransferAccess
from orchestrator.contracts.bandwidth import Bandwidth, unlimited
from orchestrator.contracts.programs import root_user, run_program
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.transport import Transports
from orchestrator.contracts.trees import CopyOutlook, PointStore, Reading, TreeMover
from orchestrator.foundation.errors import (
    DataError,
    HostUnreachable,
    NoSpace,
    OrchestratorError,
    RunInProgress,
    SnapshotError,
)
from orchestrator.foundation.limits import TRANSFER_CERTIFICATE_SECONDS
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.transfer import ContentDigest, TransferReport
from orchestrator.movers.line_refusals import refuse_access

PROGRAM = Path(__file__).with_name("host_programs") / "btrfs_send.py"
COPY_SECONDS_MAX = 7 * 24 * 3600.0


class BtrfsSendMover:
    """`TreeMover` that sends snapshots of trees written with `snapshots: btrfs`, and gives all others to `inner`.

    Where one of the ends cannot (no btrfs, no subvolume, subvolumes within it), `inner` copies and the report says why.
    """

    def __init__(
        self, transports: Transports, access: TransferAccess, inner: TreeMover, *, bandwidth: Bandwidth = unlimited
    ) -> None:
        self._transports = transports
        self._access = access
        self._inner = inner
        self._bandwidth = bandwidth

    def points(self, tree: FileTree, host: Host) -> PointStore:
        return self._inner.points(tree, host)

    def copy(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        if tree.snapshots != "btrfs":
            return self._inner.copy(tree, source, replica, from_point=from_point, progress=progress)
        path = source.path(tree.path)
        if from_point is not None:
            found = self._inner.points(tree, source).find(from_point)
            if found is None:
                raise SnapshotError(f"{source.name} has no point {from_point} of {tree.name}")
            path = found.path
        asked = {"target": replica.path(tree.path), "folder": received_folder(tree, replica)}
        there = self._ask(tree, replica, {"do": "look", **asked})
        # Sorted by name they are sorted by age.
        name = f"s-{time.time_ns():020d}-{secrets.token_hex(4)}"
        held = {"folder": sent_folder(tree, source, replica), "name": name}
        live = source.path(tree.path)
        here = (
            self._ask(tree, source, {"do": "hold", "tree": path, "live": live, **held}) if "no" not in there else there
        )
        if why := here.get("no"):
            report = self._inner.copy(tree, source, replica, from_point=from_point, progress=progress)
            return report.model_copy(update={"detail": {**report.detail, "tracked": f"none: {why}"}})
        try:
            report = self._send(tree, source, replica, {**asked, "name": name}, here, there["received"], progress)
        except OrchestratorError as error:
            try:
                self._ask(tree, source, {"do": "drop", **held})
            except OrchestratorError as second:
                error.add_note(f"snapshot {name} of {tree.name} was left on {source.name}: {second}")
            raise
        self._ask(tree, source, {"do": "settle", "folder": held["folder"], "keep": name})
        return report

    def _send(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        asked: dict[str, Any],
        here: dict[str, Any],
        received: list[dict[str, Any]],
        progress: ProgressSink | None,
    ) -> TransferReport:
        known = {each["uuid"] for each in received}
        parent = next((each for each in reversed(here["earlier"]) if each["readonly"] and each["uuid"] in known), None)
        folder = str(PurePosixPath(here["path"]).parent)
        words = ["btrfs", "-q", "send", *(["-p", f"{folder}/{parent['name']}"] if parent else []), here["path"]]
        with self._access.grant(
            replica,
            source,
            force_command=shlex.join(["sudo", "-n", *words] if source.become else words),
            seconds=TRANSFER_CERTIFICATE_SECONDS,
            peer_user=source.user,
            initiator_user=root_user(replica),
        ) as access:
            request = {
                "do": "receive",
                "words": [*access.ssh_words, access.destination],
                "uuid": here["uuid"],
                "top_ns": here["top_ns"],
                "bytes_per_second": self._bandwidth().bytes_per_second,
                **asked,
            }
            result = self._ask(tree, replica, request, source=source, progress=progress)
        return TransferReport(
            dataset=tree.name,
            source=source.name,
            replica=replica.name,
            method="btrfs_send",
            bytes_total=result["bytes_wire"],
            bytes_wire=result["bytes_wire"],
            seconds=result["seconds"],
            detail={"tracked": "btrfs", "parent": parent["name"] if parent else "none", "snapshot": here["uuid"]},
        )

    def let_empty(self, tree: FileTree) -> None:
        self._inner.let_empty(tree)

    def prepare_last(self, tree: FileTree, source: Host, replica: Host) -> str:
        if tree.snapshots == "btrfs":
            return f"{tree.name} is sent by snapshot: what it costs is what changed since the last one"
        return self._inner.prepare_last(tree, source, replica)

    def copy_last(
        self, tree: FileTree, source: Host, replica: Host, *, progress: ProgressSink | None = None
    ) -> TransferReport:
        if tree.snapshots == "btrfs":
            return self.copy(tree, source, replica, progress=progress)
        return self._inner.copy_last(tree, source, replica, progress=progress)

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

    def _ask(
        self,
        tree: FileTree,
        host: Host,
        request: dict[str, Any],
        *,
        source: Host | None = None,
        progress: ProgressSink | None = None,
    ) -> dict[str, Any]:
        """What the program says; `{"no": why}` where the host cannot do it at all."""

        def hear(kind: str, value: dict[str, Any]) -> None:
            if kind == "progress" and progress is not None and source is not None:
                progress(Progress(dataset=tree.name, text=f"{source.name} → {host.name}", bytes_done=value["bytes"]))

        result = run_program(
            self._transports(host),
            PROGRAM,
            request,
            user=root_user(host),
            timeout_seconds=COPY_SECONDS_MAX,
            on_event=hear if progress is not None else None,
        )
        kind, why = result.get("broken"), str(result.get("why", ""))
        if kind == "cannot":
            return {"no": f"{host.name}: {why}"}
        if kind is not None:
            raise trouble(tree, host, source, kind, why)
        return result


def trouble(tree: FileTree, host: Host, source: Host | None, kind: str, why: str) -> OrchestratorError:
    """The error that a program's word stands for."""
    path = host.path(tree.path)
    if kind == "busy":
        return RunInProgress(f"{tree.name} is being copied to {host.name} by another run")
    if kind == "full":
        return NoSpace(f"{host.name}: no room for {tree.name} at {path}: {why}")
    if kind == "link" and source is not None:
        refuse_access(f"{tree.name} from {source.name} to {host.name}", why)
        return HostUnreachable(f"copy of {tree.name} from {source.name} to {host.name} broke off: {why}")
    if kind == "source" and source is not None:
        return DataError(f"{source.name}: {tree.name} cannot be sent: {why}")
    return DataError(f"{host.name}: {tree.name} at {path}: {why}")


def sent_folder(tree: FileTree, source: Host, replica: Host) -> str:
    """Snapshots that were sent to one replica."""
    return f"{_beside(tree, source)}.sent-{replica.name}"


def received_folder(tree: FileTree, replica: Host) -> str:
    return f"{_beside(tree, replica)}.received"


def _beside(tree: FileTree, host: Host) -> str:
    return str(PurePosixPath(host.path(tree.path)).parent / ".skerry-points" / tree.name)
