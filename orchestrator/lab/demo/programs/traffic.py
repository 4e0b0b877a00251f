"""Clients that never stop: numbered records through the front name, each retried until it is acknowledged.

`traffic run SYSTEM`      sends until SIGTERM; every acknowledgement is durable in the journal before it counts
`traffic report SYSTEM`   compares the journal with what the live side holds, and tells the longest gap

Rules: one number is one record for ever; a number is acknowledged once; numbers that were under way when the generator
was stopped are taken up again at its next start.
"""

import argparse
import http.client
import itertools
import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .durable_file import MISSING
from .name_lookup import NameLookup
from .records import LISTINGS, REQUESTS

FIRST_NUMBER = 1_000_000  # below it live the records that were there before any client came
WORKERS = 16
CONNECT_SECONDS_MAX = 2.0
ANSWER_SECONDS_MAX = 5.0
REPORT_SECONDS_MAX = 20.0  # how long a report waits for the live side to answer
WAITING_MAX = 4000  # numbers that queue while nobody answers; then the clients pause
RETRY_SECONDS = 0.05


class Settings:
    """What the unit's environment says."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.name = os.environ["TRAFFIC_NAME"]
        self.port = int(os.environ["TRAFFIC_PORT"])
        self.dns = (os.environ["TRAFFIC_DNS"], int(os.environ.get("TRAFFIC_DNS_PORT", "53")))
        self.rate_per_second = float(os.environ.get("TRAFFIC_RATE", "20"))
        self.size_bytes = int(os.environ.get("TRAFFIC_RECORD_BYTES", "4096"))
        self.journal = Path(os.environ["TRAFFIC_JOURNAL"])


class Journal:
    """Acknowledgements, one JSON array a line: id, site, time, latency, sha256, attempts. Durable by group commit."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._written = 0  # lines handed to the journal
        self._durable = 0  # lines that are on the disk
        self._thread = threading.Thread(target=self._flush, daemon=True)
        self._thread.start()

    def acknowledge(self, line: list[Any]) -> None:
        """Return when the line is durable."""
        with self._changed:
            self._waiting.append(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self._written += 1
            mine = self._written
            self._changed.notify_all()
            while self._durable < mine:
                self._changed.wait()

    def _flush(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                lines, self._waiting = self._waiting, []
            os.write(self._descriptor, b"".join(lines))
            os.fdatasync(self._descriptor)
            with self._changed:
                self._durable += len(lines)
                self._changed.notify_all()


def _cut_torn_line(path: Path) -> None:
    """A crash may have left half a line; it was never counted."""
    if path.exists() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        with path.open("r+b") as stream:
            stream.truncate(text.rfind(b"\n") + 1)


def read_journal(path: Path) -> list[list[Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line]


class Generator:
    """Sends at a steady rate, whatever the service does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        earlier = read_journal(settings.journal)
        self._journal = Journal(settings.journal)
        self._lookup = NameLookup(*settings.dns)
        self._stop = threading.Event()
        self._errors: dict[str, int] = {}
        self._acknowledged = len(earlier)
        self._pending: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        known = {line[0] for line in earlier}
        self._next = max(known, default=FIRST_NUMBER) + 1
        for number in sorted(set(range(FIRST_NUMBER + 1, self._next)) - known):
            self._pending.put(number)

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        started, sent = time.monotonic(), 0
        while not self._stop.is_set():
            if self._pending.qsize() < WAITING_MAX:
                self._pending.put(self._next)
                self._next += 1
            sent += 1
            if sent % 100 == 0:
                self._tell()
            self._stop.wait(max(0.0, started + sent / self._settings.rate_per_second - time.monotonic()))
        for _ in workers:
            self._pending.put(None)
        for worker in workers:
            worker.join(ANSWER_SECONDS_MAX + CONNECT_SECONDS_MAX)
        self._tell()

    def _tell(self) -> None:
        state = {"acknowledged": self._acknowledged, "waiting": self._pending.qsize(), "errors": self._errors}
        print(json.dumps(state), flush=True)

    def _work(self) -> None:
        while (number := self._pending.get()) is not None and not self._stop.is_set():
            self._send_until_acknowledged(number)

    def _send_until_acknowledged(self, number: int) -> None:
        settings = self._settings
        request = REQUESTS[settings.system](number, settings.size_bytes)
        first = time.time()
        attempts = 0
        while not self._stop.is_set():
            attempts += 1
            try:
                address = self._lookup.address(settings.name)
                answer = _send(address, settings.port, request.method, request.path, request.body)
                if answer["sha256"] != request.sha256:
                    raise http.client.HTTPException(f"another digest was acknowledged for {number}")
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                name = type(error).__name__
                self._errors[name] = self._errors.get(name, 0) + 1
                self._stop.wait(min(0.5, RETRY_SECONDS * attempts))
                continue
            now = time.time()
            line = [number, answer["site"], round(now, 4), round(now - first, 4), request.sha256, attempts]
            self._journal.acknowledge(line)
            self._acknowledged += 1
            return


def _send(address: str, port: int, method: str, path: str, body: bytes | None = None) -> Any:
    connection = http.client.HTTPConnection(address, port, timeout=CONNECT_SECONDS_MAX)
    try:
        connection.connect()
        connection.sock.settimeout(ANSWER_SECONDS_MAX if method != "GET" else 60)
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise http.client.HTTPException(f"{answer.status}: {text[:200].decode(errors='replace')}")
        return json.loads(text)
    finally:
        connection.close()


def held_by(address: str, port: int, system: str, after: int) -> dict[int, str]:
    """Number → sha256 of what the service at `address` holds above `after`; MISSING where the file of a row is gone."""
    held: dict[int, str] = {}
    while True:
        rows = _ask_patiently(address, port, f"{LISTINGS[system]}after={after}")
        if not rows:
            return held
        held.update({int(row[0]): str(row[1]) for row in rows})
        after = int(rows[-1][0])


def _ask_patiently(address: str, port: int, path: str) -> Any:
    """GET as clients do: a side that is just coming up is asked again for a while."""
    until = time.monotonic() + REPORT_SECONDS_MAX
    while True:
        try:
            return _send(address, port, "GET", path)
        except (OSError, http.client.HTTPException):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def longest_gap(times: list[float], start: float, end: float) -> tuple[float, float, float]:
    """(seconds, from, to) of the longest stretch of start..end without an acknowledgement."""
    edges = [start, *times, end]
    gaps = [(later - earlier, earlier, later) for earlier, later in itertools.pairwise(edges)]
    return max(gaps, default=(0.0, start, end))


def report(
    lines: list[list[Any]], held: dict[int, str], *, from_time: float | None = None, to_time: float | None = None
) -> dict[str, Any]:
    """What was acknowledged within the window, what of it is lost (its row, or its file), and the longest silence."""
    earliest, latest = from_time or 0.0, to_time or float("inf")
    chosen = sorted((line for line in lines if earliest <= line[2] <= latest), key=lambda line: float(line[2]))
    times = [float(line[2]) for line in chosen]
    start = from_time if from_time is not None else (times[0] if times else 0.0)
    end = to_time if to_time is not None else (times[-1] if times else start)
    gap, gap_from, gap_to = longest_gap(times, start, end)
    lost = sorted({int(line[0]) for line in chosen if held.get(int(line[0]), MISSING) == MISSING})
    differing = sorted({int(line[0]) for line in chosen if held.get(int(line[0]), MISSING) not in (MISSING, line[4])})
    by_site: dict[str, int] = {}
    for line in chosen:
        by_site[str(line[1])] = by_site.get(str(line[1]), 0) + 1
    latencies = sorted(float(line[3]) for line in chosen)
    return {
        "acknowledged": len({line[0] for line in chosen}),
        "lost": len(lost),
        "lost_ids": lost[:100],
        "duplicates_differing": len(differing),
        "differing_ids": differing[:100],
        "longest_gap_seconds": round(gap, 3),
        "gap_from": round(gap_from, 3),
        "gap_to": round(gap_to, 3),
        "by_site": by_site,
        "latency_median_seconds": latencies[len(latencies) // 2] if latencies else 0.0,
        "latency_p99_seconds": latencies[int(len(latencies) * 0.99)] if latencies else 0.0,
        "first_at": times[0] if times else None,
        "last_at": times[-1] if times else None,
    }


def main(words: list[str]) -> int:
    """Exit codes: 0 done, 1 something acknowledged is lost or differs, 3 the live side does not answer."""
    parser = argparse.ArgumentParser(prog="traffic")
    parser.add_argument("deed", choices=["run", "report"])
    parser.add_argument("system", choices=sorted(REQUESTS))
    parser.add_argument("--from", dest="from_time", type=float)
    parser.add_argument("--to", dest="to_time", type=float)
    parser.add_argument("--address", help="ask this side instead of the one that the name points at")
    chosen = parser.parse_args(words)
    settings = Settings(chosen.system)
    if chosen.deed == "run":
        Generator(settings).run()
        return 0
    lines = read_journal(settings.journal)
    try:
        address = chosen.address or NameLookup(*settings.dns).address(settings.name)
        held = held_by(address, settings.port, chosen.system, FIRST_NUMBER)
    except (OSError, http.client.HTTPException) as error:
        print(json.dumps({"error": f"{settings.name}: {error}", "acknowledged": len(lines)}))
        return 3
    told = report(lines, held, from_time=chosen.from_time, to_time=chosen.to_time)
    print(json.dumps({"system": chosen.system, "address": address, **told}))
    return 1 if told["lost"] or told["duplicates_differing"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
