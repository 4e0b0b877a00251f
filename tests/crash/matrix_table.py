"""`make crash-matrix`: tries the cells of the crash matrix, on the simulated site and on the hosts of a lab.

Prints the table of each runbook, and what was wrong. Words name what to try: a runbook, RUNBOOK:STEP, or a whole cell.
What came of cells on hosts is kept in a file, and those that passed are not tried again: a command that was interrupted
goes on when it is given again. `--anew` forgets the cells that are named, and begins with them from nothing.
On hosts cells are tried in an order of which every beginning is a fair sample of all that were named.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.crash.crash_walks import try_walking
from tests.crash.matrix_cells import NO_CELLS, Case, all_cells
from tests.crash.matrix_kept import KEPT, KeptTrials
from tests.crash.matrix_live import LiveTable
from tests.crash.matrix_order import spread
from tests.crash.matrix_text import document_of, table_of
from tests.crash.real_side_by_side import try_on_labs


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.matrix_table", description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--simulated", action="store_true", help="on the simulated site alone (minutes)")
    where.add_argument("--real", action="store_true", help="on hosts alone, with processes killed for real (days)")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="every N-th cell")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="on hosts, begin no cell after so long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes on the simulated site")
    parser.add_argument("--labs", type=int, default=1, help="labs at once, where cells are tried on hosts")
    parser.add_argument("--kept", type=Path, default=KEPT, help=f"what came of cells on hosts (by default {KEPT})")
    parser.add_argument("--anew", action="store_true", help="forget what the file says of the cells that are named")
    parser.add_argument("--document", type=Path, help="write all that the file says as a document")
    parser.add_argument("words", nargs="*", metavar="RUNBOOK[:STEP[: TROUBLE, WAY]]")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that begins it in the background ignores them
    failed, chosen = 0, named(all_cells(), asked.words)[:: asked.sample]
    if not asked.real:
        failed += tell("on the simulated site", chosen, try_walking(chosen, jobs=asked.jobs))
    if not asked.simulated:
        failed += try_on_hosts(chosen, asked)
        if asked.document is not None:
            asked.document.write_text(document_of(all_cells(), KeptTrials(asked.kept).all()))
    return 1 if failed else 0


def named(listed: Iterable[Case], words: Sequence[str]) -> list[Case]:
    return [case for case in listed if not words or any(f"{case}:".startswith(f"{word}:") for word in words)]


def try_on_hosts(chosen: Sequence[Case], asked: argparse.Namespace) -> int:
    kept = KeptTrials(asked.kept)
    if asked.anew:
        kept.forget(chosen)
    passed = kept.passed(chosen)
    if passed:
        print(f"{len(passed)} of {len(chosen)} cells passed before, says {asked.kept}; --anew tries them again")
    todo = [case for case in spread(chosen) if case not in set(passed)]
    outcomes = try_on_labs(todo, labs=asked.labs, seconds_max=asked.seconds)
    shown = LiveTable(chosen, passed).shown(outcomes, kept)
    return tell("on hosts", chosen, shown, found=dict.fromkeys(passed, ""))


def tell(
    where: str,
    chosen: Sequence[Case],
    outcomes: Iterable[tuple[Case, str]],
    *,
    found: dict[Case, str] | None = None,
) -> int:
    """Try them all, print the tables; how many failed. Who interrupts it is told of those that have ended.

    `found` is what was known before.
    """
    print(f"{len(chosen)} cells {where}", flush=True)
    began, found = time.monotonic(), found or {}
    try:
        for case, problem in outcomes:
            found[case] = problem
    except KeyboardInterrupt:
        print("interrupted")
    for runbook in sorted({case.runbook for case in found}):
        print("\n" + table_of(runbook, {case: found[case] for case in chosen if case in found}))
    print("\nNo cells, by their nature:", *(f"  {each}: {why}" for each, why in NO_CELLS.items()), sep="\n")
    failed = [f"{case}: {problem}" for case, problem in found.items() if problem]
    for line in failed:
        print(line)
    left = len(set(chosen) - set(found))
    print(f"{where}: {len(found)} cells, {len(failed)} failed, {left} not tried, {time.monotonic() - began:.1f} s")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
