"""`python -m tests.fuzz.replay [TARGET…]`: every kept input through its target once; one JSON line for each target.

Ends with 1 where an input is a finding. An input that hangs, or wants more memory than any should, ends the process:
the stack, and the input's name in the last line, say which.
"""

import faulthandler
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz.entry import kind_of
from tests.fuzz.target import MEMORY_BYTES_MAX, SECONDS_MAX, Target
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def kept_inputs(name: str) -> list[Path]:
    return sorted((CORPUS / name).glob("*"))


def replay(target: Target) -> dict[str, Any]:
    found = []
    slowest = 0.0
    paths = kept_inputs(target.name)
    for path in paths:
        began = time.perf_counter()
        faulthandler.dump_traceback_later(SECONDS_MAX, exit=True)
        print(path.name, file=sys.stderr, flush=True)
        try:
            target.check(path.read_bytes())
        except BaseException as error:  # a panic of a native library is no Exception
            found.append(f"{path.name}: {kind_of(error)}: {str(error)[:200]}")
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.perf_counter() - began)
    return {"target": target.name, "inputs": len(paths), "slowest_seconds": round(slowest, 3), "findings": found}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    results = [replay(target) for target in TARGETS if target.name in sys.argv[1:] or len(sys.argv) == 1]
    for result in results:
        print(json.dumps(result), flush=True)
    sys.exit(any(result["findings"] for result in results))


if __name__ == "__main__":
    main()
