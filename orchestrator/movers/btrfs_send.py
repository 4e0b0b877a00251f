"""Trees that are btrfs subvolumes at both ends: sent as differences from the last snapshot both have."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from orchestrator.contracts.authority import Order
from orchestrator.contracts.programs import root_user
from orchestrator.contracts.progress import ProgressSink
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.model.transfer import TransferReport
from orchestrator.movers.host_orders import with_order
from orchestrator.movers.limits import limit_kept_at, may_be_limited
from orchestrator.movers.snapshot_send import FileSystemSender


class BtrfsSender(FileSystemSender):
    """`SnapshotSender` by btrfs. A stream that broke off begins anew: btrfs keeps nothing of it. So one that crosses
    the border of a window is not stopped, but goes on at the rate that holds next.
    """

    by = "btrfs"

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
        asked = {"target": replica.path(tree.path), "folder": received_folder(tree, replica)}
        receive = with_order(asked, order, replica)
        there = self._ask(tree, replica, {"do": "look", **asked})
        if why := there.get("no"):
            return str(why)
        # Sorted by name they are sorted by age.
        name = f"s-{time.time_ns():020d}-{secrets.token_hex(4)}"
        held = {"folder": sent_folder(tree, source, replica), "name": name}
        here = self._ask(tree, source, {"do": "hold", "tree": path, "live": source.path(tree.path), **held})
        if why := here.get("no"):
            return str(why)
        try:
            report = self._send(tree, source, replica, {**receive, "name": name}, here, there["received"], progress)
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
        request = {"uuid": here["uuid"], "top_ns": here["top_ns"], **asked}
        limited = self._bandwidth().bytes_per_second is not None
        with self._turns.turn(limited=limited), self._limit(replica, asked["folder"]) as limit:
            result = self._receive(tree, source, replica, words, {**request, **limit}, progress)
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

    @contextmanager
    def _limit(self, replica: Host, folder: str) -> Iterator[dict[str, str]]:
        """What the request says of the limit, which is kept true meanwhile."""
        if not may_be_limited(self._bandwidth):
            yield {}
            return
        there, user, file = self._transports(replica), root_user(replica), f"{folder}/limit"
        there.run(["mkdir", "-p", "-m", "700", "--", folder], user=user)
        with limit_kept_at(there, file, self._bandwidth, user=user):
            yield {"limit_file": file}


def sent_folder(tree: FileTree, source: Host, replica: Host) -> str:
    """Snapshots that were sent to one replica."""
    return f"{_beside(tree, source)}.sent-{replica.name}"


def received_folder(tree: FileTree, replica: Host) -> str:
    return f"{_beside(tree, replica)}.received"


def _beside(tree: FileTree, host: Host) -> str:
    return str(PurePosixPath(host.path(tree.path)).parent / ".skerry-points" / tree.name)
