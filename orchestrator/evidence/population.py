"""The population: every run of a log, so that an auditor samples from a complete list, and sees what is missing.

Pure. Complete means: out of the whole verified log, not out of what somebody chose to hand over.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orchestrator.evidence.envelope import LOG_RUN, LoggedEvent, read_event
from orchestrator.evidence.story import as_logged, moment

_TOLD = (b'"type":"skerry.run.', b'"type":"skerry.review.', b'"type":"skerry.approval.', b'"type":"skerry.rollback.')


@dataclass
class RunOfLog:
    """One run. Times are as logged; empty where the run never came so far."""

    run: str
    first_index: int
    kind: str = ""
    wave: str = ""
    plan: str = ""
    operator: str = ""
    systems: tuple[str, ...] = ()
    created: str = ""
    started: str = ""
    finished: str = ""
    result: str = "unfinished"
    approvals: int = 0
    orders: tuple[str, ...] = ()  # digests of signed start orders
    reviewed: bool = False
    rolled_back: bool = False
    events: int = 0

    def as_data(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


@dataclass
class Population:
    """All runs in the order of their first event, and what an auditor should ask about."""

    runs: list[RunOfLog] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    root: str = ""  # of the log that it was taken from, where that was verified


def population(entries: Iterable[tuple[int, bytes]]) -> Population:
    """List every run of a log's entries. BrokenLog for an entry that is none of ours."""
    runs: dict[str, RunOfLog] = {}
    for index, entry in entries:
        told = any(kind in entry for kind in _TOLD)
        with as_logged():
            name = entry[entry.rfind(b'"run":"') + 7 :].split(b'"', 1)[0].decode()
            if name == LOG_RUN:
                continue
            run = runs.setdefault(name, RunOfLog(name, index))
            run.events += 1
            if told:
                _take(run, read_event(index, entry))
    found = Population(list(runs.values()))
    found.questions += _questions(found.runs)
    return found


def _take(run: RunOfLog, event: LoggedEvent) -> None:
    data = event.data
    match event.type:
        case "run.created":
            run.created = run.created or event.time
            run.kind, run.wave = str(data.get("kind", "")), str(data.get("wave", ""))
            run.plan, run.operator = str(data.get("plan", "")), str(data.get("operator", ""))
            run.systems = tuple(map(str, data.get("systems", ())))
        case "run.started":
            run.started = run.started or event.time
        case "run.finished":
            run.finished, run.result = event.time, str(data.get("result", ""))
        case "approval.granted":
            run.approvals += 1
        case "run.ordered":
            digest = str((data.get("envelope") or {}).get("digest", ""))
            run.orders = tuple(dict.fromkeys((*run.orders, digest)))
        case "review.signed":
            run.reviewed = True
        case "rollback.started":
            run.rolled_back = True


def _questions(runs: Sequence[RunOfLog]) -> list[str]:
    questions = []
    by_plan: dict[str, list[str]] = {}
    by_order: dict[str, list[str]] = {}
    for run in runs:
        by_plan.setdefault(run.plan, []).append(run.run)
        for order in run.orders:
            by_order.setdefault(order, []).append(run.run)
        if run.created and not run.finished:
            questions.append(f"run {run.run} was created and never finished")
        if run.started and not run.approvals:
            questions.append(f"run {run.run} was started without an approval on record")
        if run.finished and not run.reviewed:
            questions.append(f"run {run.run} was never reviewed")
    questions += [
        f"one start order, good for one run, was used {len(names)} times: {', '.join(names)}"
        for names in by_order.values()
        if len(names) > 1
    ]
    for plan, names in by_plan.items():
        if plan and len(names) > 1:
            questions.append(f"one plan, and so one set of approvals, was run {len(names)} times: {', '.join(names)}")
    return questions


def sample(runs: Sequence[RunOfLog], count: int, *, root: str, seed: str) -> list[RunOfLog]:
    """`count` runs, drawn by SHA-256 over the log's root, the auditor's seed and the run's id.

    Nobody chose them, if the seed was fixed before the log's end was known. The same log and seed give the same sample,
    to whoever draws it again.
    """

    def draw(run: RunOfLog) -> bytes:
        return hashlib.sha256(f"{root}\n{seed}\n{run.run}".encode()).digest()

    return sorted(sorted(runs, key=draw)[:count], key=lambda run: run.first_index)


def as_table(runs: Sequence[RunOfLog], drawn: Sequence[RunOfLog] = ()) -> tuple[list[str], list[list[Any]]]:
    """Head and rows for a spreadsheet; `sampled` says which runs were drawn."""
    head = ["sampled", *(name for name in vars(RunOfLog("", 0)))]
    chosen = {run.run for run in drawn}
    rows = []
    for run in runs:
        values = [" ".join(value) if isinstance(value, tuple) else value for value in vars(run).values()]
        rows.append(["yes" if run.run in chosen else "", *values])
    return head, rows


def drill_gaps(runs: Sequence[RunOfLog], system: str, every: timedelta, until: datetime) -> list[str]:
    """Where more than `every` went by without a passed drill of `system`, up to `until`."""
    passed = [run for run in runs if run.kind == "drill" and run.result == "passed" and system in run.systems]
    times = sorted(moment(run.finished) for run in passed)
    if not times:
        return [f"{system}: no passed drill is on record"]
    gaps = []
    for earlier, later in zip(times, [*times[1:], until], strict=True):
        if later - earlier > every:
            days = (later - earlier).days
            gaps.append(
                f"{system}: {days} days without a passed drill after {earlier.date()} (asked for: {every.days})"
            )
    return gaps
