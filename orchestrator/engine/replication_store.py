"""The memory of replication in our tables: rounds, their totals, and thinned samples of lag."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.engine.database import ROWS_PER_STATEMENT, Database
from orchestrator.engine.tables import (
    lag_samples,
    replication_progress,
    replication_rounds,
    replication_totals,
    run_locks,
)
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.model.replication import HistorySize, LagSample, Round, RoundProgress, RoundTotals

DAY_SECONDS = 86400
# Samples younger than the first number of seconds: one of each dataset in each stretch of the second. Older ones go.
THINNING = ((DAY_SECONDS, 10), (7 * DAY_SECONDS, 300), (90 * DAY_SECONDS, 3600))
THIN_EVERY_ROWS = 200
ROUNDS_KEPT_MAX = 500  # of each system
SAMPLE_BYTES_ABOUT = 120  # a row with its place in the index


class DatabaseReplicationHistory:
    """The history in our tables; the laws stand at contracts.replication.ReplicationHistory."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._noted = 0

    def note(self, samples: Sequence[LagSample]) -> None:
        if not samples:
            return
        with self._database.writing() as connection:
            for sample in samples:
                row = sample.model_dump(exclude={"at"}) | {"at_ms": to_ms(sample.at)}
                self._database.put(connection, lag_samples, row)
        self._noted += len(samples)
        if self._noted >= THIN_EVERY_ROWS:
            self._noted = 0
            self.thin()

    def thin(self) -> None:
        """Let go of what is too old or too dense. Happens by itself every so often."""
        now_ms = int(self._clock.now().timestamp() * 1000)
        with self._database.writing() as connection:
            query = sa.select(lag_samples).order_by(lag_samples.c.system, lag_samples.c.dataset, lag_samples.c.at_ms)
            rows = connection.execute(query).all()
            spare = spare_rows(rows, now_ms)
            for start in range(0, len(spare), ROWS_PER_STATEMENT):
                for row in spare[start : start + ROWS_PER_STATEMENT]:
                    connection.execute(sa.delete(lag_samples).where(*_is_sample(row)))

    def samples(self, system: str, dataset: str, *, since: str = "") -> Sequence[LagSample]:
        query = (
            sa.select(lag_samples)
            .where(
                lag_samples.c.system == system,
                lag_samples.c.dataset == dataset,
                lag_samples.c.at_ms >= (to_ms(since) if since else 0),
            )
            .order_by(lag_samples.c.at_ms)
        )
        with self._database.reading() as connection:
            return [_sample(row) for row in connection.execute(query)]

    def newest(self) -> Sequence[LagSample]:
        last = (
            sa.select(lag_samples.c.system, lag_samples.c.dataset, sa.func.max(lag_samples.c.at_ms).label("at_ms"))
            .group_by(lag_samples.c.system, lag_samples.c.dataset)
            .subquery()
        )
        query = (
            sa.select(lag_samples)
            .join(
                last,
                (lag_samples.c.system == last.c.system)
                & (lag_samples.c.dataset == last.c.dataset)
                & (lag_samples.c.at_ms == last.c.at_ms),
            )
            .order_by(lag_samples.c.system, lag_samples.c.dataset)
        )
        with self._database.reading() as connection:
            return [_sample(row) for row in connection.execute(query)]

    def put_round(self, round_: Round) -> None:
        row = {"round": round_.id, "system": round_.system, "started_at": round_.started_at, "result": round_.result}
        with self._database.writing_alone() as connection:
            query = sa.select(replication_rounds.c.result).where(replication_rounds.c.round == round_.id)
            before = connection.execute(query).scalar_one_or_none()
            document = json.dumps(round_.model_dump(mode="json"))
            self._database.put(connection, replication_rounds, row | {"document": document})
            if round_.result != "running" and before in (None, "running"):
                self._count(connection, round_)
            self._forget_old_rounds(connection, round_.system)

    def _count(self, connection: sa.Connection, round_: Round) -> None:
        table = replication_totals
        query = sa.select(table).where(table.c.system == round_.system, table.c.result == round_.result)
        found = connection.execute(query).one_or_none()
        row = {
            "system": round_.system,
            "result": round_.result,
            "rounds": (found.rounds if found else 0) + 1,
            "bytes_wire": (found.bytes_wire if found else 0) + round_.bytes_wire,
            "seconds": (found.seconds if found else 0.0) + round_.seconds,
        }
        self._database.put(connection, table, row)

    def _forget_old_rounds(self, connection: sa.Connection, system: str) -> None:
        table = replication_rounds
        kept = (
            sa.select(table.c.round)
            .where(table.c.system == system)
            .order_by(table.c.started_at.desc(), table.c.round.desc())
            .limit(ROUNDS_KEPT_MAX)
        )
        names = connection.execute(kept).scalars().all()
        if len(names) == ROUNDS_KEPT_MAX:
            connection.execute(sa.delete(table).where(table.c.system == system, table.c.round.not_in(names)))

    def rounds(self, system: str = "", *, limit: int = 20) -> Sequence[Round]:
        table = replication_rounds
        query = sa.select(table.c.document).order_by(table.c.started_at.desc(), table.c.round.desc()).limit(limit)
        if system:
            query = query.where(table.c.system == system)
        with self._database.reading() as connection:
            return [Round.model_validate_json(text) for text in connection.execute(query).scalars()]

    def totals(self) -> Sequence[RoundTotals]:
        query = sa.select(replication_totals).order_by(replication_totals.c.system, replication_totals.c.result)
        with self._database.reading() as connection:
            return [RoundTotals.model_validate(dict(row)) for row in connection.execute(query).mappings()]

    def put_progress(self, progress: RoundProgress) -> None:
        row = {"system": progress.system, "document": json.dumps(progress.model_dump(mode="json"))}
        with self._database.writing() as connection:
            self._database.put(connection, replication_progress, row)

    def progress(self, system: str) -> RoundProgress | None:
        query = sa.select(replication_progress.c.document).where(replication_progress.c.system == system)
        with self._database.reading() as connection:
            text = connection.execute(query).scalar_one_or_none()
        return None if text is None else RoundProgress.model_validate_json(text)

    def run_holding(self, system: str) -> str:
        query = sa.select(run_locks.c.run).where(run_locks.c.system == system)
        with self._database.reading() as connection:
            return str(connection.execute(query).scalar_one_or_none() or "")

    def size(self) -> HistorySize:
        length = sa.func.coalesce(sa.func.sum(sa.func.length(replication_rounds.c.document)), 0)
        with self._database.reading() as connection:
            samples = connection.execute(sa.select(sa.func.count()).select_from(lag_samples)).scalar_one()
            rounds, held = connection.execute(sa.select(sa.func.count(), length)).one()
        return HistorySize(samples=samples, rounds=rounds, bytes_about=samples * SAMPLE_BYTES_ABOUT + int(held))


