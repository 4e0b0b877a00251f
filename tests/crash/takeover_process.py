"""One of several workers over a shared PostgreSQL.

`python -m tests.crash.takeover_process URL WORLD DEAD_SECONDS [PER_SITE]`

Its world is a file to which every deed appends one line when it begins and one when it took effect.
"""

import os
import signal
import sys
import time
from pathlib import Path

from orchestrator.engine.admission import Limits
from orchestrator.engine.worker import WorkerSettings, open_worker
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.planning.gates import judge_gate
from tests.fakes.recorder import FakeRecorder

DEED_SECONDS = 0.15


class FileWorld:
    """Handlers whose effects are lines in a file that all workers see."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, verb):
        return self

    def say(self, what: str, key: str) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{what} {key} {os.getpid()} {time.time():.3f}\n".encode())
        os.fsync(descriptor)
        os.close(descriptor)

    def probe(self, deed):
        applied = f"EFFECT {deed.key} " in self._path.read_text()
        return Probe.APPLIED if applied else Probe.ABSENT

    def act(self, deed, progress, emit):
        self.say("BEGIN", deed.key)
        time.sleep(DEED_SECONDS)
        self.say("EFFECT", deed.key)
        return Outcome.done()


def main() -> None:
    url, world, dead_seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    per_site = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    worker = open_worker(
        url,
        url,
        FileWorld(world),
        FakeRecorder(),
        judge_gate=judge_gate,
        settings=WorkerSettings(dead_seconds=dead_seconds, limits=Limits(per_site=per_site)),
    )
    worker.start()

    def end(_number, _frame):
        worker.stop()
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print("up", flush=True)
    worker.serve()


if __name__ == "__main__":
    main()
