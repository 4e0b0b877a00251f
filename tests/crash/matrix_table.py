"""`make crash-matrix`: tries the cells of the crash matrix, on the simulated site and on the hosts of a lab.

Prints the table of each runbook, and what was wrong. Words name what to try: a runbook, RUNBOOK:STEP, or a whole cell.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from tests.crash.crash_matrix import Case, cases, shipped_runbooks
from tests.crash.crash_walks import try_walking
from tests.crash.real_lab import real_cases, try_on_hosts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--simulated", action="store_true", help="on the simulated site alone (minutes)")
    where.add_argument("--real", action="store_true", help="on hosts alone, with processes killed for real (a day)")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="every N-th cell")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="on hosts, begin no cell after so long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("words", nargs="*", metavar="RUNBOOK[:STEP[: TROUBLE, WAY]]")
    asked = parser.parse_args()
    failed = 0
    if not asked.real:
        listed = [case for name in shipped_runbooks() for case in cases(name, postgresql=True)]
        chosen = named(listed, asked.words)[:: asked.sample]
        failed += tell("on the simulated site", chosen, try_walking(chosen, jobs=asked.jobs))
    if not asked.simulated:
        chosen = named(real_cases(shipped_runbooks()), asked.words)[:: asked.sample]
        failed += tell("on hosts", chosen, until(asked.seconds, try_on_hosts(chosen)))
    return 1 if failed else 0


def named(listed: Iterable[Case], words: Sequence[str]) -> list[Case]:
    return [case for case in listed if not words or any(f"{case}:".startswith(f"{word}:") for word in words)]


def until(seconds: float, outcomes: Iterable[tuple[Case, str]]) -> Iterator[tuple[Case, str]]:
    """Each is told as it ends, for on hosts it takes a while."""
    began = time.monotonic()
    for case, problem in outcomes:
        print(f"{time.monotonic() - began:7.1f} s  {case}: {problem or 'ok'}", flush=True)
        yield case, problem
        if time.monotonic() - began > seconds:
            return


def tell(where: str, chosen: Sequence[Case], outcomes: Iterable[tuple[Case, str]]) -> int:
    """Try them all, print the tables; how many failed. Who interrupts it is told of those that have ended."""
    print(f"{len(chosen)} cells {where}", flush=True)
    began, found = time.monotonic(), dict[Case, str]()
    try:
        for case, problem in outcomes:
            found[case] = problem
    except KeyboardInterrupt:
        print("interrupted")
    for runbook in sorted({case.runbook for case in found}):
        print_table(runbook, [case for case in found if case.runbook == runbook], found)
    failed = [f"{case}: {problem}" for case, problem in found.items() if problem]
    for line in failed:
        print(line)
    left = len(set(chosen) - set(found))
    print(f"{where}: {len(found)} cells, {len(failed)} failed, {left} not tried, {time.monotonic() - began:.1f} s")
    return len(failed)


def print_table(runbook: str, tried: Iterable[Case], outcomes: dict[Case, str]) -> None:
    rows: dict[str, dict[str, str]] = {}
    for case in tried:
        rows.setdefault(case.name, {})[case.column] = "FAIL" if outcomes[case] else "ok"
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"\n{runbook}")
    for number, column in enumerate(columns, 1):
        print(f"  {number:>2}  {column}")
    width = max((len(name) for name in rows), default=0)
    print(" " * width + "".join(f"{number:>5}" for number in range(1, len(columns) + 1)))
    for name, row in rows.items():
        print(name.ljust(width) + "".join(f"{row.get(column, '-'):>5}" for column in columns))


if __name__ == "__main__":
    sys.exit(main())