def spare_rows(rows: Iterable[Any], now_ms: int) -> list[Any]:
    """Which of the rows, sorted by dataset and time, are too old, or share a stretch with one that is worse."""
    spare: list[Any] = []
    kept: dict[tuple[str, str, int, int], Any] = {}
    newest: dict[tuple[str, str], Any] = {}
    for row in rows:
        newest[row.system, row.dataset] = row
    for row in rows:
        age_seconds = (now_ms - row.at_ms) / 1000
        stretch = next((length for limit, length in THINNING if age_seconds < limit), 0)
        if row is newest[row.system, row.dataset]:
            continue  # the state as last seen, however old
        if not stretch:
            spare.append(row)
            continue
        place = (row.system, row.dataset, stretch, row.at_ms // (stretch * 1000))
        other = kept.get(place)
        if other is None:
            kept[place] = row
        elif _badness(row) >= _badness(other):
            spare.append(other)
            kept[place] = row
        else:
            spare.append(row)
    return spare


def _badness(row: Any) -> tuple[float, int]:
    """Not known is worse than any number."""
    unknown = float("inf")
    return (unknown if row.seconds_behind is None else row.seconds_behind, row.bytes_behind or 0)


def _is_sample(row: Any) -> list[Any]:
    return [
        lag_samples.c.system == row.system,
        lag_samples.c.dataset == row.dataset,
        lag_samples.c.at_ms == row.at_ms,
    ]


def to_ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def _sample(row: Any) -> LagSample:
    at = timestamp(datetime.fromtimestamp(row.at_ms / 1000).astimezone())
    return LagSample(
        system=row.system,
        dataset=row.dataset,
        at=at,
        seconds_behind=row.seconds_behind,
        bytes_behind=row.bytes_behind,
    )
