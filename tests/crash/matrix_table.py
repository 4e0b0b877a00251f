"""`make crash-matrix`: tries the cells of the crash matrix and prints the table; REAL=1 on the hosts of a lab."""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.crash.crash_matrix import ON_POSTGRESQL, Case, cases, shipped_runbooks, try_case
from tests.crash.crash_walks import go, walks
from tests.crash.real_lab import real_cases, try_on_hosts
from tests.fakes.postgres_server import BINARIES, running_postgres

Outcome = tuple[Case, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true", help="on the hosts of a lab, with processes killed for real")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="every N-th cell")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no cell after so long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("runbooks", nargs="*")
    asked = parser.parse_args()
    names = asked.runbooks or shipped_runbooks()
    began = time.monotonic()
    listed = real_cases(names) if asked.real else [case for name in names for case in cases(name, postgresql=True)]
    chosen = listed[:: asked.sample]
    outcomes: dict[Case, str] = {}
    for case, problem in try_on_hosts(chosen) if asked.real else simulated(chosen, asked.jobs):
        outcomes[case] = problem
        if asked.real:
            print(f"{time.monotonic() - began:7.1f} s  {case}: {problem or 'ok'}", flush=True)
        if time.monotonic() - began > asked.seconds:
            break
    for name in names:
        print_table(name, [case for case in outcomes if case.runbook == name], outcomes)
    failed = [f"{case}: {problem}" for case, problem in outcomes.items() if problem]
    for line in failed:
        print(line)
    left = len(set(chosen) - set(outcomes))
    print(f"{len(outcomes)} cells, {len(failed)} failed, {left} not tried, {time.monotonic() - began:.1f} s")
    return 1 if failed else 0


def simulated(chosen: list[Case], jobs: int) -> Iterator[Outcome]:
    """Workers on PostgreSQL where it is installed: those cells are told as not tried elsewhere."""
    on_server = [case for case in chosen if case.trouble == ON_POSTGRESQL]
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        for found in pool.map(go, walks(case for case in chosen if case.trouble != ON_POSTGRESQL)):
            yield from found.items()
    if on_server and (BINARIES / "postgres").exists():
        with running_postgres() as server:
            url = server.new_database()
            for case in on_server:
                yield case, try_case(case, url)


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
