"""Moves a disk image or volume from its host to another's, and digests it there (block/v1).

This file is sent to both hosts as it stands and run by their own Python (3.9 or newer): standard library only. At the
source it serves one volume, read only, as the forced command of a certificate; at the replica it pulls, over several
SSH streams, each served by a process of its own: all cores read, digest, encrypt and write at once.

The form. A volume is a row of leaves of 64 KiB (more above 256 GiB, so that four million suffice); a leaf has a
SHA-256, 32 zero bytes where all of it is zero, hole or not. block/v1 is SHA-256 over size, leaf size and these.

The way. Without a base every leaf that is not zero comes with its digest and goes, once the digest fits, into a side
file that takes the target's place when all of it is there. With a base the source tells its digests; where they differ
the replica sends checksums of its 4 KiB pages, gets the pages that differ, and checks the digest of the leaf that they
make with its own. Those go into a log beside the target; when every stream's digests fit, the log is committed and then
applied.

Where the source's file system shares blocks (XFS, btrfs), the source is served from a copy that shares them, and the
copy of the time before is kept: what lies at the same place on the disk in both is the same, for the older one still
holds that place. Then only the rest is read, if the replica is just what that older copy was. Whatever the map of a
file calls delayed, inline, encoded or unknown counts as changed; a digest of all of it can refute the maps.

Rules: the target is the last good state or, after a commit, becomes the new one, whatever dies when; nothing that a
broken run left is believed, it is digested again; a signature is believed only while the volume's identity (inode,
size, mtime, ctime) is the one it was made for; checksums find what may differ, digests alone prove that nothing does.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import select
import signal
import stat
import struct
import subprocess
import sys
import time
import zlib

MYPY = False  # true for the type checker alone: importing typing would double the start of this program
if MYPY:
    from collections.abc import Callable, Iterator
    from typing import Any

LEAF_BYTES = 64 * 1024
LEAVES_MAX = 4 * 1024 * 1024
PAGE_BYTES = 4096
RUN_LEAVES = 16  # one reading, one frame
STRIPE_LEAVES = 1024  # neighbouring leaves go to one stream, so that files are written in long runs
FRAME_BYTES_MAX = 64 * 1024 * 1024
DIGEST = 32
SHORT = 8
ZERO = bytes(DIGEST)
MAGIC = b"skerry block/v1\n"
SIGNATURE_MAGIC = b"skerry block signature/v1\n"
HEADER = struct.Struct("<cQII")  # kind, first leaf, number of leaves, length of what follows
CHECK = struct.Struct("<I")  # CRC-32 of the header: SSH guards the wire, this guards against our own mistakes
FS_IOC_FIEMAP = 0xC020660B
FIEMAP_SYNC = 1
EXTENTS_PER_CALL = 4096
EXTENT_LAST = 0x1
EXTENT_UNSURE = (
    0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400
)  # unknown, delayed, encoded, encrypted, unaligned, inline, tail
EXTENT_UNWRITTEN = 0x800
PR_SET_PDEATHSIG = 1
RESUMED_LOG = "changes.0-resumed"
SYNC_FILE_RANGE_WRITE = 2


class Broken(Exception):
    """Something of the world refuses; kind and words go to whoever asked."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


# --- leaves ---------------------------------------------------------------------------------------------------------


def leaf_size(size: int) -> int:
    leaf = LEAF_BYTES
    while leaf * LEAVES_MAX < size:
        leaf *= 2
    return leaf


def open_volume(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "neither a file nor a block device", path)
    return descriptor


def volume_size(descriptor: int) -> int:
    return os.lseek(descriptor, 0, os.SEEK_END)


def root_digest(size: int, leaf: int, digests: Any) -> str:
    made = hashlib.sha256(MAGIC + struct.pack("<QI", size, leaf))
    made.update(digests)
    return "sha256:" + made.hexdigest()


