"""One pull at the replica: what is there, its signature, where the new goes, and how it becomes the target.

A signature is believed only while the volume's identity (inode, size, mtime, ctime) is the one it was made for.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import mmap
import os
import stat
import struct
import time
from typing import Any

from orchestrator.movers.host_programs.block_delta.change_log import (
    RESUMED_LOG,
    apply_logs,
    latest_entries,
    remove_logs,
    sync_folder,
    write_note,
)
from orchestrator.movers.host_programs.block_delta.frames import pack_frame
from orchestrator.movers.host_programs.block_delta.leaves import (
    DIGEST,
    PAGE_BYTES,
    ZERO,
    Broken,
    Counter,
    Volume,
    leaf_size,
    root_digest,
    scan_stripes,
    volume_size,
)
from orchestrator.movers.host_programs.block_delta.processes import processes, spread

SIGNATURE_MAGIC = b"skerry block signature/v1\n"
SYNC_FILE_RANGE_WRITE = 2
SMALL_LEAVES = 16  # so few may come and go: a share of them says little


def identity(found: os.stat_result, size: int) -> dict[str, int]:
    """What must still hold of a volume for its signature to be believed."""
    return {
        "device": found.st_dev,
        "inode": found.st_ino,
        "size": size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def read_signature(path: str, wanted: dict[str, int], digests: memoryview) -> bool:
    """Read the digests of a volume of this identity into `digests`, which is as long as they are together.

    False, and `digests` holds nothing of use, where the signature is not whole or of another volume.
    """
    note = json.dumps(wanted).encode()
    head = SIGNATURE_MAGIC + struct.pack("<I", len(note)) + note
    try:
        with open(path, "rb") as stream:
            whole = stream.read(len(head)) == head and stream.readinto(digests) == len(digests)
            check = stream.read(DIGEST + 1)
    except FileNotFoundError:
        return False
    return whole and signature_check(head, digests) == check


def signature_check(head: bytes, digests: memoryview) -> bytes:
    made = hashlib.sha256(head)
    made.update(digests)
    return made.digest()


def with_data(digests: Any) -> int:
    """How many leaves are not zero."""
    return sum(1 for start in range(0, len(digests), DIGEST) if digests[start : start + DIGEST] != ZERO)


class Plan:
    """One pull: what is there, where the new goes, and how it becomes the target."""

    def __init__(self, request: dict[str, Any], size: int) -> None:
        self.path = request["target"]
        self.words = request["words"]
        self.streams = request["streams"]
        self.rate = float(request.get("bytes_per_second") or 0)
        # When to stop, because another limit holds from then on; what arrived is taken up by the next run.
        self.until = time.monotonic() + float(request.get("stop_after_seconds") or math.inf)
        self.wire = mmap.mmap(-1, 8 * max(1, self.streams))  # bytes received, where all processes see them
        self.work = request["work"]  # a folder of ours beside the target
        self.side = os.path.join(self.work, "incoming")
        self.signature = os.path.join(self.work, "signature")
        self.commit_note = os.path.join(self.work, "commit")
        self.rescanned = 0
        self.resumed = 0
        self.earlier_digest = request.get("earlier_digest") or ""
        self.since = False
        # How much of its data the target may lose by this pull; None: all of it, for a person said so.
        self.share_max = request.get("shrink_share_max")
        self.leaves_before = 0  # with data, in the target as it is
        self.libc = ctypes.CDLL(None)
        self.size = size
        leaf = leaf_size(size)
        self.digests = mmap.mmap(-1, max(1, -(-size // leaf)) * DIGEST)
        self.target = -1
        self.base = False
        self.found: dict[str, int] = {}  # identity of the base when its digests were made

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
                    # A larger one would hold more than the source, and its digest would never be the source's.
                    raise Broken("target", f"has {present} bytes, the source {self.size}: make it as large")
                if is_side or present == 0:
                    os.ftruncate(self.target, self.size)
                else:
                    self.leaves_before = with_data(self.digests_of(Volume(self.target, present)))
                    os.close(self.target)
                    continue  # another size: the new one is brought beside it
            self.volume = Volume(self.target, self.size)
            self.volume.shrank = "target"
            self.base = True
            if not is_side and stat.S_ISREG(found.st_mode):
                self.found = identity(os.fstat(self.target), self.size)
            # A device tells nothing of when it was written, so its signature is made anew each time.
            if is_side or stat.S_ISBLK(found.st_mode) or not self.load_signature():
                self.rescan()
            if not is_side:
                self.side = ""
                self.leaves_before = with_data(self.told())
            return
        self.target = os.open(self.side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self.target, self.size)
        self.volume = Volume(self.target, self.size)

    def load_signature(self) -> bool:
        return read_signature(self.signature, identity(os.fstat(self.target), self.size), self.told())

    def save_signature(self) -> None:
        note = json.dumps(identity(os.stat(self.path), self.size)).encode()
        head = SIGNATURE_MAGIC + struct.pack("<I", len(note)) + note
        aside = self.signature + ".new"
        with open(aside, "wb") as stream:
            stream.write(head)
            stream.write(self.told())
            stream.write(signature_check(head, self.told()))
        os.replace(aside, self.signature)

    def rescan(self) -> None:
        self.digests = self.digests_of(self.volume)

    def digests_of(self, volume: Volume) -> mmap.mmap:
        digests, counters = mmap.mmap(-1, max(1, volume.leaves) * DIGEST), mmap.mmap(-1, 8 * 64)
        spread(
            processes(),
            lambda number, total: scan_stripes(volume, number, total, digests, Counter(counters, number), scrub=False),
        )
        self.rescanned = sum(struct.unpack("<64Q", counters[:]))
        return digests

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

    def refuse_shrunk(self) -> None:
        """An empty image in the place of the right one, or a disk of another system, must not become the replica."""
        leaves, before = with_data(self.told()), self.leaves_before
        if self.share_max is None or leaves >= before:
            return
        lost = 1 - leaves / before
        if leaves == 0 or (lost > self.share_max and before > SMALL_LEAVES):
            size = leaf_size(self.size)
            told = f"{leaves * size} bytes of data, {before * size} are at the replica ({lost:.0%} less"
            raise Broken("shrank", f"holds {told}, {self.share_max:.0%} are allowed)")

    def finish(self) -> None:
        """Make the target what the source is. Until then a regular target was written by nobody, or nothing is done."""
        self.refuse_shrunk()
        if not self.side:
            if self.found and self.found != identity(os.stat(self.path), self.size):
                raise Broken("target", "somebody else changed it while it was copied to; the next copy reads it again")
            note = {"size": self.size, "digest": root_digest(self.size, self.volume.leaf, self.told())}
            write_note(self.commit_note, note)  # from here on the new state is the one that counts
            apply_logs(self.work, self.target, self.size)
        if self.side:
            os.fsync(self.target)
            os.replace(self.side, self.path)
            sync_folder(os.path.dirname(self.path))
        os.utime(self.path)
        self.save_signature()

    def received(self) -> int:
        return sum(struct.unpack(f"<{self.streams}Q", self.wire[: 8 * self.streams]))

    def told(self) -> memoryview:
        """The digests of all leaves where they lie: of the largest volumes they are 128 MiB, too much to have twice."""
        return memoryview(self.digests)[: self.volume.leaves * DIGEST]
