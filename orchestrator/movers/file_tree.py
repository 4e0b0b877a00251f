"""File trees from host to host: rsync over OpenSSH, pulled by the replica, proved by digests of both ends."""

import shlex
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from orchestrator.contracts.access import TransferAccess
from orchestrator.contracts.authority import Order
from orchestrator.contracts.bandwidth import Allowance, Bandwidth, unlimited, within
from orchestrator.contracts.programs import printable, root_user, run_program
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.transport import Transports
from orchestrator.contracts.trees import CopyOutlook, PartedFile, PointStore, PointStores, Reading
from orchestrator.foundation.errors import (
    DataError,
    HostUnreachable,
    MissingTool,
    NoSpace,
    RunInProgress,
)
from orchestrator.model.dataset import FileTree
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.transfer import ContentDigest, TransferReport
from orchestrator.movers.emptied_trees import EmptiedTrees
from orchestrator.movers.held_points import held_for, path_of
from orchestrator.movers.holes import has_holes
from orchestrator.movers.host_orders import is_open, with_order
from orchestrator.movers.limits import Turns
from orchestrator.movers.parted_files import parted_files
from orchestrator.movers.ready_trees import ReadyTrees
from orchestrator.movers.rsync_words import copying_words, named_entries, pull_request, reading_server, with_access
from orchestrator.movers.source_line import line_to_source, refuse_access
from orchestrator.movers.tree_digests import tree_differences, tree_digest

PROGRAM = Path(__file__).with_name("host_programs") / "rsync_pull.py"
COPY_SECONDS_MAX = 7 * 24 * 3600.0
PASSES_MAX = 3  # a tree in use settles in two; one that does not is told by its digest
ASK_SECONDS_MAX = 30.0


class FileTreeSettings(Frozen):
    """How trees are copied."""

    bandwidth_bytes_per_second: int | None = Field(default=None, ge=1024)
    # Whole files are quicker than block comparisons on links faster than about 100 MiB/s.
    whole_file: bool = True
    stall_seconds: int = Field(default=60, ge=5)


class Asked(NamedTuple):
    """What the replica's rsync will have the source run for these words, word for word, and how the copy goes."""

    words: tuple[str, ...]
    command: str
    way: dict[str, bool]  # whether it resumes a broken one, and whether what is there is distrusted
    empty: bool  # nothing is at the replica yet


