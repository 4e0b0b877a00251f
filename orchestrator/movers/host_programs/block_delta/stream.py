"""One stream of the replica: takes what the source sends, asks for what differs, proves it, keeps it."""

from __future__ import annotations

import array
import hashlib
import json
import os
import select
import signal
import struct
import subprocess
import time
from typing import Any

from orchestrator.movers.host_programs.block_delta.change_log import put_leaf, pwrite_all
from orchestrator.movers.host_programs.block_delta.frames import (
    FRAME_HEAD,
    pack_frame,
    read_frame,
    shortened,
    widen_pipe,
    write_all,
)
from orchestrator.movers.host_programs.block_delta.leaves import DIGEST, RUN_LEAVES, SHORT, ZERO, Broken, Counter
from orchestrator.movers.host_programs.block_delta.processes import lead_group
from orchestrator.movers.host_programs.block_delta.replica import Plan


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
        self.received = Counter(plan.wire, number)
        self.written = 0
        # A side file is no good state yet: what is verified goes straight into it.
        self.log = plan.open_log(number) if plan.base and not plan.side else -1

    def run(self) -> dict[str, Any]:
        child = subprocess.Popen(
            self.plan.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lead_group,
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
            os.killpg(child.pid, signal.SIGKILL)  # with whatever it started: it would keep the pipes open
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
            if time.monotonic() >= self.plan.until:
                raise Broken("stopped", "another limit holds now")
            self.push()
            kind, first, count, payload = read_frame_pushing(source, self)
            self.received.add(FRAME_HEAD + len(payload))
            if kind == b"h":
                facts = json.loads(bytes(payload))
                if facts != {"size": self.volume.size, "leaf": self.volume.leaf}:
                    raise Broken("moved", f"changed its size to {facts['size']} bytes")
            elif kind == b"F":
                self.take_full(first, count, payload)
            elif kind == b"D":
                self.compare(first, count, payload)
            elif kind == b"C":
                self.take_change(first, count, payload)
            elif kind == b"P":
                self.waiting -= 1
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

    def take_change(self, leaf: int, count: int, payload: Any) -> None:
        """Pages that a map of the source calls changed. Should they not make the leaf, all of it is asked for."""
        self.compared.append((leaf, 1))
        self.counter.add(self.volume.length(leaf, 1))
        if bytes(payload[:DIGEST]) != self.plan.digests[leaf * DIGEST : (leaf + 1) * DIGEST]:
            self.take_patch(leaf, count, payload)

    def take_patch(self, leaf: int, count: int, payload: Any) -> None:
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
        return {"written": self.written, "bytes_read": told["bytes_read"]}


def read_frame_pushing(descriptor: int, stream: Stream) -> tuple[bytes, int, int, Any]:
    while stream.out:
        readable, writable, _ = select.select([descriptor], [stream.sink], [], 60.0)
        if readable:
            break
        if writable:
            stream.push()
    return read_frame(descriptor, stream.frame)
