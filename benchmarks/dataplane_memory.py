"""The memory of a digest of a tree with very many files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.dataplane_small import make_small_files
from benchmarks.row import below
from orchestrator.contracts.programs import PYTHON_WORDS, program_text
from orchestrator.foundation.limits import MIB
from orchestrator.movers.tree_digests import PROGRAM

COMMAND = "make bench BENCH=dataplane_memory"
FILES = int(os.environ.get("SKERRY_BENCH_MEMORY_FILES", "1000000"))
MIB_MAX = 200


def memory_mib(top: Path, request: dict[str, Any]) -> float:
    """The most that any process of a digest held."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [sys.executable, "-c", script, *PYTHON_WORDS, json.dumps({"path": str(top), **request})]
    done = subprocess.run(words, input=program_text(PROGRAM), capture_output=True, check=True)
    return int(done.stdout) * 1024 / MIB


def rows() -> list[dict[str, Any]]:
    with TemporaryDirectory(prefix="skerry-bench-") as folder:
        top = Path(folder) / "tree"
        make_small_files(top, FILES)
        ways = {"digest": {}, "digest that names folders": {"shallow": True}}
        found = {way: memory_mib(top, request) for way, request in ways.items()}
    return [
        below(f"tree of {FILES} files: memory of a {way}, largest process", mebibytes, "MiB", MIB_MAX, command=COMMAND)
        for way, mebibytes in found.items()
    ]
