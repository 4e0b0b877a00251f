"""`python -m tests.fuzz.keep FOLDER`: takes into the kept corpus what reaches lines that its inputs do not reach yet.

FOLDER is a folder of run.py. Smaller inputs come first, and an input is kept only for a line of the evidence (or an
error of it) that no kept one reaches: so the corpus stays small. Findings in FOLDER/findings are always kept.
"""

import hashlib
import shutil
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.replay import CORPUS, kept_inputs
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

KEPT_BYTES_MAX = 12 * 1024
KEPT_OF_ONE_TARGET_MAX = 22
_PRODUCT = "/orchestrator/"


def reached(target: Target, content: bytes) -> set[tuple[str, int, str]]:
    """Lines of the product that the input runs through, and the kinds of errors that leave them."""
    found: set[tuple[str, int, str]] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if _PRODUCT not in name:
            return None
        if event == "exception":
            found.add((name, frame.f_lineno, argument[0].__name__))
        elif event == "line":
            found.add((name, frame.f_lineno, ""))
        return trace

    sys.settrace(trace)
    try:
        target.check(content)
    except BaseException:  # a finding is worth keeping, too
        found.add(("finding", 0, ""))
    finally:
        sys.settrace(None)
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    for target in TARGETS:
        place = CORPUS / target.name
        place.mkdir(parents=True, exist_ok=True)
        target.check(target.seeds()[0])  # what is made once is made before lines are counted
        seen: set[tuple[str, int, str]] = set()
        for path in kept_inputs(target.name):
            seen |= reached(target, path.read_bytes())
        learnt = sorted((folder / "corpus" / target.name).glob("*"), key=lambda path: path.stat().st_size)
        for path in learnt:
            if path.stat().st_size > KEPT_BYTES_MAX or len(kept_inputs(target.name)) >= KEPT_OF_ONE_TARGET_MAX:
                break
            content = path.read_bytes()
            more = reached(target, content) - seen
            if more:
                seen |= more
                (place / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
        for path in (folder / "findings").glob(f"{target.name}-*.input"):
            shutil.copy(path, place / path.stem)
        print(f"{target.name}: {len(kept_inputs(target.name))} inputs, {len(seen)} lines reached")


if __name__ == "__main__":
    main()
