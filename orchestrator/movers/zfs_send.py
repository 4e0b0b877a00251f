"""Trees that are ZFS datasets at both ends: sent as differences from the last snapshot or bookmark both have.

The source keeps a bookmark of what was sent, not the snapshot. A stream that broke off is resumed where it ended, by
the token that the replica's ZFS gives. No snapshot of the replica is ever given up for a stream: where somebody else's
is its last one, or the source has nothing in common with it, files are copied one by one, and the report says why.
"""

import time
from pathlib import PurePosixPath
from typing import Any

from orchestrator.contracts.authority import Order
from orchestrator.contracts.progress import ProgressSink
from orchestrator.model.dataset import FileTree
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.transfer import TransferReport
from orchestrator.movers.host_orders import with_order
from orchestrator.movers.snapshot_send import FileSystemSender


class ZfsStep(Frozen):
    """One stream: what the source runs, and the GUID of the snapshot that the replica has afterwards."""

    words: tuple[str, ...]
    guid: str
    base: str = "none"


class ZfsSender(FileSystemSender):
    """`SnapshotSender` by ZFS."""

    by = "zfs"

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
        results: list[dict[str, Any]] = []
        bases: list[str] = []
        here: dict[str, Any] | None = None
        while True:
            there = self._ask(tree, replica, {"do": "look", "target": replica.path(tree.path)})
            if why := there.get("no"):
                return str(why)
            step = self._resumed(tree, source, replica, there)
            if step is None:
                here = here or self._held(tree, source, replica, path, there["versions"])
                if why := here.get("no"):
                    return str(why)
                step = difference(here, there["versions"])
                if step is None:
                    self._drop(tree, source, here)
                    return f"{replica.name}: {source.name} lacks the last snapshot of {there['dataset']}"
            results.append(self._bring(tree, source, replica, step, there, order, progress))
            bases.append(step.base)
            if "stopped" not in results[-1] and here is not None and step.guid == here["guid"]:
                break
        self._ask(
            tree,
            source,
            {"do": "settle", "dataset": here["dataset"], "replica": replica.name, "guid": here["guid"]},
        )
        bytes_wire = sum(result.get("bytes_wire", 0) for result in results)
        return TransferReport(
            dataset=tree.name,
            source=source.name,
            replica=replica.name,
            method="zfs_send",
            bytes_total=bytes_wire,
            bytes_wire=bytes_wire,
            seconds=sum(result.get("seconds", 0.0) for result in results),
            detail={"tracked": "zfs", "parent": ", ".join(bases), "snapshot": here["guid"]},
        )

    def _resumed(self, tree: FileTree, source: Host, replica: Host, there: dict[str, Any]) -> ZfsStep | None:
        """The rest of a stream that broke off; what cannot be resumed any more is let go of."""
        if there["token"] is None:
            return None
        guid = self._ask(tree, source, {"do": "token", "token": there["token"]})["guid"]
        if guid:
            return ZfsStep(words=("zfs", "send", "-t", there["token"]), guid=guid, base="resumed")
        self._ask(tree, replica, {"do": "abort", "dataset": there["dataset"]})
        there.update(self._ask(tree, replica, {"do": "look", "target": replica.path(tree.path)}))
        return None

    def _held(
        self, tree: FileTree, source: Host, replica: Host, path: str, there: list[dict[str, Any]]
    ) -> dict[str, Any]:
        live = source.path(tree.path)
        asked = {
            "do": "hold",
            "live": live,
            "point": "" if path == live else PurePosixPath(path).name,
            "name": f"skerrysend-{replica.name}-{time.time_ns():020d}",
            "replica": replica.name,
            "has": there[-1]["guid"] if there else "",
        }
        return {**self._ask(tree, source, asked), "taken": path == live}

    def _drop(self, tree: FileTree, source: Host, here: dict[str, Any]) -> None:
        if here["taken"]:
            self._ask(tree, source, {"do": "drop", "name": here["name"], "dataset": here["dataset"]})

    def _bring(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        step: ZfsStep,
        there: dict[str, Any],
        order: Order | None,
        progress: ProgressSink | None,
    ) -> dict[str, Any]:
        if not step.words:
            back = {"do": "rollback", "name": there["versions"][-1]["name"]}
            return self._ask(tree, replica, with_order(back, order, replica))
        with self._turns.turn(limited=self._bandwidth().bytes_per_second is not None):
            allowance = self._bandwidth()
            request = {
                "dataset": there["dataset"],
                "guid": step.guid,
                "bytes_per_second": allowance.bytes_per_second,
                "stop_after_seconds": None if allowance.seconds_left is None else max(1.0, allowance.seconds_left),
            }
            return self._receive(tree, source, replica, step.words, with_order(request, order, replica), progress)


def difference(here: dict[str, Any], there: list[dict[str, Any]]) -> ZfsStep | None:
    """How the replica comes to have the snapshot `here`: nothing to send, all, or the difference from its last one."""
    if not there:
        return ZfsStep(words=("zfs", "send", here["name"]), guid=here["guid"])
    last = there[-1]["guid"]
    if last == here["guid"]:
        return ZfsStep(words=(), guid=last, base="itself")
    base = next((each["name"] for each in here["earlier"] if each["guid"] == last), None)
    if base is None:
        return None
    return ZfsStep(words=("zfs", "send", "-i", base, here["name"]), guid=here["guid"], base=base)
