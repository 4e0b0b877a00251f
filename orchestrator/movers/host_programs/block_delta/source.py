"""The source's side: serves one stream of one volume, read only, on stdin and stdout."""

from __future__ import annotations

import array
import hashlib
import json
import os
import select
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

from orchestrator.movers.host_programs.block_delta.extent_maps import changed_bytes, changed_pages
from orchestrator.movers.host_programs.block_delta.frames import (
    CHECK,
    HEADER,
    pack_frame,
    read_frame,
    shortened,
    widen_pipe,
    write_all,
)
from orchestrator.movers.host_programs.block_delta.leaves import (
    DIGEST,
    PAGE_BYTES,
    RUN_LEAVES,
    STRIPE_LEAVES,
    ZERO,
    Broken,
    Volume,
    data_runs,
    open_volume,
    volume_size,
)

FEW_PAGES = 4  # of a leaf: so few go at once, for asking first would read the leaf three more times


class Server:
    """Serves one stream of one volume on stdin and stdout; it writes nothing anywhere."""

    def __init__(self, path: str, earlier: str, ranges: str) -> None:
        self.earlier = earlier
        self.ranges = ranges
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
        """What does not lie where it lay in the earlier copy, or what a dirty bitmap marks: the pages themselves of a
        leaf with few of them, else digests.
        """
        first, count = 0, 0
        for leaf, pages in self.changed():
            if leaf // STRIPE_LEAVES % streams != stream:
                continue
            few = len(pages) <= FEW_PAGES
            if count and (few or leaf != first + count or count == RUN_LEAVES):
                self.tell_run(first, count)
                count = 0
            if few:
                self.tell_pages(leaf, pages)
            else:
                first, count = leaf - count, count + 1
        if count:
            self.tell_run(first, count)

    def changed(self) -> Iterator[tuple[int, list[int]]]:
        volume = self.volume
        if self.ranges:
            with open(self.ranges, encoding="utf-8") as written:
                ranges = iter(json.load(written)["ranges"])
        else:
            with open(self.earlier, "rb") as earlier:
                ranges = changed_bytes(volume.descriptor, earlier.fileno(), volume.size)
        return changed_pages(ranges, volume.size, volume.leaf, PAGE_BYTES)

    def tell_run(self, leaf: int, count: int) -> None:
        found = self.send_run(leaf, count, base=True)
        write_all(1, pack_frame(b"D", leaf, count, shortened(found)))
        self.heard(leaf, count, found)

    def tell_pages(self, leaf: int, pages: list[int]) -> None:
        """Pages that nobody asked for, with the digest of the leaf that they must make."""
        data = self.volume.read(leaf, 1)
        self.bytes_read += len(data)
        made = self.volume.digests(data)[0]
        self.send_pages(b"C", leaf, made, data, [] if made == ZERO else pages)
        self.heard(leaf, 1, made)

    def heard(self, leaf: int, count: int, digests: bytes) -> None:
        """What was told is part of what both sides must agree on; the other side may have asked meanwhile."""
        self.sent.update(struct.pack("<QI", leaf, count) + digests)
        while select.select([0], [], [], 0)[0]:
            self.serve_request()

    def send_pages(self, kind: bytes, leaf: int, made: bytes, data: memoryview, pages: list[int]) -> None:
        pieces = [bytes(data[page * PAGE_BYTES : (page + 1) * PAGE_BYTES]) for page in pages]
        body = made + array.array("H", pages).tobytes() + b"".join(pieces)
        self.pace(len(body))
        write_all(1, pack_frame(kind, leaf, len(pages), body))

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
        pages = [] if made == ZERO else list(range(-(-len(data) // PAGE_BYTES)))
        if pages and theirs:
            mine = self.volume.page_checks(data)
            pages = [page for page in pages if mine[page * 4 : page * 4 + 4] != theirs[page * 4 : page * 4 + 4]]
        self.send_pages(b"P", leaf, made, data, pages)
        return True

    def finish(self) -> None:
        after = os.fstat(self.volume.descriptor)
        moved = (self.before.st_mtime_ns, self.before.st_size) != (after.st_mtime_ns, after.st_size)
        told = {"told": self.sent.hexdigest(), "moved": moved, "bytes_read": self.bytes_read}
        write_all(1, pack_frame(b"E", 0, 0, json.dumps(told).encode()))


def serve(path: str, earlier: str = "", ranges: str = "") -> None:
    widen_pipe(1)
    try:
        Server(path, earlier, ranges).run()
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
