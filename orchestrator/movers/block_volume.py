"""Disks and images from host to host: leaves that differ, over several SSH streams, proved by digests of both ends."""

import shlex
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from orchestrator.contracts.access import TransferAccess
from orchestrator.contracts.authority import Order
from orchestrator.contracts.bandwidth import Allowance, Bandwidth, unlimited, within
from orchestrator.contracts.programs import program_text, root_user, run_program
from orchestrator.contracts.progress import Progress, ProgressSink, Rated
from orchestrator.contracts.transport import Transports
from orchestrator.contracts.trees import PointStore, PointStores
from orchestrator.foundation.errors import (
    CommandFailed,
    DataError,
    HostError,
)
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.transfer import ContentDigest, TransferReport
from orchestrator.movers.held_points import held_for, path_of
from orchestrator.movers.host_orders import with_order
from orchestrator.movers.limits import Turns
from orchestrator.movers.program_trouble import trouble
from orchestrator.movers.source_line import line_to_source

PROGRAM = Path(__file__).with_name("host_programs") / "block_delta"
COPY_SECONDS_MAX = 7 * 24 * 3600.0
LEAF_DIGEST_BYTES = 32

# The program is placed where only its reader can come, in memory, and swept when a killed run left it.
_PLACE = """\
umask 077
if [ -b "$1" ]; then size=$(blockdev --getsize64 "$1"); else size=$(stat -Lc %s -- "$1"); fi || exit 1
for place in /run /dev/shm "${TMPDIR:-/tmp}"; do
  find "$place" -maxdepth 1 -name 'skerry-agent-*' -user "$(id -u)" -mtime +7 -exec rm -rf {} + 2>/dev/null
  folder=$(mktemp -d "$place/skerry-agent-XXXXXXXX" 2>/dev/null) && break
done
[ -n "$folder" ] || { echo "no folder for the program can be made" >&2; exit 1; }
cat > "$folder/agent.py" || { rm -rf "$folder"; exit 1; }
echo "$folder"
echo "$size"
"""


class BlockVolumeSettings(Frozen):
    """How volumes are copied."""

    streams: int = Field(default=2, ge=1, le=16)
    bandwidth_bytes_per_second: int | None = Field(default=None, ge=1024)
    # Serve from a copy that shares its blocks with the volume, where the file system can; the next copy then reads only
    # what changed, and the volume may be written meanwhile.
    share_blocks: bool = True
    # Of a replica's data, what one copy may take away.
    shrink_share_max: float = Field(default=0.5, gt=0, le=1)


