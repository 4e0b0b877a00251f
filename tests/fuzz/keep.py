"""`python -m tests.fuzz.keep FOLDER…`: chooses the kept corpus anew, out of what is kept and what was learnt.

FOLDER is a folder of run.py. An input is kept for the lines of the product (and the errors in them) that no other kept
one reaches: greedily, the one that reaches most first, then the smaller. What has a name of its own, not one made here,
stays: it showed a finding once, or was written by hand.
"""

import hashlib
import re
import shutil
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.replay import CORPUS, kept_inputs
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

KEPT_BYTES_MAX = 12 * 1024
KEPT_OF_ONE_TARGET_MAX = 16  # beside those with names
LOOKED_AT_MAX = 250
_MADE_HERE = re.compile(r"[0-9a-f]{16}")
_PRODUCT = "/orchestrator/"

Place = tuple[str, int, str]


def reached(target: Target, content: bytes) -> frozenset[Place]:
    """Lines of the product that the input runs through, and the kinds of errors in them."""
    found: set[Place] = set()

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
    return frozenset(found)


def chosen(named: set[Place], candidates: dict[bytes, frozenset[Place]]) -> list[bytes]:
    """Those that together reach what all of them do, beyond what is reached by `named`."""
    seen, found = set(named), []
    while len(found) < KEPT_OF_ONE_TARGET_MAX and candidates:
        best = max(candidates, key=lambda content: (len(candidates[content] - seen), -len(content)))
        if not candidates[best] - seen:
            break
        seen |= candidates.pop(best)
        found.append(best)
    return found


def choose_anew(target: Target, folders: list[Path]) -> None:
    place = CORPUS / target.name
    place.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        for path in (folder / "findings").glob(f"{target.name}-*.input"):
            shutil.copy(path, place / f"found-{path.stem.rpartition('-')[2]}")
    target.check(target.seeds()[0])  # what is made once is made before lines are counted
    kept = kept_inputs(target.name)
    made = [path for path in kept if _MADE_HERE.fullmatch(path.name)]
    named: set[Place] = set()
    for path in kept:
        if path not in made:
            named |= reached(target, path.read_bytes())
    learnt = [path for folder in folders for path in (folder / "corpus" / target.name).glob("*")]
    contents = sorted({path.read_bytes() for path in (*made, *learnt)}, key=len)[:LOOKED_AT_MAX]
    candidates = {content: reached(target, content) for content in contents if len(content) <= KEPT_BYTES_MAX}
    for path in made:
        path.unlink()
    for content in chosen(named, candidates):
        (place / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    print(f"{target.name}: {len(kept_inputs(target.name))} inputs", flush=True)


def main() -> None:
    for target in TARGETS:
        choose_anew(target, [Path(word) for word in sys.argv[1:]])


if __name__ == "__main__":
    main()
