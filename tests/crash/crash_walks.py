"""Cells of the crash matrix, many at a time: a runbook is carried once, and copies of the process try the cells.

Nothing of a run differs between the cells of a step until that step begins. So one process carries the run, copies
itself (`fork`) before each step as often as the step has cells, and goes on when the copies have told how theirs ended.
Nothing is threaded in it, and its store lies in memory, so that a copy is the whole of it. A copy whose cell is one of
PostgreSQL brings all rows there before the step begins: the worker that is killed, and those that follow it, have that.
"""

import asyncio
import faulthandler
import gc
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.crash.crash_matrix import SimulatedTrial, arrange, judge, let_fail_what_is_undone, plan_of, try_case
from tests.crash.matrix_cells import NO_TROUBLE, Case, steps_of
from tests.fakes.engine_lives import shared_store
from tests.fakes.postgres_server import BINARIES, PostgresServer, running_postgres
from tests.fakes.simulated_site import SimulatedSystem

CELL_SECONDS_MAX = 300.0
NEVER_TRIED = "never tried: the run did not come to that step"


@dataclass
class Walk:
    """The cells of one runbook whose trouble comes on the way out, or on the way back; and the one without trouble.

    `url` is that of the PostgreSQL of this process, where cells need one.
    """

    cells: list[Case]
    url: str = ""
    found: dict[Case, str] = field(default_factory=dict)

    def go(self) -> dict[Case, str]:
        """What was wrong with each cell; empty where it passes."""
        runbook, mode = self.cells[0].runbook, self.cells[0].mode
        self.case = Case(runbook, steps_of(runbook)[0].id, mode, NO_TROUBLE, "go on")
        self.answer: int | None = None  # where a copy tells its outcome
        self.trial = SimulatedTrial(plan_of(runbook), kind=runbook, before_deed=self._copy_before)
        self.trial.site.place(self.trial.system, SimulatedSystem.before(runbook))
        let_fail_what_is_undone(self.case, self.trial)
        gc.freeze()  # what is there stays: copies share its memory
        try:
            problem = judge(lambda: self.case, self.trial)
        except BaseException as error:
            if self.answer is None:
                raise
            problem = f"broke: {error!r}"
        if self.answer is not None:
            os.write(self.answer, problem.encode())
            os._exit(0)
        return {self.case: problem} | {case: self.found.get(case, NEVER_TRIED) for case in self.cells}

    def _copy_before(self, key: str) -> None:
        """Called before a deed begins. Returns in this process, and in a copy of it for each cell of that deed."""
        _run, _system, step, mode = key.partition("#")[0].split("/")
        for case in self.cells:
            if self.answer is None and (case.step, case.mode) == (step, mode) and case not in self.found:
                self._try_in_a_copy(case)

    def _try_in_a_copy(self, case: Case) -> None:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        copy = os.fork()
        if copy == 0:
            os.close(reading)
            gc.disable()
            faulthandler.dump_traceback_later(CELL_SECONDS_MAX, exit=True)
            asyncio._set_running_loop(loop)  # asyncio takes a copied process for one without a loop
            self.case, self.answer = case, writing
            arrange(case, self.trial)
            if case.on_postgresql:
                self.trial.move_to(self.url)
            return
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            told = answer.read().decode()
        _, status = os.waitpid(copy, 0)
        self.found[case] = told if status == 0 else f"its process ended with {status}"


def try_walking(cells: Iterable[Case], *, jobs: int) -> Iterator[tuple[Case, str]]:
    """Each cell with what was wrong, `jobs` walks at once. Without PostgreSQL its cells are left out."""
    of: dict[tuple[str, str, bool], list[Case]] = {}
    for case in cells:
        if not case.on_postgresql or (BINARIES / "postgres").exists():
            of.setdefault((case.runbook, case.mode, case.waits), []).append(case)
    # The longest first, so that several processes end at about the same time.
    longest_first = sorted(of.values(), key=len, reverse=True)
    with ExitStack() as stack:
        on_server = any(case.on_postgresql for found in longest_first for case in found)
        server = stack.enter_context(running_postgres()) if on_server else None
        fresh = multiprocessing.get_context("spawn")  # no process of ours is copied with its threads
        pool = ProcessPoolExecutor(jobs, mp_context=fresh, initializer=_make_database, initargs=(server,))
        for outcomes in stack.enter_context(pool).map(_walk, longest_first):
            yield from outcomes.items()


_made: list[str] = [""]  # URL of the database of this process, the last one


def _make_database(server: PostgresServer | None) -> None:
    """Its tables are made and its statements compiled; no connection to it stays open, for copies would share that."""
    if server is not None:
        url = server.new_database()
        case = Case("failback", steps_of("failback")[0].id, "do", NO_TROUBLE, "go on")
        trial = SimulatedTrial(plan_of(case.runbook), kind=case.runbook, url=url)
        trial.site.place(trial.system, SimulatedSystem.before(case.runbook))
        judge(lambda: case, trial)
        shared_store(url).close()
        _made.append(url)


def _walk(cells: list[Case]) -> dict[Case, str]:
    """No deed begins at a step that waits: such a cell is tried from its beginning."""
    if not cells[0].waits:
        return Walk(cells, _made[-1]).go()
    try:
        return {case: try_case(case, url=_made[-1] if case.on_postgresql else "") for case in cells}
    finally:
        if any(case.on_postgresql for case in cells):
            shared_store(_made[-1]).close()
