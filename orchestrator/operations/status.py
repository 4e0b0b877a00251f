"""Status: what runs are and were, read from the store alone; and what a person asks of one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from orchestrator.contracts.engine import Operation, Runs, RunStatus
from orchestrator.foundation.errors import UsageError
from orchestrator.wiring.state import open_runs


@contextmanager
def _runs() -> Iterator[Runs]:
    with open_runs() as runs:
        yield runs


def run_list(*, limit: int) -> Sequence[RunStatus]:
    with _runs() as runs:
        return runs.list(limit=limit)


def run_status(named: str) -> RunStatus:
    """The run whose id is, or begins with, `named`. Raises UsageError for none or several."""
    with _runs() as runs:
        return runs.status(_find(runs, named))


def ask_run(named: str, system: str, operation: str, *, by: str, reason: str, step: str) -> None:
    with _runs() as runs:
        runs.request(_find(runs, named), system, cast("Operation", operation), by=by, reason=reason, step=step)


def _find(runs: Runs, named: str) -> str:
    found = [status.run for status in runs.list(limit=1000) if status.run.startswith(named)]
    if named in found:
        return named
    if len(found) > 1:
        raise UsageError(f"more than one run begins with {named}", hint="Give more of the id: skerry runs list")
    return found[0] if found else named
