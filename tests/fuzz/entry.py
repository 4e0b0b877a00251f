"""One target in one process: `python -m tests.fuzz.entry TARGET SECONDS CORPUS FINDINGS`; run.py starts these.

With atheris the branches taken guide the changes; without it, changes are made blindly from the corpus. A finding is
written down, once for each place it came from, and the search goes on.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.mutations import change_bytes

_KEPT_CORPUS = Path(__file__).parent / "corpus"


def _targets() -> dict[str, Any]:
    from tests.fuzz.targets import TARGETS

    return {target.name: target for target in TARGETS}


def kind_of(error: BaseException) -> str:
    """Type and innermost place within the product or the target: what tells findings apart."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/site-packages/" not in frame.filename]
    place = frames[-1] if frames else None
    what = f" {error}" if type(error).__name__ == "Broken" else ""
    return f"{type(error).__name__}{what} at {Path(place.filename).name}:{place.name}:{place.lineno}" if place else ""


class Findings:
    """Writes each kind of finding down once, with the input that showed it."""

    def __init__(self, folder: Path, target: str) -> None:
        self._folder, self._target = folder, target
        self._seen: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, kind: str, content: bytes, told: str) -> None:
        if kind in self._seen:
            return
        self._seen.add(kind)
        name = f"{self._target}-{hashlib.sha256(kind.encode()).hexdigest()[:10]}"
        if not (self._folder / f"{name}.txt").exists():
            (self._folder / f"{name}.input").write_bytes(content)
            (self._folder / f"{name}.txt").write_text(f"{kind}\n\n{told}", errors="backslashreplace")
            print(f"FINDING {name}: {kind}", flush=True)


def guarded(check: Callable[[bytes], None], findings: Findings, slow_seconds: float) -> Callable[[bytes], None]:
    def one_input(content: bytes) -> None:
        began = time.process_time()  # not the clock: a busy machine is no finding
        try:
            check(content)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a native library is no Exception
            findings.keep(kind_of(error), content, traceback.format_exc())
        took = time.process_time() - began
        if took > slow_seconds:
            findings.keep("slow", content, f"took {took:.1f} s of a core")

    return one_input


def main() -> None:
    name, seconds, corpus, found = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    corpus.mkdir(parents=True, exist_ok=True)
    guided = importlib.util.find_spec("atheris") is not None
    if guided:
        atheris = importlib.import_module("atheris")
        # The product's branches count, and so must be instrumented before anything imports it.
        with atheris.instrument_imports(include=["orchestrator.evidence"]):
            target = _targets()[name]
    else:
        target = _targets()[name]
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    from tests.fuzz.target import SECONDS_MAX

    one_input = guarded(target.check, Findings(found, name), SECONDS_MAX / 2)
    folders = [corpus, _KEPT_CORPUS / name]
    if guided:
        _guided(target, one_input, seconds, [str(folder) for folder in folders if folder.is_dir()], found)
    else:
        _blind(target, one_input, seconds, folders)


def _guided(target: Any, one_input: Callable[[bytes], None], seconds: int, folders: list[str], found: Path) -> None:
    atheris = importlib.import_module("atheris")

    def change(content: bytes, bytes_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if target.mutate is not None and chance.random() < 0.8:
            return bytes(target.mutate(content, chance)[:bytes_max])
        if chance.random() < 0.4:
            return change_bytes(content, chance)[:bytes_max]
        return bytes(atheris.Mutate(content, bytes_max))

    words = [
        sys.argv[0],
        *folders,
        f"-max_total_time={seconds}",
        f"-max_len={target.input_bytes_max}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=1",
        f"-artifact_prefix={found}/{target.name}-stopped-",
        "-detect_leaks=0",
    ]
    atheris.Setup(words, one_input, custom_mutator=change)
    atheris.Fuzz()


def _blind(target: Any, one_input: Callable[[bytes], None], seconds: int, folders: list[Path]) -> None:
    inputs = [path.read_bytes() for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    chance = random.Random()
    done, until = 0, time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        while time.monotonic() < until:
            content = chance.choice(inputs)
            change = target.mutate if target.mutate is not None and chance.random() < 0.8 else change_bytes
            one_input(change(content, chance)[: target.input_bytes_max])
            done += 1
    print(f"stat::number_of_executed_units: {done}")


if __name__ == "__main__":
    main()
