"""Cells of the crash matrix while they are tried: a line for each that ends, and counts with the time to go."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tests.crash.matrix_cells import Case
from tests.crash.matrix_kept import KeptTrials


class LiveTable:
    """On a terminal the table stays below the lines; elsewhere each line has its numbers, and the table comes last."""

    def __init__(self, chosen: Sequence[Case], passed: Sequence[Case]) -> None:
        self._cells = Counter(case.runbook for case in chosen)
        self._ok = Counter(case.runbook for case in passed)
        self._failed: Counter[str] = Counter()
        self._todo = len(chosen) - len(passed)
        self._ended = 0
        self._began = time.monotonic()
        self._live = Live(self._table(), console=Console(soft_wrap=True), auto_refresh=False)

    def shown(self, outcomes: Iterable[tuple[Case, str, float]], kept: KeptTrials) -> Iterator[tuple[Case, str]]:
        """Each is kept and told as it ends."""
        with self._live:
            for case, problem, seconds in outcomes:
                kept.add(case, problem, seconds)
                self._ended += 1
                (self._failed if problem else self._ok)[case.runbook] += 1
                line = f"{self.progress}  {seconds:6.1f} s  {case}: {problem or 'ok'}"
                self._live.console.print(line, markup=False, highlight=False, emoji=False)
                self._live.update(self._table(), refresh=True)
                yield case, problem

    @property
    def progress(self) -> str:
        failed = f", {self._failed.total()} failed" if self._failed else ""
        return f"{self._ended}/{self._todo}{failed}, {self._to_go()} to go"

    def _to_go(self) -> str:
        if not self._ended:
            return "?"
        minutes = (time.monotonic() - self._began) / self._ended * (self._todo - self._ended) / 60
        return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"

    def _table(self) -> Table:
        table = Table("runbook", "cells", "ok", "failed", "left", caption=self.progress)
        for runbook, cells in self._cells.items():
            ok, failed = self._ok[runbook], self._failed[runbook]
            table.add_row(runbook, str(cells), str(ok), str(failed), str(cells - ok - failed))
        return table
