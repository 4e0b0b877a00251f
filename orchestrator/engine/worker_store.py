"""The worker's side of our tables: which runs to begin, the journal of steps, what people asked, and how it ended."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from orchestrator.contracts.engine import AT_REST, SystemState
from orchestrator.contracts.requests import Operation
from orchestrator.engine.authority_store import next_ticket, refuse_earlier_moves
from orchestrator.engine.database import Database
from orchestrator.engine.tables import (
    announced,
    plans,
    requests,
    restorations,
    run_locks,
    runs,
    slots,
    steps,
    system_runs,
    turns,
)
from orchestrator.engine.turns import Mode
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.model.outcome import Outcome
from orchestrator.model.plan import Plan

StepState = Literal["started", "waiting", "done", "failed", "unknown"]


def step_key(run: str, system: str, step: str, mode: Mode) -> str:
    """The idempotency key of a deed: equal over all its attempts."""
    return f"{run}/{system}/{step}/{mode}"


@dataclass(frozen=True)
class EarlierIntent:
    """What the journal held when a deed was about to begin. `starts` counts this one; `ticket` counts the intents of
    all deeds of the system, over all its runs, up to this one.

    `ended`: this very attempt has ended before, with `outcome`; nothing was written and nothing is to be done.
    """

    state: StepState | None
    outcome: Outcome | None
    starts: int
    ended: bool = False
    ticket: int = 0


@dataclass(frozen=True)
class RunRow:
    run: str
    plan: str
    wave: str
    kind: str
    operator: str
    state: str
    worker: str


@dataclass(frozen=True)
class RequestRow:
    id: int
    run: str
    system: str
    operation: Operation
    step: str
    by: str
    reason: str


class WorkerStore:
    """Every method is one durable transaction. Fails only with EngineUnavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def has_news(self) -> bool:
        """Something is to be begun, inherited, handed to the engine or delivered: one cheap question."""
        with self._database.reading() as connection:
            return bool(connection.execute(_HAS_NEWS).scalar())

    # ---- runs

    def runs_in(self, *states: str) -> Sequence[RunRow]:
        query = sa.select(runs).where(runs.c.state.in_(states)).order_by(runs.c.created_at)
        with self._database.reading() as connection:
            found = connection.execute(query).all()
        return [RunRow(row.run, row.plan, row.wave, row.kind, row.operator, row.state, row.worker) for row in found]

    def plan(self, digest: str) -> Plan:
        with self._database.reading() as connection:
            text = connection.execute(sa.select(plans.c.document).where(plans.c.digest == digest)).scalar_one()
        return Plan.model_validate_json(text)

    def plan_of(self, run: str) -> str:
        with self._database.reading() as connection:
            return str(connection.execute(sa.select(runs.c.plan).where(runs.c.run == run)).scalar_one())

    def run_state(self, run: str) -> str | None:
        """None when there is no such run."""
        with self._database.reading() as connection:
            return connection.execute(sa.select(runs.c.state).where(runs.c.run == run)).scalar_one_or_none()

    def set_run_state(self, run: str, state: str, *, only_from: str, worker: str) -> bool:
        """Move a run on; False when it was not where it was thought to be."""
        finished_at = timestamp(self._clock.now()) if state == "finished" else ""
        change = (
            sa.update(runs)
            .where(runs.c.run == run, runs.c.state == only_from)
            .values(state=state, worker=worker, finished_at=finished_at)
        )
        with self._database.writing() as connection:
            return connection.execute(change).rowcount == 1

    def inherit_run(self, row: RunRow, *, worker: str) -> bool:
        """Take the beginning or the end of a run over from a worker that is gone; True for one caller only."""
        change = (
            sa.update(runs)
            .where(runs.c.run == row.run, runs.c.state == row.state, runs.c.worker == row.worker)
            .values(worker=worker)
        )
        with self._database.writing() as connection:
            return connection.execute(change).rowcount == 1

    def begin_finishing(self, run: str, *, worker: str) -> bool:
        """True for the one caller who finds all systems of the run at rest and nothing asked for."""
        moving = sa.exists().where(system_runs.c.run == run, system_runs.c.state.not_in(sorted(AT_REST)))
        asked = sa.exists().where(requests.c.run == run, requests.c.handled.is_(False))
        change = (
            sa.update(runs)
            .where(runs.c.run == run, runs.c.state == "running", ~moving, ~asked)
            .values(state="finishing", worker=worker)
        )
        with self._database.writing() as connection:
            return connection.execute(change).rowcount == 1

    def system_states(self, run: str) -> dict[str, tuple[str, str]]:
        """State and reason by system."""
        query = sa.select(system_runs).where(system_runs.c.run == run).order_by(system_runs.c.position)
        with self._database.reading() as connection:
            return {row.system: (row.state, row.reason) for row in connection.execute(query)}

    # ---- systems

    def systems_to_enqueue(self, *, limit: int) -> Sequence[tuple[str, str]]:
        """(run, system) of running runs that the engine does not know yet, in the order of their waves."""
        query = (
            sa.select(system_runs.c.run, system_runs.c.system)
            .join_from(system_runs, runs, system_runs.c.run == runs.c.run)
            .where(system_runs.c.enqueued.is_(False), runs.c.state == "running")
            .order_by(runs.c.created_at, system_runs.c.position)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [(row.run, row.system) for row in connection.execute(query)]

    def mark_enqueued(self, run: str, systems: Sequence[str]) -> None:
        change = (
            sa.update(system_runs)
            .where(system_runs.c.run == run, system_runs.c.system.in_(list(systems)))
            .values(enqueued=True)
        )
        with self._database.writing() as connection:
            connection.execute(change)

    def system_state(self, run: str, system: str) -> tuple[str, str]:
        """State and reason."""
        query = sa.select(system_runs.c.state, system_runs.c.reason).where(
            system_runs.c.run == run, system_runs.c.system == system
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one()
        return row.state, row.reason

    def set_system_state(self, run: str, system: str, state: SystemState, reason: str, *, holds: bool) -> None:

        def change(connection: sa.Connection) -> None:
            connection.execute(
                sa.update(system_runs)
                .where(system_runs.c.run == run, system_runs.c.system == system)
                .values(state=state, reason=reason, over=not holds)
            )
            if not holds:
                connection.execute(
                    sa.delete(run_locks).where(run_locks.c.system == system, run_locks.c.run == run)
                )
                connection.execute(sa.delete(slots).where(slots.c.holder == f"{run}/{system}"))
                # Nobody is left who could obey.
                connection.execute(
                    sa.update(requests)
                    .where(requests.c.run == run, requests.c.system == system)
                    .values(handled=True)
                )

        self._database.write(change)

    # ---- turns

    def turns(self, run: str, system: str) -> Sequence[str]:
        """The events of every turn taken, in order, as JSON."""
        query = sa.select(turns.c.events).where(turns.c.run == run, turns.c.system == system).order_by(turns.c.number)
        with self._database.reading() as connection:
            return connection.execute(query).scalars().all()

    def add_turn(self, run: str, system: str, number: int, events: str) -> bool:
        """Keep the events of a turn; False, and nothing is kept, when another process has taken that turn."""
        row = {"run": run, "system": system, "number": number, "events": events}
        return self._database.write(lambda connection: self._database.add_once(connection, turns, row))

    # ---- requests

    def open_requests(self, run: str = "", system: str = "") -> Sequence[RequestRow]:
        """What people asked and was not yet obeyed or refused; of one system's run where it is named."""
        query = sa.select(requests).where(requests.c.handled.is_(False)).order_by(requests.c.id)
        if run:
            query = query.where(requests.c.run == run, requests.c.system == system)
        with self._database.reading() as connection:
            return [
                RequestRow(row.id, row.run, row.system, row.operation, row.step, row.by, row.reason)
                for row in connection.execute(query)
            ]

    def mark_handled(self, ids: Iterable[int]) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.update(requests).where(requests.c.id.in_(list(ids))).values(handled=True))

    # ---- what was announced

    def was_announced(self, key: str) -> bool:
        with self._database.reading() as connection:
            query = sa.select(announced.c.key).where(announced.c.key == key)
            return connection.execute(query).one_or_none() is not None

    def mark_announced(self, key: str) -> None:
        with self._database.writing() as connection:
            self._database.add_new(connection, announced, [{"key": key}])

    # ---- the journal of steps

    def begin_step(
        self,
        run: str,
        system: str,
        step: str,
        mode: Mode,
        *,
        attempt: int,
        worker: str,
        state: Literal["started", "waiting"] = "started",
    ) -> EarlierIntent:
        """Write the intent to do a step, unless this attempt has ended already; what stood there before."""
        key = step_key(run, system, step, mode)
        now = timestamp(self._clock.now())

        def begin(connection: sa.Connection) -> EarlierIntent:
            earlier = connection.execute(_STEP_BY_KEY, {"key": key}).one_or_none()
            if earlier is None:
                row: dict[str, Any] = {"key": key, "run": run, "system": system, "step": step, "mode": mode}
                row |= {"state": state, "starts": 1, "attempt": attempt, "worker": worker}
                connection.execute(_INSERT_STEP, row | {"begun_at": now, "started_at": now})
                # Of a run that was put back from a copy, the step may have been begun after that copy was made.
                restored = connection.execute(_WAS_RESTORED, {"the_run": run}).scalar()
                ticket = self._next_ticket(connection, system)
                return EarlierIntent("started" if restored else None, None, 1, ticket=ticket)
            outcome = Outcome.model_validate_json(earlier.outcome) if earlier.outcome else None
            if earlier.state == "done" or (earlier.state in ("failed", "unknown") and earlier.attempt == attempt):
                return EarlierIntent(earlier.state, outcome, earlier.starts, ended=True)
            change = {"new_state": state, "new_starts": earlier.starts + 1, "new_attempt": attempt}
            connection.execute(
                _RESTART_STEP, change | {"the_key": key, "new_worker": worker, "new_started_at": now}
            )
            ticket = self._next_ticket(connection, system)
            return EarlierIntent(earlier.state, outcome, earlier.starts + 1, ticket=ticket)

        return self._database.write(begin)

    def next_ticket(self, system: str) -> int:
        """For a deed that is no step: newer than every order of the system so far."""
        return self._database.write(lambda connection: self._next_ticket(connection, system))

    def _next_ticket(self, connection: sa.Connection, system: str) -> int:
        return next_ticket(self._database, connection, system)

    def finish_step(
        self,
        run: str,
        system: str,
        step: str,
        mode: Mode,
        *,
        starts: int,
        state: StepState,
        outcome: Outcome,
        seconds: float,
    ) -> bool:
        """Write how a begun step ended; False, and nothing is written, when it was ended or begun anew meanwhile."""
        change = {
            "the_key": step_key(run, system, step, mode),
            "the_starts": starts,
            "new_state": state,
            "new_outcome": json.dumps(outcome.model_dump(mode="json")),
            "new_seconds": seconds,
            "new_finished_at": timestamp(self._clock.now()),
        }
        return self._database.write(lambda connection: connection.execute(_FINISH_STEP, change).rowcount == 1)

    def abandon_step(self, run: str, system: str, step: str, mode: Mode, *, outcome: Outcome) -> bool:
        """Write that nobody knows how a begun step ended; False when its end was written meanwhile."""
        change = (
            sa.update(steps)
            .where(steps.c.key == step_key(run, system, step, mode), steps.c.state == "started")
            .values(
                state="unknown",
                outcome=json.dumps(outcome.model_dump(mode="json")),
                finished_at=timestamp(self._clock.now()),
            )
        )
        with self._database.writing() as connection:
            return connection.execute(change).rowcount == 1

    def settle_step(self, run: str, system: str, step: str, mode: Mode, *, attempt: int, outcome: Outcome) -> bool:
        """Write an end that came by word; False when the row says the same already.

        Whose word it is that an inverse is done, takes what was begun before for ended. Moves of authority that were
        ordered until then are refused from now on.
        """
        key = step_key(run, system, step, mode)
        now = timestamp(self._clock.now())
        text = json.dumps(outcome.model_dump(mode="json"))
        state = "done" if outcome.result.value in ("passed", "waived") else "failed"
        with self._database.writing() as connection:
            earlier = connection.execute(_STEP_BY_KEY, {"key": key}).one_or_none()
            if earlier is not None and earlier.state == state and earlier.outcome == text:
                return False
            row: dict[str, Any] = {"key": key, "run": run, "system": system, "step": step, "mode": mode}
            row |= {"state": state, "starts": earlier.starts if earlier else 0, "worker": ""}
            row |= {"attempt": earlier.attempt if earlier else attempt, "outcome": text, "finished_at": now}
            row |= {"begun_at": earlier.begun_at if earlier else now, "seconds": earlier.seconds if earlier else 0.0}
            row |= {"started_at": earlier.started_at if earlier else now}
            self._database.put(connection, steps, row)
            if mode == "undo":
                refuse_earlier_moves(self._database, connection, system, ticket=self._next_ticket(connection, system))
            return True


# Built once: these run for every step of every system, or many times a second.
_HAS_NEWS = sa.select(
    sa.exists().where(runs.c.state.in_(("submitted", "beginning", "finishing")))
    | sa.exists().where(system_runs.c.enqueued.is_(False))
    | sa.exists().where(requests.c.handled.is_(False))
)
_WAS_RESTORED = sa.select(
    sa.exists()
    .where(restorations.c.at >= runs.c.created_at)
    .where(runs.c.run == sa.bindparam("the_run"))
)
_STEP_BY_KEY = sa.select(steps).where(steps.c.key == sa.bindparam("key"))
_INSERT_STEP = sa.insert(steps)
_RESTART_STEP = (
    sa.update(steps)
    .where(steps.c.key == sa.bindparam("the_key"))
    .values(
        state=sa.bindparam("new_state"),
        starts=sa.bindparam("new_starts"),
        attempt=sa.bindparam("new_attempt"),
        worker=sa.bindparam("new_worker"),
        started_at=sa.bindparam("new_started_at"),
        finished_at="",
        doing="",
    )
)
_FINISH_STEP = (
    sa.update(steps)
    .where(steps.c.key == sa.bindparam("the_key"))
    .where(steps.c.state == "started", steps.c.starts == sa.bindparam("the_starts"))
    .values(
        state=sa.bindparam("new_state"),
        outcome=sa.bindparam("new_outcome"),
        seconds=sa.bindparam("new_seconds"),
        finished_at=sa.bindparam("new_finished_at"),
    )
)