class FileTreeMover:
    """`TreeMover` by rsync. Each copy gets a certificate for one forced command: read exactly this tree."""

    def __init__(
        self,
        transports: Transports,
        access: TransferAccess,
        point_stores: PointStores,
        settings: FileTreeSettings | None = None,
        *,
        bandwidth: Bandwidth = unlimited,
        turns: Turns | None = None,
    ) -> None:
        self._transports = transports
        self._access = access
        self._point_stores = point_stores
        self._ready = ReadyTrees(transports, access)
        self._emptied = EmptiedTrees(transports)
        self._settings = settings or FileTreeSettings()
        self._bandwidth = bandwidth
        self._turns = turns or Turns()

    def points(self, tree: FileTree, host: Host) -> PointStore:
        return self._point_stores(tree, host)

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
        with held_for(self.points(tree, source), tree, source, replica, from_point) as path:
            return self._copy(tree, source, replica, path, order, progress)

    def let_empty(self, tree: FileTree) -> None:
        self._emptied.let_empty(tree)

    def prepare_last(self, tree: FileTree, source: Host, replica: Host) -> str:
        if tree.changes != "replaced":
            return f"{tree.name} is changed in place: only reading all of it shows what changed"
        words = named_entries(self._rsync_words(source, source.path(tree.path), replica.path(tree.path), None))
        command = self._ask(tree, source, replica, source.path(tree.path), words, by_name=True).command
        works: list[Callable[[], str]] = [
            lambda: self._ready.watch(tree, source),
            lambda: self._ready.watch(tree, replica),
            lambda: self._ready.open_line(tree, source, replica, words=words, force_command=command),
        ]
        with ThreadPoolExecutor(max_workers=len(works)) as pool:
            return "; ".join(filter(None, pool.map(lambda work: work(), works)))

    def copy_last(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        started = time.monotonic()
        here = self._ready.seen(tree, source)
        # An emptied tree goes the long way, which asks whether it is meant.
        if here and here.names is not None and here.entries > 1 and self._allowance().bytes_per_second is None:
            pulled = self._ready.pull(tree, source, replica, here.names, order)
            if pulled is not None and "open" in pulled:
                raise is_open(tree, replica, pulled["open"])
            there = self._ready.seen(tree, replica) if pulled is not None and pulled.get("code") == 0 else None
            if pulled is not None and there is not None and there.digest == here.digest:
                report = self._report(tree, source, replica, [pulled], [])
                detail = {**report.detail, "way": "what changed, by name", "digest": here.digest}
                return report.model_copy(update={"detail": detail, "seconds": time.monotonic() - started})
        return self.copy(tree, source, replica, order=order, progress=progress)

    def release_last(self, tree: FileTree | None = None) -> None:
        self._ready.release(tree)

    def outlook(self, tree: FileTree, source: Host, replica: Host) -> CopyOutlook:
        path = source.path(tree.path)
        words = (*self._rsync_words(source, path, replica.path(tree.path), None), "--dry-run")
        found = self._pull(tree, source, replica, self._ask(tree, source, replica, path, words))["statistics"]
        entries = found.get("files", 0)
        return CopyOutlook(
            dataset=tree.name,
            entries_source=entries,
            bytes_source=found.get("bytes_total", 0),
            entries_replica=max(0, entries - found.get("created", 0) + found.get("deleted", 0)),
            entries_deleted=found.get("deleted", 0),
            bytes_pending=found.get("bytes_moved", 0),
        )

    def _copy(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        source_path: str,
        order: Order | None,
        progress: ProgressSink | None,
    ) -> TransferReport:
        words = self._rsync_words(source, source_path, replica.path(tree.path), None)
        with ThreadPoolExecutor(max_workers=1) as pool:
            asking = pool.submit(self._ask, tree, source, replica, source_path, words)
            self._emptied.refuse(tree, source, source_path, replica)
            asked: Asked | None = asking.result()
        sparse = not asking.result().empty or has_holes(self._transports, source, source_path)
        passes: list[dict[str, Any]] = []
        stopped: list[dict[str, Any]] = []
        while not passes or (passes[-1]["unsettled"] and len(passes) < PASSES_MAX):
            with self._turns.turn(limited=self._allowance().bytes_per_second is not None):
                allowance = self._allowance()
                limit, left = allowance.bytes_per_second, allowance.seconds_left
                words = self._rsync_words(source, source_path, replica.path(tree.path), limit, sparse=sparse)
                if asked is None or limit or asked.words != words:  # with a limit, we may have waited for our turn
                    asked = self._ask(tree, source, replica, source_path, words)
                result = self._pull(tree, source, replica, asked, order=order, seconds_left=left, progress=progress)
                asked = None  # how the next one goes depends on what this one left
            # What was stopped is resumed, under the limit that holds then.
            (stopped if result.get("stopped") else passes).append(result)
        return self._report(tree, source, replica, passes, stopped)

    def _allowance(self) -> Allowance:
        return within(self._bandwidth(), self._settings.bandwidth_bytes_per_second)

    def _pull(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        asked: Asked,
        *,
        order: Order | None = None,
        seconds_left: float | None = None,
        progress: ProgressSink | None = None,
    ) -> dict[str, Any]:
        """One run of rsync on the replica, for at most `seconds_left`, under an access of its own: a long copy outlives
        any certificate that is short enough to be worth having.
        """
        with line_to_source(self._access, source, replica, asked.command) as access:
            pull: dict[str, Any] = {
                **pull_request(replica.path(tree.path), with_access(asked.words, access)),
                **asked.way,
            }
            if seconds_left is not None:
                pull["stop_after_seconds"] = max(1.0, seconds_left)
            return self._run(tree, source, replica, with_order(pull, order, replica), progress)

    def _ask(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        source_path: str,
        words: Sequence[str],
        *,
        by_name: bool = False,
    ) -> Asked:
        request = pull_request(replica.path(tree.path), words)
        asked = self._run(tree, source, replica, {**request, "ask": True})
        server = reading_server(str(asked["asks"]), source_path, by_name=by_name)
        if server is None:
            raise MissingTool(
                f"{replica.name}: its rsync does not ask for {source_path} in one word",
                hint=f"Install rsync 3.2.4 or newer on {replica.name}, or use a path without special characters.",
            )
        # Quoted by us: what a shell of the source makes of it is not for the replica to say.
        way = {name: bool(asked.get(name)) for name in ("resume", "distrusted")}
        return Asked(tuple(words), shlex.join(server), way, bool(asked.get("empty")))

    def digest(
        self,
        tree: FileTree,
        host: Host,
        *,
        point: PointId | None = None,
        reading: Reading = "all",
        progress: ProgressSink | None = None,
    ) -> ContentDigest:
        if reading == "watched":
            seen = self._ready.seen(tree, host) if point is None else None
            if seen is not None:
                return ContentDigest(
                    dataset=tree.name,
                    host=host.name,
                    digest=seen.digest,
                    algorithm="tree/v1",
                    bytes_read=seen.bytes_read,
                    entries=seen.entries,
                )
            reading = "all"
        path = path_of(self.points(tree, host), tree, host, point)
        return tree_digest(self._transports(host), path, tree.name, reading=reading, progress=progress)

    def differences(self, tree: FileTree, one: Host, other: Host, *, limit: int = 20) -> Sequence[str]:
        paths = one.path(tree.path), other.path(tree.path)
        found = tree_differences(self._transports(one), paths[0], self._transports(other), paths[1], limit=limit)
        if any(line.endswith(": content") for line in found):
            # Size and time tell nothing of it, so a copy would pass it over: the next one to either reads everything.
            for host, path in zip((one, other), paths, strict=True):
                self._run(tree, one, host, {**pull_request(path, []), "distrust": True})
        return found

    def parted(self, tree: FileTree, one: Host, other: Host, *, limit: int = 1000) -> Sequence[PartedFile]:
        ends = self._transports(one), one.path(tree.path), self._transports(other), other.path(tree.path)
        return parted_files(*ends, limit=limit)

    def _rsync_words(
        self, source: Host, source_path: str, target_path: str, limit: int | None, *, sparse: bool = True
    ) -> tuple[str, ...]:
        return copying_words(
            source,
            source_path,
            target_path,
            whole_file=self._settings.whole_file,
            stall_seconds=self._settings.stall_seconds,
            limit=limit,
            sparse=sparse,
        )

    def _run(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        request: dict[str, Any],
        progress: ProgressSink | None = None,
    ) -> dict[str, Any]:
        def hear(kind: str, value: dict[str, Any]) -> None:
            if kind == "progress" and progress is not None:
                percent = value["percent"]
                progress(
                    Progress(
                        dataset=tree.name,
                        text=f"{source.name} → {replica.name}",
                        bytes_done=value["bytes"],
                        bytes_total=value["bytes"] * 100 // percent if percent else 0,
                        bytes_per_second=value["rate"],
                    )
                )

        result = run_program(
            self._transports(replica),
            PROGRAM,
            request,
            user=root_user(replica),
            timeout_seconds=ASK_SECONDS_MAX if request.get("ask") else COPY_SECONDS_MAX,
            on_event=hear if progress is not None else None,
        )
        if result.get("busy"):
            raise RunInProgress(
                f"{tree.name} is being copied to {replica.name} by another run",
                hint="Wait for it to end, then run the same command again.",
            )
        if "open" in result:
            raise is_open(tree, replica, result["open"])
        judge(tree, source, replica, result)
        return result

    def _report(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        reports: Sequence[dict[str, Any]],
        stopped: Sequence[dict[str, Any]],
    ) -> TransferReport:
        statistics = [report["statistics"] for report in reports]
        every = [*stopped, *reports]
        names = [printable(name) for report in every for name in report["names"]]
        unsettled = [printable(name) for name in reports[-1]["unsettled"]]
        detail = {"passes": str(len(reports)), "deleted": str(sum(one.get("deleted", 0) for one in statistics))}
        again = sorted({printable(name) for report in reports[:-1] for name in report["unsettled"]})
        if again:
            detail["copied_again"] = ", ".join(again[:10])
        if stopped:
            detail["relimited"] = str(len(stopped))
        if unsettled:
            detail["unsettled"] = ", ".join(unsettled[:10])
        return TransferReport(
            dataset=tree.name,
            source=source.name,
            replica=replica.name,
            method="rsync",
            bytes_total=statistics[-1].get("bytes_total", 0),
            bytes_wire=sum(
                each["statistics"].get("bytes_sent", 0) + each["statistics"].get("bytes_received", 0) for each in every
            ),
            files=sum(one.get("files_moved", 0) for one in statistics),
            seconds=sum(report["seconds"] for report in every),
            changed=tuple(dict.fromkeys(names))[:50],
            detail=detail,
        )


def judge(tree: FileTree, source: Host, replica: Host, result: dict[str, Any]) -> None:
    """Let a pull pass that did its work, also one that names what moved under it; raise for every other end."""
    code = result.get("code", 0)
    complaints = [str(line) for line in result.get("complaints", ())]
    text = "\n".join(complaints)
    way = f"{tree.name} from {source.name} to {replica.name}"
    why = printable(
        next((line for line in complaints if not line.startswith("rsync error:")), "") or f"rsync code {code}"
    )
    if result.get("stopped") or code in (0, 24) or (code == 23 and not hard_complaints(complaints)):
        return
    if "No space left on device" in text or "Disk quota exceeded" in text:
        raise NoSpace(f"{replica.name}: no room for {tree.name} at {replica.path(tree.path)}: {why}")
    if code == 127 or "command not found" in text or "rsync: not found" in text:
        # The far side's shell is heard through ssh; our own host is heard by the program itself.
        lacking = replica if complaints == ["rsync: command not found"] else source
        raise MissingTool(f"{lacking.name}: rsync is missing", hint=f"Install rsync on {lacking.name}.")
    refuse_access(way, text)
    if code in (10, 12, 30, 35, 255) or "connection unexpectedly closed" in text:
        raise HostUnreachable(
            f"copy of {way} broke off: {why}", hint="What arrived is kept. Run the same command again."
        )
    raise DataError(f"copy of {way} failed: {why}")


def hard_complaints(complaints: Sequence[str]) -> list[str]:
    """What rsync complains of beyond entries that moved: code 23 covers both."""
    return [
        line
        for line in complaints
        if not line.startswith(("rsync error:", "rsync warning:")) and "vanished" not in line
    ]
