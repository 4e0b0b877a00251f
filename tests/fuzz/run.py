"""`python -m tests.fuzz.run [--seconds N] [--folder F] [TARGET…]`: all targets in turn, one at a time, on one core.

What was found lies below F/findings, what was learnt below F/corpus; a summary is printed and kept as F/summary.json.
A second call with the same folder goes on from there.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.targets import TARGETS

SLICE_SECONDS = 40
WEIGHTS = {"run": 6, "bundle": 2, "log": 2}  # one input takes these a hundred times as long
_EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)|^#(\d+)\s", re.MULTILINE)


def _slice(name: str, seconds: int, folder: Path) -> tuple[int, int]:
    """Run one target for so long; its executions, and how it ended (0: in peace)."""
    words = [sys.executable, "-m", "tests.fuzz.entry", name, str(seconds)]
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # The files of a target are small and many: in memory, where there is such a place.
    scratch = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    with log.open("a") as out, scratch as place:
        start = log.stat().st_size
        done = subprocess.run(
            [*words, str(folder / "corpus" / name), str(folder / "findings")],
            stdout=out,
            stderr=out,
            check=False,
            env={**os.environ, "TMPDIR": place, "RUST_BACKTRACE": "0"},  # a native panic is told in one line
        )
    with log.open(errors="replace") as text:
        text.seek(start)
        counts = [int(one or other) for one, other in _EXECUTED.findall(text.read())]
    return max(counts, default=0), done.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    parser.add_argument("targets", nargs="*", default=[])
    asked = parser.parse_args()
    names = asked.targets or [target.name for target in TARGETS]
    asked.folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + asked.seconds
    kept = asked.folder / "summary.json"
    earlier = json.loads(kept.read_text()) if kept.exists() else {}
    seconds: Counter[str] = Counter(earlier.get("seconds", {}))
    executed: Counter[str] = Counter(earlier.get("executions", {}))
    ends: list[str] = earlier.get("ended", [])
    slice_seconds = max(1, min(SLICE_SECONDS, asked.seconds // len(names)))
    while (left := until - time.monotonic()) >= 1:
        name = min(names, key=lambda each: seconds[each] / WEIGHTS.get(each, 1))
        began = time.monotonic()
        count, end = _slice(name, int(min(slice_seconds, left)) or 1, asked.folder)
        seconds[name] += max(1, round(time.monotonic() - began))
        executed[name] += count
        if end:
            ends.append(f"{name} ended with {end}: see logs/{name}.log")
        found = sorted(path.name for path in (asked.folder / "findings").glob("*"))
        summary = {"seconds": seconds, "executions": executed, "ended": ends, "findings": found}
        kept.write_text(json.dumps(summary, indent=1))
    for name in names:
        print(f"{name:<16} {seconds[name]:>6} s {executed[name]:>12} inputs")
    found = sorted((asked.folder / "findings").glob("*.txt"))
    for path in found:
        print(f"FINDING {path}: {path.read_text().splitlines()[0]}")
    print(f"{sum(executed.values())} inputs in {sum(seconds.values())} s; {len(found)} findings, {len(ends)} stopped")
    sys.exit(1 if found or ends else 0)


if __name__ == "__main__":
    main()
