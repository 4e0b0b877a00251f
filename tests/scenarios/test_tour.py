"""The tour, killed at random moments, ends as it would have ended; and the lab leaves nothing behind.

SKERRY_TOUR_KILLS sets how often (default 20), SKERRY_TOUR_SEED repeats a sequence of moments that was printed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.platform("hosts"),
    pytest.mark.platform("rsync"),
    pytest.mark.platform("postgresql"),
    pytest.mark.timeout(1500),
]

KILLS = int(os.environ.get("SKERRY_TOUR_KILLS", "20"))
LIFE_SECONDS_MAX = 8.0
LAST_LIFE_SECONDS_MAX = 900.0


@pytest.fixture
def home() -> Iterator[Path]:
    # Short, for sockets have short paths.
    with tempfile.TemporaryDirectory(prefix="sk") as folder:
        yield Path(folder)
        skerry(Path(folder), "lab", "down")


def words(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from orchestrator.cli.app import main; sys.exit(main())", *arguments]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "SKERRY_HOME": str(home)}


def skerry(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(*arguments), env=environment(home), capture_output=True, text=True, timeout=300, check=False
    )


TOUR = ("lab", "tour", "--json", "--filings", "300", "--documents", "200")


def processes_in(home: Path) -> list[str]:
    """Processes whose command line names this home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(home) in line:
                found.append(f"{entry.name} {line[:150]}")
    return found


def as_expected(result: dict[str, Any]) -> None:
    systems = {system["name"]: system for system in result["systems"]}
    assert systems["filing"]["outcome"] == "committed"
    assert systems["archive"]["outcome"] == "rolled_back"
    for system in systems.values():
        assert system["lost"] == 0
        assert system["acknowledged"] > 0
        digests = system["digests"]
        assert len({digests["source"], digests["dr"], digests["cloud"]}) == 1
        assert system["bytes_per_hop"]["source_to_dr"] > 0
        assert system["source_read_while_seeding"] == 0
    assert result["evidence"]["verified"] is True


def test_a_tour_killed_at_random_moments_ends_as_if_nothing_had_happened(home: Path) -> None:
    seed = int(os.environ.get("SKERRY_TOUR_SEED", str(random.SystemRandom().randrange(1 << 30))))
    print(f"SKERRY_TOUR_SEED={seed}")
    moments = random.Random(seed)
    log = home / "tour.log"
    killed = 0
    while killed < KILLS:
        with log.open("ab") as stream:
            tour = subprocess.Popen(words(*TOUR), env=environment(home), stdout=stream, stderr=stream)
            try:
                tour.wait(timeout=moments.uniform(0.3, LIFE_SECONDS_MAX))
            except subprocess.TimeoutExpired:
                tour.send_signal(signal.SIGKILL)
                tour.wait()
                killed += 1
            else:
                tail = log.read_text()[-3000:]
                assert tour.returncode == 0, tail
                break  # it came to its end between two kills
    result = last_life(home) if killed == KILLS else json.loads(log.read_text().splitlines()[-1])
    as_expected(result)
    deadline = time.monotonic() + 10
    while (left := processes_in(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def last_life(home: Path) -> dict[str, Any]:
    done = subprocess.run(
        words(*TOUR),
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=LAST_LIFE_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