class BlockVolumeMover:
    """`VolumeMover` by our own program. Each copy gets a certificate for one forced command: serve just this volume."""

    def __init__(
        self,
        transports: Transports,
        access: TransferAccess,
        point_stores: PointStores,
        settings: BlockVolumeSettings | None = None,
        *,
        bandwidth: Bandwidth = unlimited,
        turns: Turns | None = None,
    ) -> None:
        self._transports = transports
        self._access = access
        self._point_stores = point_stores
        self._settings = settings or BlockVolumeSettings()
        self._bandwidth = bandwidth
        self._turns = turns or Turns()
        self._may_shrink: set[tuple[str, str]] = set()

    def let_empty(self, volume: BlockVolume) -> None:
        self._may_shrink.add((volume.name, volume.path))

    def points(self, volume: BlockVolume, host: Host) -> PointStore:
        return self._point_stores(volume, host)

    def copy(
        self,
        volume: BlockVolume,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        with held_for(self.points(volume, source), volume, source, replica, from_point) as path:
            return self._copy(volume, source, replica, path, order, progress)

    def _copy(
        self,
        volume: BlockVolume,
        source: Host,
        replica: Host,
        path: str,
        order: Order | None,
        progress: ProgressSink | None,
    ) -> TransferReport:
        with ExitStack() as held:
            agent, size = held.enter_context(self._placed(volume, source, path))
            served = self._hold(volume, source, path)
            paths = [served["held"] or path, served.get("earlier", ""), served.get("ranges", "")]
            meant = (volume.name, volume.path) in self._may_shrink
            serve = ["python3", "-I", "-S", agent, "serve", *paths]
            request = {
                "do": "pull",
                "size": served.get("size", size),
                "earlier_digest": served.get("digest", ""),
                "target": replica.path(volume.path),
                "work": work_folder(volume, replica),
                "streams": self._settings.streams,
                "shrink_share_max": None if meant else self._settings.shrink_share_max,
            }
            command = shlex.join(["sudo", "-n", *serve] if source.become else serve)
            asked = with_order(request, order, replica)
            results = self._pull(volume, source, replica, command, asked, progress)
            result = results[-1]
            if served["held"]:
                settled = {"do": "settle", "work": work_folder(volume, source), "digest": result["digest"]}
                self._ask(volume, source, settled)
            elif served.get("bitmap"):
                begun = {"do": "settle_bitmap", "begun": served["bitmap"], "digest": result["digest"]}
                self._ask(volume, source, {**begun, **self._bitmap_words(volume, source)})
        return TransferReport(
            dataset=volume.name,
            source=source.name,
            replica=replica.name,
            method="block_delta",
            bytes_total=result["size"],
            bytes_wire=sum(each["received"] for each in results),
            seconds=sum(each["seconds"] for each in results),
            detail={
                "digest": result["digest"],
                "base": "target" if result["base"] else "none",
                "bytes_written": str(result["written"]),
                "bytes_rescanned": str(result["rescanned"]),
                "leaves_resumed": str(result["resumed"]),
                "tracked": tracked_by(served, since=result["since"]),
                **({"relimited": str(len(results) - 1)} if len(results) > 1 else {}),
            },
        )

    def _pull(
        self,
        volume: BlockVolume,
        source: Host,
        replica: Host,
        command: str,
        request: dict[str, Any],
        progress: ProgressSink | None,
    ) -> list[dict[str, Any]]:
        """What came of each run, the last of which came to its end; each has an access of its own. One ends with the
        window in which it began, and the next goes on from there under the limit that holds then.
        """
        results: list[dict[str, Any]] = []
        while not results or "stopped" in results[-1]:
            with (
                self._turns.turn(limited=self._allowance().bytes_per_second is not None),
                line_to_source(self._access, source, replica, command) as access,
            ):
                now = self._allowance()
                line = {
                    "words": [*access.ssh_words, access.destination],
                    "bytes_per_second": now.bytes_per_second,
                    "stop_after_seconds": None if now.seconds_left is None else max(1.0, now.seconds_left),
                }
                asked = {**request, **line}
                results.append(self._ask(volume, replica, asked, source=source, progress=progress))
        return results

    def _allowance(self) -> Allowance:
        return within(self._bandwidth(), self._settings.bandwidth_bytes_per_second)

    def digest(
        self,
        volume: BlockVolume,
        host: Host,
        *,
        point: PointId | None = None,
        scrub: bool = False,
        progress: ProgressSink | None = None,
    ) -> ContentDigest:
        request = {"do": "digest", "target": path_of(self.points(volume, host), volume, host, point), "scrub": scrub}
        result = self._ask(volume, host, request, progress=progress)
        return ContentDigest(
            dataset=volume.name,
            host=host.name,
            digest=result["digest"],
            algorithm="block/v1",
            bytes_read=result["bytes"],
            entries=result["entries"],
            seconds=result["seconds"],
        )

    def differences(self, volume: BlockVolume, one: Host, other: Host, *, limit: int = 20) -> Sequence[str]:
        sides = []
        for host in (one, other):
            request = {"do": "digest", "target": host.path(volume.path), "leaves": True}
            result = self._ask(volume, host, request)
            sides.append((result["size"], zlib.decompress(bytes.fromhex(result["leaves"]))))
        (size, left), (other_size, right) = sides
        if size != other_size:
            return [f"{size} bytes at {one.name}, {other_size} bytes at {other.name}"]
        leaf = size // (len(left) // LEAF_DIGEST_BYTES) if left else 0
        leaf = 1 << max(16, (leaf - 1).bit_length())
        found = [f"bytes {start} to {stop - 1}" for start, stop in differing_ranges(left, right, leaf, size)][:limit]
        if found:
            for host in (one, other):
                self._ask(volume, host, {"do": "distrust", "work": work_folder(volume, host)})
        return found

    def _hold(self, volume: BlockVolume, source: Host, path: str) -> dict[str, Any]:
        """The shared copy to serve from; `held` is empty where the file system shares no blocks. Then a dirty bitmap of
        the live volume tells what changed, for it is begun now.
        """
        if self._settings.share_blocks and not volume.is_device:
            request = {"do": "hold", "target": path, "work": work_folder(volume, source)}
            found = self._ask(volume, source, request)
            if found["held"]:
                return found
        if volume.dirty_bitmap is not None and path == source.path(volume.path):
            asked = {"do": "begin_bitmap", "target": path, **self._bitmap_words(volume, source)}
            return {"held": "", **self._ask(volume, source, asked)}
        return {"held": ""}

    def _bitmap_words(self, volume: BlockVolume, source: Host) -> dict[str, Any]:
        asked = volume.dirty_bitmap
        if asked is None:
            return {}
        sockets = {"qmp": source.path(asked.qmp), "nbd": source.path(asked.nbd) if asked.nbd else ""}
        return {"bitmap": {"node": asked.node, **sockets}, "work": work_folder(volume, source)}

    @contextmanager
    def _placed(self, volume: BlockVolume, source: Host, path: str) -> Iterator[tuple[str, int]]:
        """(path of the program at the source, size of what it will serve); the program is gone afterwards."""
        transport = self._transports(source)
        try:
            answer = transport.run(
                ["sh", "-c", _PLACE, "place", path], stdin=program_text(PROGRAM), user=root_user(source)
            )
        except CommandFailed as error:
            raise DataError(f"{source.name}: {volume.name} at {path} cannot be read: {error.message}") from error
        folder, size = answer.text.splitlines()
        try:
            yield f"{folder}/agent.py", int(size)
        except BaseException as error:
            try:
                transport.run(["rm", "-rf", "--", folder], user=root_user(source))
            except HostError as second:
                error.add_note(f"the program of this transfer was left in {folder} on {source.name}: {second}")
            raise
        else:
            transport.run(["rm", "-rf", "--", folder], user=root_user(source))

    def _ask(
        self,
        volume: BlockVolume,
        host: Host,
        request: dict[str, Any],
        *,
        source: Host | None = None,
        progress: ProgressSink | None = None,
    ) -> dict[str, Any]:
        show = Rated(progress)

        def hear(kind: str, value: dict[str, Any]) -> None:
            if kind == "progress":
                text = f"{source.name} → {host.name}" if source else f"digest at {host.name}"
                show(Progress(dataset=volume.name, text=text, bytes_done=value["bytes"], bytes_total=value["total"]))

        result = run_program(
            self._transports(host),
            PROGRAM,
            request,
            user=root_user(host),
            timeout_seconds=COPY_SECONDS_MAX,
            on_event=hear,
        )
        if "broken" in result:
            raise trouble(volume, host, source, result["broken"], result["why"])
        return result


def tracked_by(served: dict[str, Any], *, since: bool) -> str:
    """What told the changes; where nothing did, and something was asked, why not."""
    if since:
        return "dirty bitmap" if served.get("ranges") else "extent maps"
    if why := served.get("why"):
        return f"none: {why}"
    return "none: the replica is not what it was when the bitmap was begun" if served.get("ranges") else "none"


def work_folder(volume: BlockVolume, host: Host) -> str:
    """Where signature, logs and the side file of a volume lie: beside an image, on its own file system."""
    path = PurePosixPath(host.path(volume.path))
    if volume.is_device:
        return host.path(f"/var/lib/skerry/volumes/{volume.name}")  # /dev is memory, and no place for a log
    return str(path.parent / ".skerry-points" / f"{path.name}.volume")


def differing_ranges(left: bytes, right: bytes, leaf: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of bytes whose leaves have different digests, neighbours joined."""
    begun: int | None = None
    count = len(left) // LEAF_DIGEST_BYTES
    for number in range(count + 1):
        place = slice(number * LEAF_DIGEST_BYTES, (number + 1) * LEAF_DIGEST_BYTES)
        differs = number < count and left[place] != right[place]
        if differs and begun is None:
            begun = number
        elif not differs and begun is not None:
            yield begun * leaf, min(number * leaf, size)
            begun = None
