"""Runs as people see them and ask of them: rows in our tables, written and read without any engine."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from orchestrator.contracts.engine import AT_REST, RunStatus, StepStatus, SystemStatus
from orchestrator.contracts.progress import Progress
from orchestrator.contracts.requests import Operation
from orchestrator.engine.database import ROWS_PER_STATEMENT, Database
from orchestrator.engine.tables import plans, requests, run_locks, runs, steps, system_runs
from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import GateClosed, RunInProgress, UsageError
from orchestrator.model.names import SystemName
from orchestrator.model.outcome import Outcome
from orchestrator.model.plan import Plan

_SYSTEMS_NAMED_MAX = 5  # in one message


class DatabaseRuns:
    """Runs in our tables; the laws stand at contracts.engine.Runs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def submit(
        self,
        run: str,
        plan: Plan,
        *,
        kind: str,
        operator: str,
        pause_before: Sequence[str] = (),
        systems: Sequence[SystemName] = (),
    ) -> None:
        digest = plan.digest
        names = [planned.system.name for planned in plan.systems if not systems or planned.system.name in systems]
        text = canonical_json(plan.model_dump(mode="json")).decode()
        with self._database.writing_alone() as connection:
            existing = connection.execute(sa.select(runs.c.plan).where(runs.c.run == run)).scalar_one_or_none()
            if existing == digest:
                return
            if existing is not None:
                raise UsageError(f"run {run} exists already, with another plan: {existing}")
            self._refuse_held_systems(connection, names)
            self._database.add_new(connection, plans, [{"digest": digest, "document": text}])
            row = {"run": run, "plan": digest, "wave": plan.wave, "kind": kind, "operator": operator}
            created = {"state": "submitted", "created_at": timestamp(self._clock.now()), "finished_at": ""}
            connection.execute(sa.insert(runs), [row | created])
            connection.execute(sa.insert(run_locks), [{"system": name, "run": run} for name in names])
            connection.execute(
                sa.insert(system_runs),
                [
                    {"run": run, "system": name, "position": position, "state": "waiting"}
                    for position, name in enumerate(names)
                ],
            )
            if pause_before:
                asked = {"run": run, "operation": "pause", "step": " ".join(pause_before), "by": operator}
                asked |= {"reason": "only a part of the plan was asked for", "at": timestamp(self._clock.now())}
                connection.execute(sa.insert(requests), [asked | {"system": name} for name in names])

    def _refuse_held_systems(self, connection: sa.Connection, names: Sequence[str]) -> None:
        query = (
            sa.select(run_locks.c.system, run_locks.c.run, system_runs.c.state, system_runs.c.reason)
            .join_from(
                run_locks,
                system_runs,
                (run_locks.c.run == system_runs.c.run) & (run_locks.c.system == system_runs.c.system),
            )
            .order_by(run_locks.c.system)
        )
        held: list[Any] = []
        for start in range(0, len(names), ROWS_PER_STATEMENT):
            part = names[start : start + ROWS_PER_STATEMENT]
            held += connection.execute(query.where(run_locks.c.system.in_(part))).all()
        if not held:
            return
        said = [
            f"{row.system} is held by run {row.run} ({row.state}{': ' + row.reason if row.reason else ''})"
            for row in held[:_SYSTEMS_NAMED_MAX]
        ]
        more = f", and {len(held) - len(said)} more" if len(held) > len(said) else ""
        raise RunInProgress(
            "; ".join(said) + more,
            hint=f"Let it end, or bring it back first: skerry rollback {held[0].run}",
        )

    def status(self, run: str) -> RunStatus:
        with self._database.reading() as connection:
            row = self._run_row(connection, run)
            # Counted before the states are read: what is no longer open shows in them.
            waiting = sa.select(sa.func.count()).where(requests.c.run == run, requests.c.handled.is_(False))
            requests_open = connection.execute(waiting).scalar_one()
            systems = connection.execute(
                sa.select(system_runs).where(system_runs.c.run == run).order_by(system_runs.c.position)
            ).all()
            step_rows = connection.execute(
                sa.select(steps).where(steps.c.run == run).order_by(steps.c.begun_at, steps.c.key)
            ).mappings()
            by_system: dict[str, list[StepStatus]] = {}
            for step_row in step_rows:
                by_system.setdefault(step_row["system"], []).append(_step_status(step_row))
        return _run_status(
            row,
            tuple(
                SystemStatus(
                    system=found.system,
                    state=found.state,
                    reason=found.reason,
                    over=found.over,
                    steps=tuple(by_system.get(found.system, ())),
                )
                for found in systems
            ),
        ).model_copy(update={"requests_open": requests_open})

    def list(self, *, limit: int = 100, plan: str = "") -> Sequence[RunStatus]:
        newest = sa.select(runs).order_by(runs.c.created_at.desc(), runs.c.run.desc()).limit(limit)
        if plan:
            newest = newest.where(runs.c.plan == plan)
        with self._database.reading() as connection:
            rows = connection.execute(newest).all()
            listed = newest.subquery()
            systems = connection.execute(
                sa.select(system_runs)
                .where(system_runs.c.run.in_(sa.select(listed.c.run)))
                .order_by(system_runs.c.run, system_runs.c.position)
            ).all()
        by_run: dict[str, list[SystemStatus]] = {}
        for found in systems:
            by_run.setdefault(found.run, []).append(
                SystemStatus(system=found.system, state=found.state, reason=found.reason, over=found.over)
            )
        return [_run_status(row, tuple(by_run.get(row.run, ()))) for row in rows]

    def plan(self, run: str) -> Plan:
        with self._database.reading() as connection:
            digest = self._run_row(connection, run).plan
            text = connection.execute(sa.select(plans.c.document).where(plans.c.digest == digest)).scalar_one()
        return Plan.model_validate_json(text)

    def request(
        self, run: str, system: str, operation: Operation, *, by: str, reason: str, step: str = ""
    ) -> None:
        with self._database.writing() as connection:
            self._run_row(connection, run)
            found = connection.execute(
                sa.select(system_runs).where(system_runs.c.run == run).order_by(system_runs.c.position)
            ).all()
            chosen = [row for row in found if system in ("", row.system)]
            if not chosen:
                raise UsageError(f"run {run} has no system {system}; it has {', '.join(row.system for row in found)}")
            open_ones = [row for row in chosen if not row.over]
            if not open_ones:
                raise self._refusal(run, system, operation, [row.state for row in chosen])
            at = timestamp(self._clock.now())
            asked = {"run": run, "operation": operation, "step": step, "by": by, "reason": reason, "at": at}
            connection.execute(sa.insert(requests), [asked | {"system": row.system} for row in open_ones])
            # Whoever waits for the run must not be told of its former end.
            connection.execute(
                sa.update(runs)
                .where(runs.c.run == run, runs.c.state.in_(("finishing", "finished")))
                .values(state="running", finished_at="")
            )

    def _refusal(self, run: str, system: str, operation: str, states: Sequence[str]) -> GateClosed:
        what = system or "every system"
        if operation in ("rollback", "cancel") and "committed" in states:
            return GateClosed(
                f"run {run}: {what} is committed; the way back from there is called failback",
                hint="Plan a failback: writes made since then are counted and carried along.",
            )
        return GateClosed(
            f"run {run}: {what} is over ({', '.join(sorted(set(states)))}), so {operation} cannot be obeyed",
            hint="Plan again from what is, and run that.",
        )

    def _run_row(self, connection: sa.Connection, run: str) -> Any:
        row = connection.execute(sa.select(runs).where(runs.c.run == run)).one_or_none()
        if row is None:
            raise UsageError(f"there is no run {run}", hint="See them with: skerry runs")
        return row


def at_rest(states: Sequence[str]) -> bool:
    return all(state in AT_REST for state in states)


def _run_status(row: Any, systems: tuple[SystemStatus, ...]) -> RunStatus:
    return RunStatus(
        run=row.run,
        plan=row.plan,
        wave=row.wave,
        kind=row.kind,
        operator=row.operator,
        state="finished" if row.state == "finished" else "running",
        created_at=row.created_at,
        finished_at=row.finished_at,
        systems=systems,
    )


def _step_status(row: Any) -> StepStatus:
    outcome = Outcome.model_validate(json.loads(row["outcome"])) if row["outcome"] else None
    return StepStatus(
        system=row["system"],
        step=row["step"],
        mode=row["mode"],
        state=row["state"],
        result=outcome.result if outcome else None,
        message=outcome.message if outcome else "",
        hint=outcome.hint if outcome else "",
        attempts=row["attempt"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        seconds=row["seconds"],
        observed=outcome.observed if outcome else {},
        doing=Progress.model_validate_json(row["doing"]) if row["doing"] and row["state"] == "started" else None,
    )
