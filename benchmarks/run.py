"""Runs the benchmarks and writes benchmarks/results.json: `python -m benchmarks.run [NAME ...]`.

A benchmark is a module of this folder with `rows() -> list[dict]`. One that fails is named and makes the exit code 1;
the others are measured all the same. Measuring some by name keeps the rows of the others. The name of a group of
CHARTS stands for its benchmarks: `dataplane` for `dataplane_image` and the rest of them.
"""

import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.chart import write_chart
from benchmarks.row import BenchmarkFailed
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import OrchestratorError

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results.json"
CHARTS = {"dataplane": "The data plane beside the tools people would use"}  # groups with a table and a picture
FIELDS = {"name", "ours", "peer", "peer_name", "unit", "ratio", "goal", "met", "command"}


def benchmark_names() -> list[str]:
    """Modules that offer `rows`, by name; found in their text, so that nothing is imported that is not asked for."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if "\ndef rows(" in path.read_text(encoding="utf-8"))


def of_group(group: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{group}_")]


def machine() -> dict[str, Any]:
    """What the figures depend on; nothing that tells machines of one kind apart."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory_kib = int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1])
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 1024**2, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "python": platform.python_version(),
    }


def checked(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their benchmark's name; a row of another shape is a failed benchmark."""
    for row in rows:
        if not row.keys() >= FIELDS:
            raise BenchmarkFailed(f"{name} gave a row without {sorted(FIELDS - row.keys())}")
    return [{**row, "benchmark": name} for row in rows]


def earlier_rows(without: set[str]) -> list[dict[str, Any]]:
    if not RESULTS.exists():
        return []
    document = json.loads(RESULTS.read_text(encoding="utf-8"))
    return [row for row in document["rows"] if row.get("benchmark") not in without]


def shown(row: dict[str, Any]) -> str:
    peer = "" if row["peer"] is None else f"   {row['peer_name']}: {row['peer']:.4g} (ratio {row['ratio']:.3g})"
    verdict = {True: "met", False: "NOT MET", None: ""}[row["met"]]
    goal = f"   goal: {row['goal']}  {verdict}" if row["goal"] else ""
    return f"  {row['name']:<44} {row['ours']:>10.4g} {row['unit']}{peer}{goal}"


def main(words: list[str]) -> int:
    known = benchmark_names()
    words = [name for word in words for name in (of_group(word, known) if word in CHARTS else [word])]
    unknown = [word for word in words if word not in known]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}. There are: {', '.join(known)}", file=sys.stderr)
        return 2
    asked = words or known
    rows = earlier_rows(set(asked)) if words else []
    failed = []
    for name in asked:
        print(f"{name} …", flush=True)
        begin = time.perf_counter()
        try:
            found = checked(name, importlib.import_module(f"benchmarks.{name}").rows())
        except (BenchmarkFailed, OrchestratorError, OSError) as error:
            failed.append({"benchmark": name, "message": str(error)})
            print(f"  FAILED: {error}", file=sys.stderr)
            continue
        rows += found
        print("\n".join(shown(row) for row in found))
        print(f"  ({time.perf_counter() - begin:.1f} s)")
    for group, title in CHARTS.items():
        if of_group(group, asked):
            write_chart(group, title, [row for row in rows if of_group(group, [row["benchmark"]])])
    document = {"machine": machine(), "rows": rows, "failed": failed}
    replace_file(RESULTS, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")
    print(f"written: {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