def data_runs(descriptor: int, size: int, first: int, last: int, leaf: int) -> Iterator[tuple[int, int]]:
    """Runs of leaves within first..last-1 that may hold data, in order; between them are holes."""
    position = first * leaf
    end = min(last * leaf, size)
    done = first
    while position < end:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            yield done, last  # no such call here (a block device): all of it
            return
        if start >= end:
            return
        stop = os.lseek(descriptor, start, os.SEEK_HOLE)
        run = max(start // leaf, done), min(-(-stop // leaf), last)
        if run[1] > run[0]:
            yield run
            done = run[1]
        position = max(stop, start + 1)


class Volume:
    """A file or device that is read by leaves."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size
        self.leaf = leaf_size(size)
        self.leaves = -(-size // self.leaf)
        self.buffer = memoryview(bytearray(self.leaf * RUN_LEAVES))
        self.zeros = bytes(self.leaf)

    def stripes(self, stream: int, streams: int) -> Iterator[tuple[int, int]]:
        for first in range(stream * STRIPE_LEAVES, self.leaves, streams * STRIPE_LEAVES):
            yield first, min(first + STRIPE_LEAVES, self.leaves)

    def length(self, first: int, count: int) -> int:
        return min((first + count) * self.leaf, self.size) - first * self.leaf

    def read(self, first: int, count: int) -> memoryview:
        """Leaves first..first+count-1; the view is good until the next reading."""
        wanted = self.length(first, count)
        got = 0
        while got < wanted:
            part = os.preadv(self.descriptor, [self.buffer[got:wanted]], first * self.leaf + got)
            if not part:
                raise Broken("moved", f"became shorter than {self.size} bytes")
            got += part
        return self.buffer[:wanted]

    def digests(self, data: memoryview) -> list[bytes]:
        out = []
        for start in range(0, len(data), self.leaf):
            piece = data[start : start + self.leaf]
            # The first bytes tell nearly always; only a page that begins with zeros is looked at whole.
            if piece[:16] == self.zeros[:16] and piece == self.zeros[: len(piece)]:
                out.append(ZERO)
            else:
                out.append(hashlib.sha256(piece).digest())
        return out

    def page_checks(self, data: memoryview) -> bytes:
        checks = [zlib.crc32(data[start : start + PAGE_BYTES]) for start in range(0, len(data), PAGE_BYTES)]
        return array.array("I", checks).tobytes()


def scan_stripes(volume: Volume, stream: int, streams: int, digests: Any, counter: Counter, *, scrub: bool) -> None:
    for first, last in volume.stripes(stream, streams):
        for start, stop in data_runs(volume.descriptor, volume.size, first, last, volume.leaf):
            for leaf in range(start, stop, RUN_LEAVES):
                count = min(RUN_LEAVES, stop - leaf)
                if scrub:
                    offset = leaf * volume.leaf
                    os.posix_fadvise(volume.descriptor, offset, volume.length(leaf, count), os.POSIX_FADV_DONTNEED)
                data = volume.read(leaf, count)
                found = b"".join(volume.digests(data))
                digests[leaf * DIGEST : leaf * DIGEST + len(found)] = found
                counter.add(len(data))


class Counter:
    """Bytes done, kept where all processes see it."""

    def __init__(self, shared: mmap.mmap, place: int) -> None:
        self.shared = shared
        self.place = place * 8
        self.value = 0

    def add(self, count: int) -> None:
        self.value += count
        struct.pack_into("<Q", self.shared, self.place, self.value)


# --- extent maps ----------------------------------------------------------------------------------------------------


def extent_map(descriptor: int, size: int) -> list[tuple[int, int, int, int]]:
    """(logical, physical, length, flags) of every extent of a file, everything written first."""
    extents: list[tuple[int, int, int, int]] = []
    position = 0
    while position < size:
        asked = struct.pack("<QQIIII", position, size - position, FIEMAP_SYNC, 0, EXTENTS_PER_CALL, 0)
        data = bytearray(asked + bytes(56 * EXTENTS_PER_CALL))
        fcntl.ioctl(descriptor, FS_IOC_FIEMAP, data)
        (count,) = struct.unpack_from("<I", data, 20)
        for number in range(count):
            logical, physical, length, _, _, flags = struct.unpack_from("<QQQQQI", data, 32 + 56 * number)
            extents.append((logical, physical, length, flags))
            position = logical + length
        if not count or extents[-1][3] & EXTENT_LAST:
            break
    return extents


def changed_runs(new: int, old: int, size: int, leaf: int) -> list[tuple[int, int]]:
    """Runs of leaves that do not lie at the same place in both files."""
    runs: list[tuple[int, int]] = []
    for start, stop in differing_bytes(extent_map(new, size), extent_map(old, size), size):
        first, last = start // leaf, -(-min(stop, size) // leaf)
        if runs and first <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
        elif last > first:
            runs.append((first, last))
    return runs


def differing_bytes(
    new: list[tuple[int, int, int, int]], old: list[tuple[int, int, int, int]], size: int
) -> Iterator[tuple[int, int]]:
    """Ranges in which two maps do not say: the same place of the disk, plainly written, or a hole in both."""
    here = there = position = 0
    while position < size:
        while here < len(new) and new[here][0] + new[here][2] <= position:
            here += 1
        while there < len(old) and old[there][0] + old[there][2] <= position:
            there += 1
        one = new[here] if here < len(new) else None
        other = old[there] if there < len(old) else None
        present = [extent for extent in (one, other) if extent is not None]
        bounds = [extent[0] + extent[2] if extent[0] <= position else extent[0] for extent in present]
        stop = min([size, *bounds])
        in_one = one if one is not None and one[0] <= position else None
        in_other = other if other is not None and other[0] <= position else None
        if in_one is None or in_other is None:
            equal = in_one is in_other
        else:
            flags = in_one[3] | in_other[3]
            moved = in_one[1] - in_one[0] != in_other[1] - in_other[0]
            equal = not moved and not flags & EXTENT_UNSURE and not (in_one[3] ^ in_other[3]) & EXTENT_UNWRITTEN
        if not equal:
            yield position, stop
        position = stop


# --- frames ---------------------------------------------------------------------------------------------------------


def pack_frame(kind: bytes, first: int, count: int, payload: bytes = b"") -> bytes:
    head = HEADER.pack(kind, first, count, len(payload))
    return head + CHECK.pack(zlib.crc32(head)) + payload


def unpack_header(data: bytes) -> tuple[bytes, int, int, int]:
    head = data[: HEADER.size]
    if CHECK.unpack(data[HEADER.size :])[0] != zlib.crc32(head):
        raise Broken("link", "a frame arrived damaged")
    kind, first, count, length = HEADER.unpack(head)
    if length > FRAME_BYTES_MAX:
        raise Broken("link", "a frame is longer than any may be")
    return kind, first, count, length


FRAME_HEAD = HEADER.size + CHECK.size


def shortened(digests: Any) -> bytes:
    """The first bytes of each digest: they find what differs; that the rest is equal is proved at the end, by all."""
    view = memoryview(digests)
    return b"".join([view[start : start + SHORT] for start in range(0, len(view), DIGEST)])


def read_exactly(descriptor: int, count: int) -> bytearray:
    data = bytearray(count)
    fill(descriptor, memoryview(data))
    return data


def fill(descriptor: int, view: memoryview) -> None:
    while view:
        got = os.readv(descriptor, [view])
        if not got:
            raise Broken("link", "the other side ended")
        view = view[got:]


def read_frame(descriptor: int, buffer: memoryview | None = None) -> tuple[bytes, int, int, Any]:
    """A frame; what follows its header lies in `buffer`, where that is large enough, until the next one is read."""
    kind, first, count, length = unpack_header(bytes(read_exactly(descriptor, FRAME_HEAD)))
    if buffer is None or length > len(buffer):
        return kind, first, count, read_exactly(descriptor, length)
    fill(descriptor, buffer[:length])
    return kind, first, count, buffer[:length]


def write_all(descriptor: int, *parts: Any) -> None:
    views = [memoryview(part) for part in parts]
    while views:
        done = os.writev(descriptor, views)
        while views and done >= len(views[0]):
            done -= len(views[0])
            views.pop(0)
        if views and done:
            views[0] = views[0][done:]


def widen_pipe(descriptor: int) -> None:
    try:
        fcntl.fcntl(descriptor, 1031, 1 << 20)  # F_SETPIPE_SZ; a wish
    except OSError:
        pass


# --- the source -----------------------------------------------------------------------------------------------------


class Server:
    """Serves one stream of one volume on stdin and stdout; it writes nothing anywhere."""

    def __init__(self, path: str, earlier: str) -> None:
        self.earlier = earlier
        descriptor = open_volume(path)
        self.before = os.fstat(descriptor)
        self.volume = Volume(descriptor, volume_size(descriptor))
        self.sent = hashlib.sha256()
        self.bytes_read = 0
        self.rate = 0.0
        self.due = time.monotonic()

    def pace(self, count: int) -> None:
        """Keep below the limit, forgiving a quarter of a second."""
        if self.rate:
            now = time.monotonic()
            self.due = max(self.due, now - 0.25) + count / self.rate
            if self.due > now:
                time.sleep(self.due - now)

    def run(self) -> None:
        kind, _, _, payload = read_frame(0)
        if kind != b"H":
            raise Broken("link", "the other side does not say who it is")
        hello = json.loads(bytes(payload))
        self.rate = float(hello.get("bytes_per_second") or 0)
        volume = self.volume
        facts = json.dumps({"size": volume.size, "leaf": volume.leaf}).encode()
        write_all(1, pack_frame(b"h", 0, 0, facts))
        if hello["since"]:
            self.tell_changes(hello["stream"], hello["streams"])
        else:
            self.tell_all(hello)
        write_all(1, pack_frame(b"S", 0, 0))
        while self.serve_request():
            pass
        self.finish()

    def tell_changes(self, stream: int, streams: int) -> None:
        """Digests of what does not lie where it lay in the earlier copy."""
        volume = self.volume
        with open(self.earlier, "rb") as earlier:
            runs = changed_runs(volume.descriptor, earlier.fileno(), volume.size, volume.leaf)
        for first, last in volume.stripes(stream, streams):
            for start, stop in runs:
                for leaf in range(max(start, first), min(stop, last), RUN_LEAVES):
                    count = min(RUN_LEAVES, min(stop, last) - leaf)
                    found = self.send_run(leaf, count, base=True)
                    write_all(1, pack_frame(b"D", leaf, count, shortened(found)))
                    self.sent.update(struct.pack("<QI", leaf, count) + found)
                    while select.select([0], [], [], 0)[0]:
                        self.serve_request()

    def tell_all(self, hello: dict[str, Any]) -> None:
        volume = self.volume
        for first, last in volume.stripes(hello["stream"], hello["streams"]):
            told = bytearray(DIGEST * (last - first))
            for start, stop in data_runs(volume.descriptor, volume.size, first, last, volume.leaf):
                for leaf in range(start, stop, RUN_LEAVES):
                    found = self.send_run(leaf, min(RUN_LEAVES, stop - leaf), base=hello["base"])
                    at = (leaf - first) * DIGEST
                    told[at : at + len(found)] = found
                    while select.select([0], [], [], 0)[0]:
                        self.serve_request()
            if hello["base"]:
                write_all(1, pack_frame(b"D", first, last - first, b"" if not any(told) else shortened(told)))
            self.sent.update(told)

    def send_run(self, leaf: int, count: int, *, base: bool) -> bytes:
        data = self.volume.read(leaf, count)
        self.bytes_read += len(data)
        found = b"".join(self.volume.digests(data))
        if not base:
            head = HEADER.pack(b"F", leaf, count, len(found) + len(data))
            self.pace(len(data))
            write_all(1, head, CHECK.pack(zlib.crc32(head)), found, data)
        return found

    def serve_request(self) -> bool:
        """Answer one request for a leaf; False when there are no more."""
        kind, leaf, _, theirs = read_frame(0)
        if kind == b"Q":
            return False
        data = self.volume.read(leaf, 1)
        made = self.volume.digests(data)[0]
        if made == ZERO:
            write_all(1, pack_frame(b"P", leaf, 0, made))
            return True
        pages = list(range(-(-len(data) // PAGE_BYTES)))
        if theirs:
            mine = self.volume.page_checks(data)
            pages = [page for page in pages if mine[page * 4 : page * 4 + 4] != theirs[page * 4 : page * 4 + 4]]
        pieces = [bytes(data[page * PAGE_BYTES : (page + 1) * PAGE_BYTES]) for page in pages]
        body = made + array.array("H", pages).tobytes() + b"".join(pieces)
        self.pace(len(body))
        write_all(1, pack_frame(b"P", leaf, len(pieces), body))
        return True

    def finish(self) -> None:
        after = os.fstat(self.volume.descriptor)
        moved = (self.before.st_mtime_ns, self.before.st_size) != (after.st_mtime_ns, after.st_size)
        told = {"told": self.sent.hexdigest(), "moved": moved, "bytes_read": self.bytes_read}
        write_all(1, pack_frame(b"E", 0, 0, json.dumps(told).encode()))


def serve(path: str, earlier: str) -> None:
    widen_pipe(1)
    try:
        Server(path, earlier).run()
    except Broken as error:
        complain(error.kind, str(error))
    except BrokenPipeError:
        raise SystemExit(1) from None  # the replica is gone; there is nobody to tell
    except OSError as error:
        complain("source", f"{path}: {error.strerror}")


def complain(kind: str, why: str) -> None:
    try:
        write_all(1, pack_frame(b"X", 0, 0, json.dumps({"kind": kind, "why": why}).encode()))
    except OSError:
        raise SystemExit(1) from None


# --- one stream of the replica --------------------------------------------------------------------------------------


class Stream:
    """Pulls the stripes of one stream, in a process of its own."""

    def __init__(self, number: int, plan: Plan, counter: Counter) -> None:
        self.number = number
        self.plan = plan
        self.counter = counter
        self.volume = plan.volume
        self.told = hashlib.sha256()
        self.out = bytearray()
        self.frame = memoryview(bytearray(RUN_LEAVES * (plan.volume.leaf + DIGEST)))
        self.waiting = 0
        self.again: set[int] = set()
        self.compared: list[tuple[int, int]] = []
        self.received = 0
        self.written = 0
        # A side file is no good state yet: what is verified goes straight into it.
        self.log = plan.open_log(number) if plan.base and not plan.side else -1

    def run(self) -> dict[str, Any]:
        child = subprocess.Popen(
            self.plan.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=follow_parent,
        )
        if child.stdin is None or child.stdout is None or child.stderr is None:
            raise Broken("link", "ssh was started without pipes")
        source, self.sink = child.stdout.fileno(), child.stdin.fileno()
        widen_pipe(source)
        hello = {
            "stream": self.number,
            "streams": self.plan.streams,
            "base": self.plan.base,
            "since": self.plan.since,
            "bytes_per_second": self.plan.rate / self.plan.streams,
        }
        try:
            write_all(self.sink, pack_frame(b"H", 0, 0, json.dumps(hello).encode()))
            os.set_blocking(self.sink, False)
            result = self.listen(source)
        except (Broken, OSError) as error:
            child.kill()
            said = child.stderr.read().decode(errors="replace").strip().splitlines()
            child.wait()
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                raise
            if said and (not isinstance(error, Broken) or error.kind == "link"):
                raise Broken("link", said[-1]) from None
            raise error if isinstance(error, Broken) else Broken("link", "ssh ended") from None
        child.stdin.close()
        child.wait()
        return result

    def listen(self, source: int) -> dict[str, Any]:
        scanned = False
        while True:
            self.push()
            kind, first, count, payload = read_frame_pushing(source, self)
            self.received += FRAME_HEAD + len(payload)
            if kind == b"h":
                facts = json.loads(bytes(payload))
                if facts != {"size": self.volume.size, "leaf": self.volume.leaf}:
                    raise Broken("moved", f"changed its size to {facts['size']} bytes")
            elif kind == b"F":
                self.take_full(first, count, payload)
            elif kind == b"D":
                self.compare(first, count, payload)
            elif kind == b"P":
                self.take_patch(first, count, payload)
            elif kind == b"S":
                scanned = True
            elif kind == b"E":
                return self.judge(json.loads(bytes(payload)))
            elif kind == b"X":
                told = json.loads(bytes(payload))
                raise Broken(told["kind"], told["why"])
            else:
                raise Broken("link", "a frame of no known kind arrived")
            if scanned and not self.waiting:
                self.send(pack_frame(b"Q", 0, 0))
                scanned = False

    def send(self, frame: bytes) -> None:
        self.out += frame
        self.push()

    def push(self) -> None:
        """Send what goes without waiting: the source may be waiting for us to read."""
        while self.out:
            try:
                done = os.write(self.sink, self.out)
            except BlockingIOError:
                return
            del self.out[:done]

    def take_full(self, first: int, count: int, payload: Any) -> None:
        told, data = bytes(payload[: count * DIGEST]), memoryview(payload)[count * DIGEST :]
        if b"".join(self.volume.digests(data)) != told:
            raise Broken("link", f"leaf {first} arrived different from its digest")
        offset = first * self.volume.leaf
        # Leaves of zeros are left holes: the side file began as one.
        start = 0
        for number in range(count + 1):
            if number == count or told[number * DIGEST : (number + 1) * DIGEST] == ZERO:
                begin, end = start * self.volume.leaf, min(number * self.volume.leaf, len(data))
                if end > begin:
                    pwrite_all(self.plan.target, data[begin:end], offset + begin)
                start = number + 1
        self.plan.digests[first * DIGEST : (first + count) * DIGEST] = told
        self.written += len(data)
        self.counter.add(len(data))
        self.plan.start_writing(offset, len(data))

    def compare(self, first: int, count: int, told: Any) -> None:
        mine = shortened(self.plan.digests[first * DIGEST : (first + count) * DIGEST])
        theirs = bytes(told) or bytes(count * SHORT)
        self.compared.append((first, count))
        self.counter.add(self.volume.length(first, count))
        if mine == theirs:
            return
        for number in range(count):
            place = slice(number * SHORT, (number + 1) * SHORT)
            if mine[place] == theirs[place]:
                continue
            leaf = first + number
            if theirs[place] == ZERO[:SHORT]:
                self.keep(leaf, ZERO, [], b"")
            else:
                self.request(leaf, known=mine[place] != ZERO[:SHORT])

    def request(self, leaf: int, *, known: bool) -> None:
        checks = self.volume.page_checks(self.volume.read(leaf, 1)) if known else b""
        self.waiting += 1
        self.send(pack_frame(b"R", leaf, 1, checks))

    def take_patch(self, leaf: int, count: int, payload: Any) -> None:
        self.waiting -= 1
        told = bytes(payload[:DIGEST])
        pages = array.array("H", bytes(payload[DIGEST : DIGEST + 2 * count]))
        pieces = payload[DIGEST + 2 * count :]
        if told != ZERO and self.plan.patched(leaf, pages, pieces) != told:
            # A checksum that met its like, or a base that is not what its signature says: ask for all of it, once.
            if leaf in self.again:
                raise Broken("link", f"leaf {leaf} arrived different from its digest")
            self.again.add(leaf)
            self.request(leaf, known=False)
            return
        self.keep(leaf, told, pages, bytes(pieces))

    def keep(self, leaf: int, digest: bytes, pages: Any, pieces: bytes) -> None:
        """A verified change, into the log of this stream or into the side file."""
        if self.log < 0:
            put_leaf(self.volume, leaf, digest, pages, pieces)
        else:
            body = digest + array.array("H", pages).tobytes() + pieces
            write_all(self.log, pack_frame(b"P", leaf, len(pages), body))
        self.plan.digests[leaf * DIGEST : (leaf + 1) * DIGEST] = digest
        self.written += len(pieces)

    def judge(self, told: dict[str, Any]) -> dict[str, Any]:
        if self.plan.since:
            for first, count in self.compared:
                mine = self.plan.digests[first * DIGEST : (first + count) * DIGEST]
                self.told.update(struct.pack("<QI", first, count) + mine)
        else:
            for first, last in self.volume.stripes(self.number, self.plan.streams):
                self.told.update(self.plan.digests[first * DIGEST : last * DIGEST])
        if told["moved"] or told["told"] != self.told.hexdigest():
            raise Broken("moved", "changed while it was copied")
        if self.log >= 0:
            os.fsync(self.log)
        return {"received": self.received, "written": self.written, "bytes_read": told["bytes_read"]}


def read_frame_pushing(descriptor: int, stream: Stream) -> tuple[bytes, int, int, Any]:
    while stream.out:
        readable, writable, _ = select.select([descriptor], [stream.sink], [], 60.0)
        if readable:
            break
        if writable:
            stream.push()
    return read_frame(descriptor, stream.frame)


def pwrite_all(descriptor: int, data: Any, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


def follow_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


# --- the replica ----------------------------------------------------------------------------------------------------


def identity(found: os.stat_result, size: int) -> dict[str, int]:
    """What must still hold of a volume for its signature to be believed."""
    return {
        "device": found.st_dev,
        "inode": found.st_ino,
        "size": size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


class Plan:
    """One pull: what is there, where the new goes, and how it becomes the target."""

    def __init__(self, request: dict[str, Any], size: int) -> None:
        self.path = request["target"]
        self.words = request["words"]
        self.streams = request["streams"]
        self.rate = float(request.get("bytes_per_second") or 0)
        self.work = request["work"]  # a folder of ours beside the target
        self.side = os.path.join(self.work, "incoming")
        self.signature = os.path.join(self.work, "signature")
        self.commit_note = os.path.join(self.work, "commit")
        self.rescanned = 0
        self.resumed = 0
        self.earlier_digest = request.get("earlier_digest") or ""
        self.since = False
        self.libc = ctypes.CDLL(None)
        self.size = size
        leaf = leaf_size(size)
        self.digests = mmap.mmap(-1, max(1, -(-size // leaf)) * DIGEST)
        self.target = -1
        self.base = False

    def prepare(self) -> None:
        """Find a base: the target as it is, or the side file of a first copy that broke off."""
        for path, is_side in ((self.path, False), (self.side, True)):
            try:
                found = os.stat(path)
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISBLK(found.st_mode):
                raise Broken("target", f"{path} is neither a file nor a block device")
            self.target = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            present = volume_size(self.target)
            if present != self.size:
                if stat.S_ISBLK(found.st_mode):
                    if present < self.size:
                        raise Broken("target", f"{path} has {present} bytes, the source {self.size}")
                elif is_side or present == 0:
                    os.ftruncate(self.target, self.size)
                else:
                    os.close(self.target)
                    continue  # another size: the new one is brought beside it
            self.volume = Volume(self.target, self.size)
            self.base = True
            # A device tells nothing of when it was written, so its signature is made anew each time.
            if is_side or stat.S_ISBLK(found.st_mode) or not self.load_signature():
                self.rescan(scrub=False)
            if not is_side:
                self.side = ""
            return
        self.target = os.open(self.side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self.target, self.size)
        self.volume = Volume(self.target, self.size)

    def load_signature(self) -> bool:
        try:
            with open(self.signature, "rb") as stream:
                data = stream.read()
        except FileNotFoundError:
            return False
        body, check = data[:-DIGEST], data[-DIGEST:]
        if hashlib.sha256(body).digest() != check or not body.startswith(SIGNATURE_MAGIC):
            return False
        (length,) = struct.unpack_from("<I", body, len(SIGNATURE_MAGIC))
        start = len(SIGNATURE_MAGIC) + 4
        if json.loads(body[start : start + length]) != identity(os.fstat(self.target), self.size):
            return False
        digests = body[start + length :]
        if len(digests) != self.volume.leaves * DIGEST:
            return False
        self.digests[: len(digests)] = digests
        return True

    def save_signature(self) -> None:
        note = json.dumps(identity(os.stat(self.path), self.size)).encode()
        body = SIGNATURE_MAGIC + struct.pack("<I", len(note)) + note + self.digests[: self.volume.leaves * DIGEST]
        aside = self.signature + ".new"
        with open(aside, "wb") as stream:
            stream.write(body + hashlib.sha256(body).digest())
        os.replace(aside, self.signature)

    def rescan(self, *, scrub: bool) -> None:
        counters = mmap.mmap(-1, 8 * 64)
        spread(
            processes(),
            lambda number, total: scan_stripes(
                self.volume, number, total, self.digests, Counter(counters, number), scrub=scrub
            ),
        )
        self.rescanned = sum(struct.unpack("<64Q", counters[:]))

    def log_path(self, number: int) -> str:
        return os.path.join(self.work, f"changes.s{number}")

    def open_log(self, number: int) -> int:
        return os.open(self.log_path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def replay(self) -> None:
        """Take up what an earlier run logged, each change digested anew on top of the base, in one log of its own."""
        aside = os.path.join(self.work, "resumed.new")
        with open(aside, "wb") as out:
            for leaf, digest, pages, pieces in latest_entries(self.work):
                if leaf < self.volume.leaves and (digest == ZERO or self.patched(leaf, pages, pieces) == digest):
                    body = digest + pages.tobytes() + pieces
                    out.write(pack_frame(b"P", leaf, len(pages), body))
                    self.digests[leaf * DIGEST : (leaf + 1) * DIGEST] = digest
                    self.resumed += 1
        remove_logs(self.work)
        os.replace(aside, os.path.join(self.work, RESUMED_LOG))

    def patched(self, leaf: int, pages: Any, pieces: Any) -> bytes:
        """Digest of a leaf of the base with pages replaced."""
        data = bytearray(self.volume.read(leaf, 1))
        for number, page in enumerate(pages):
            start = page * PAGE_BYTES
            piece = pieces[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]
            data[start : start + len(piece)] = piece
        return self.volume.digests(memoryview(data))[0]

    def start_writing(self, offset: int, length: int) -> None:
        """Let the disk begin now; it is waited for at the end."""
        self.libc.sync_file_range(self.target, ctypes.c_int64(offset), ctypes.c_int64(length), SYNC_FILE_RANGE_WRITE)

    def finish(self) -> None:
        if not self.side:
            note = {"size": self.size, "digest": root_digest(self.size, self.volume.leaf, self.told())}
            write_note(self.commit_note, note)  # from here on the new state is the one that counts
            apply_logs(self.work, self.target, self.size)
        if self.side:
            os.fsync(self.target)
            os.replace(self.side, self.path)
            sync_folder(os.path.dirname(self.path))
        os.utime(self.path)
        self.save_signature()

    def told(self) -> Any:
        return self.digests[: self.volume.leaves * DIGEST]


def log_names(work: str) -> list[str]:
    """Logs in the order in which they count: what was resumed, then the streams', which have no leaf in common."""
    return [os.path.join(work, name) for name in sorted(os.listdir(work)) if name.startswith("changes.")]


def remove_logs(work: str) -> None:
    for name in log_names(work):
        os.unlink(name)


def log_entries(stream: Any) -> Iterator[tuple[int, int]]:
    """(leaf, where it begins) of every whole entry of a log; what follows a broken one is nothing."""
    while True:
        start = stream.tell()
        entry = read_entry(stream, start)
        if entry is None:
            return
        yield entry[0], start


def read_entry(stream: Any, start: int) -> tuple[int, bytes, Any, bytes] | None:
    """Leaf, digest, pages and their content of the entry at `start`; None where there is no whole one."""
    stream.seek(start)
    head = stream.read(FRAME_HEAD)
    if len(head) < FRAME_HEAD:
        return None
    try:
        _, leaf, count, length = unpack_header(head)
    except Broken:
        return None
    body = stream.read(length)
    if len(body) < length:
        return None
    return leaf, body[:DIGEST], array.array("H", body[DIGEST : DIGEST + 2 * count]), body[DIGEST + 2 * count :]


def latest_entries(work: str) -> Iterator[tuple[int, bytes, Any, bytes]]:
    """The last entry of every leaf: changes are against the base, so an earlier one must not shine through."""
    names = log_names(work)
    latest: dict[int, tuple[int, int]] = {}
    for number, name in enumerate(names):
        with open(name, "rb") as stream:
            for leaf, start in log_entries(stream):
                latest[leaf] = (number, start)
    streams = [open(name, "rb") for name in names]  # noqa: SIM115  (closed below, all together)
    try:
        for number, start in latest.values():
            entry = read_entry(streams[number], start)
            if entry is not None:
                yield entry
    finally:
        for stream in streams:
            stream.close()


def put_leaf(volume: Volume, leaf: int, digest: bytes, pages: Any, pieces: bytes) -> None:
    offset = leaf * volume.leaf
    if digest == ZERO:
        clear(volume.descriptor, offset, volume.length(leaf, 1))
    for number, page in enumerate(pages):
        piece = pieces[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]
        pwrite_all(volume.descriptor, piece, offset + page * PAGE_BYTES)


def apply_logs(work: str, target: int, size: int) -> None:
    """Write the committed changes; doing it again after a crash ends in the same state."""
    volume = Volume(target, size)
    for leaf, digest, pages, pieces in latest_entries(work):
        put_leaf(volume, leaf, digest, pages, pieces)
    os.fsync(target)
    # The note goes first: logs without it are changes that are digested anew, a note with some of them would be a lie.
    os.unlink(os.path.join(work, "commit"))
    sync_folder(work)
    remove_logs(work)


def clear(descriptor: int, offset: int, length: int) -> None:
    """Zeros, as a hole where that can be."""
    libc = ctypes.CDLL(None, use_errno=True)
    keep_size_punch_hole = 3
    if libc.fallocate(descriptor, keep_size_punch_hole, ctypes.c_int64(offset), ctypes.c_int64(length)):
        pwrite_all(descriptor, bytes(length), offset)


def write_note(path: str, note: dict[str, Any]) -> None:
    aside = path + ".new"
    with open(aside, "w", encoding="utf-8") as stream:
        json.dump(note, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def processes() -> int:
    return max(1, len(os.sched_getaffinity(0)))


def spread(total: int, deed: Callable[[int, int], Any], watch: Callable[[], None] | None = None) -> list[Any]:
    """Do `deed(number, total)` in as many processes; the answers, or the first trouble of any."""
    children: dict[int, tuple[int, int]] = {}
    for number in range(total):
        ours, theirs = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(ours)
            follow_parent()
            os._exit(report(theirs, deed, number, total))
        os.close(theirs)
        children[ours] = (process, number)
    answers: dict[int, Any] = {}
    trouble: dict[str, str] | None = None
    while children:
        for descriptor in select.select(list(children), [], [], 0.5)[0]:
            process, number = children.pop(descriptor)
            with os.fdopen(descriptor, "rb") as stream:
                said = stream.read()
            os.waitpid(process, 0)
            answer = json.loads(said) if said else {"kind": "killed", "why": "a process was killed on the host"}
            if "kind" in answer and trouble is None:
                trouble = answer
                for other, _ in children.values():
                    os.kill(other, signal.SIGTERM)
            answers[number] = answer.get("answer")
        if watch is not None:
            watch()
    if trouble is not None:
        raise Broken(trouble["kind"], trouble["why"])
    return [answers[number] for number in sorted(answers)]


def report(descriptor: int, deed: Callable[[int, int], Any], number: int, total: int) -> int:
    try:
        answer = {"answer": deed(number, total)}
    except Broken as error:
        answer = {"kind": error.kind, "why": str(error)}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        answer = {"kind": "full" if full else "target", "why": os.strerror(error.errno or 0)}
    os.write(descriptor, json.dumps(answer).encode())
    return 0


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


def hold_lock(work: str) -> int:
    os.makedirs(work, mode=0o700, exist_ok=True)
    descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Broken("busy", "another run copies to it") from None
    return descriptor


def finish_commit(work: str, path: str) -> None:
    """What an earlier run committed and did not finish applying."""
    try:
        with open(os.path.join(work, "commit"), encoding="utf-8") as stream:
            note = json.load(stream)
    except FileNotFoundError:
        return
    target = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        apply_logs(work, target, note["size"])
    finally:
        os.close(target)


def pull(request: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    os.makedirs(os.path.dirname(request["target"]), exist_ok=True)
    lock = hold_lock(request["work"])
    finish_commit(request["work"], request["target"])
    size = int(request["size"])
    plan = Plan(request, size)
    plan.prepare()
    if plan.base and not plan.side:
        plan.replay()
        # The maps tell what changed since the earlier copy, so the base must be just that.
        now = root_digest(size, plan.volume.leaf, plan.told())
        plan.since = not plan.resumed and not plan.rescanned and now == plan.earlier_digest
    else:
        remove_logs(plan.work)
    counters = mmap.mmap(-1, 8 * max(1, plan.streams))
    next_word = [time.monotonic() + 0.5]

    def watch() -> None:
        if time.monotonic() >= next_word[0]:
            next_word[0] = time.monotonic() + 0.5
            say("progress", {"bytes": sum(struct.unpack(f"<{plan.streams}Q", counters[:])), "total": size})

    answers = spread(plan.streams, lambda number, _: Stream(number, plan, Counter(counters, number)).run(), watch)
    plan.finish()
    os.close(lock)
    return {
        "digest": root_digest(size, plan.volume.leaf, plan.told()),
        "size": size,
        "base": plan.base,
        "received": sum(answer["received"] for answer in answers),
        "written": sum(answer["written"] for answer in answers),
        "rescanned": plan.rescanned,
        "since": plan.since,
        "resumed": plan.resumed,
        "seconds": round(time.monotonic() - started, 4),
    }


def hold(request: dict[str, Any]) -> dict[str, Any]:
    """At the source: a copy that shares its blocks, to be served instead of the volume, beside the one of before."""
    work = request["work"]
    os.makedirs(work, mode=0o700, exist_ok=True)
    held, earlier = os.path.join(work, "held.new"), os.path.join(work, "held")
    words = ["cp", "--reflink=always", "--", request["target"], held]
    if os.path.exists(held):
        os.unlink(held)
    done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        if os.path.exists(held):
            os.unlink(held)
        return {"held": ""}
    try:
        with open(os.path.join(work, "held.json"), encoding="utf-8") as stream:
            note = json.load(stream)
    except (FileNotFoundError, ValueError):
        note = {}
    size = os.stat(held).st_size
    if not os.path.exists(earlier) or os.stat(earlier).st_size != size or "digest" not in note:
        return {"held": held, "size": size, "earlier": "", "digest": ""}
    return {"held": held, "size": size, "earlier": earlier, "digest": note["digest"]}


def settle(request: dict[str, Any]) -> dict[str, Any]:
    """At the source, after the copy: what was served is what the next one is compared with."""
    work = request["work"]
    note = os.path.join(work, "held.json")
    if os.path.exists(note):
        os.unlink(note)  # first, so that a crash leaves a copy without a note, and never a note of another copy
    os.replace(os.path.join(work, "held.new"), os.path.join(work, "held"))
    write_note(note, {"digest": request["digest"]})
    return {"settled": True}


def digest(request: dict[str, Any]) -> dict[str, Any]:
    """Read all of a volume that may hold data, on all cores; nothing cached is believed."""
    started = time.monotonic()
    descriptor = open_volume(request["target"])
    before = os.fstat(descriptor)
    volume = Volume(descriptor, volume_size(descriptor))
    digests = mmap.mmap(-1, max(1, volume.leaves) * DIGEST)
    counters = mmap.mmap(-1, 8 * 64)
    scrub = bool(request.get("scrub"))
    spread(
        processes(),
        lambda number, total: scan_stripes(volume, number, total, digests, Counter(counters, number), scrub=scrub),
    )
    after = os.fstat(descriptor)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise Broken("moved", "changed while it was digested")
    result: dict[str, Any] = {
        "digest": root_digest(volume.size, volume.leaf, digests[: volume.leaves * DIGEST]),
        "size": volume.size,
        "entries": volume.leaves,
        "bytes": sum(struct.unpack("<64Q", counters[:])),
        "seconds": round(time.monotonic() - started, 4),
    }
    if request.get("leaves"):
        result["leaves"] = zlib.compress(bytes(digests[: volume.leaves * DIGEST]), 1).hex()
    return result


def main() -> None:
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
        return
    request = json.loads(sys.argv[1])
    try:
        deeds = {"pull": pull, "digest": digest, "hold": hold, "settle": settle}
        say("result", deeds[request["do"]](request))
    except Broken as error:
        say("result", {"broken": error.kind, "why": str(error)})
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        say(
            "result",
            {"broken": "full" if full else "target", "why": f"{error.filename}: {os.strerror(error.errno or 0)}"},
        )


if __name__ == "__main__":
    main()
