"""Reads what people are shown straight from the SQLite file: for commands that answer at once, without SQLAlchemy.

It reads the same tables as run_store and catalogue_store, and gives what their models give as JSON; a test holds both
against each other. It writes nothing, and makes nothing: where there is no store yet, there is nothing to show.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from orchestrator.foundation.errors import EngineUnavailable, UsageError
from orchestrator.foundation.limits import STORE_READ_WAIT_SECONDS_MAX

# From this number on a store has all that is read here, for tables only ever grow. An older one is read by SQLAlchemy,
# which brings it up to date.
SCHEMA_NUMBER_MIN = 9

_PLAN_SUMMARY = """
    select key, json_extract(document, '$.wave'), json_extract(document, '$.author'),
           json_extract(document, '$.runbook') || ' ' || json_extract(document, '$.runbook_version'),
           (select json_group_array(json_extract(value, '$.system.name')) from json_each(document, '$.systems')),
           (select sum(json_extract(value, '$.bytes_expected')) from json_each(document, '$.systems'))
    from catalogue where kind = 'plan' order by put_number desc limit ?
"""


class PlainReader:
    """One SQLite store, read only. Every method is one consistent view. Fails only with EngineUnavailable, and with
    UsageError for a run that is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_current(self) -> bool:
        """Whether this module may read the store: it has what is read here, or does not exist yet."""
        if not self._path.exists():
            return True
        with self._reading() as connection:
            known = connection.execute("select 1 from sqlite_master where name = 'schema_number'").fetchone()
            found = connection.execute("select max(number) from schema_number").fetchone() if known else None
        return found is not None and found[0] is not None and found[0] >= SCHEMA_NUMBER_MIN

    def runs(self, *, limit: int, plan: str = "") -> list[dict[str, Any]]:
        """As RunStatus, newest first, without steps; only those of `plan`, where named."""
        with self._reading() as connection:
            rows = connection.execute(
                "select * from runs where ? in ('', plan) order by created_at desc, run desc limit ?", (plan, limit)
            ).fetchall()
            return [_run(row, _systems(connection, row["run"])) for row in rows]

    def run_ids(self, beginning: str) -> list[str]:
        """The ids of runs that begin so; two at most, for more only say that it is not clear which is meant."""
        with self._reading() as connection:
            rows = connection.execute(
                "select run from runs where run >= ? and substr(run, 1, ?) = ? limit 2",
                (beginning, len(beginning), beginning),
            )
            return [row["run"] for row in rows]

    def run(self, run: str) -> dict[str, Any]:
        """As RunStatus, with steps."""
        with self._reading() as connection:
            row = connection.execute("select * from runs where run = ?", (run,)).fetchone()
            if row is None:
                raise _no_run(run)
            waiting = connection.execute("select count(*) from requests where run = ? and handled = 0", (run,))
            (requests_open,) = waiting.fetchone()
            systems = _systems(connection, run)
            by_name = {system["system"]: system["steps"] for system in systems}
            for step in connection.execute("select * from steps where run = ? order by begun_at, key", (run,)):
                if step["system"] in by_name:
                    by_name[step["system"]].append(_step(step))
        return {**_run(row, systems), "requests_open": requests_open}

    def plan_of(self, run: str) -> dict[str, Any]:
        """As Plan: what the run carries out."""
        with self._reading() as connection:
            query = "select document from plans join runs on runs.plan = plans.digest where run = ?"
            row = connection.execute(query, (run,)).fetchone()
        if row is None:
            raise _no_run(run)
        document: dict[str, Any] = json.loads(row["document"])
        return document

    def plans(self, *, limit: int) -> list[dict[str, Any]]:
        """The newest plans, newest first: digest, wave, author, runbook, systems, bytes_expected."""
        with self._reading() as connection:
            rows = connection.execute(_PLAN_SUMMARY, (limit,)).fetchall()
        names = ("digest", "wave", "author", "runbook")
        return [
            {
                **dict(zip(names, row[:4], strict=True)),
                "systems": json.loads(row[4]),
                "bytes_expected": row[5] or 0,
            }
            for row in rows
        ]

    def documents(self, kind: str, *, prefix: str = "", limit: int = 1000) -> list[tuple[str, dict[str, Any]]]:
        """As Catalogue.list: newest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "select key, document from catalogue where kind = ? and substr(key, 1, ?) = ? "
                "order by put_number desc limit ?",
                (kind, len(prefix), prefix, limit),
            ).fetchall()
        return [(row["key"], json.loads(row["document"])) for row in rows]

    def document(self, kind: str, key: str) -> dict[str, Any] | None:
        """As Catalogue.get."""
        with self._reading() as connection:
            row = connection.execute(
                "select document from catalogue where kind = ? and key = ?", (kind, key)
            ).fetchone()
        if row is None:
            return None
        document: dict[str, Any] = json.loads(row["document"])
        return document

    def authority(self, systems: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Side and fencing number of those of `systems` that ever moved."""
        with self._reading() as connection:
            rows = connection.execute("select system, side, number from authority").fetchall()
        wanted = set(systems)
        return {row["system"]: (row["side"], row["number"]) for row in rows if row["system"] in wanted}

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        where = f"file:{_quoted(self._path)}?mode=ro" if self._path.exists() else ":memory:"
        try:
            connection = sqlite3.connect(where, uri=True, timeout=STORE_READ_WAIT_SECONDS_MAX, isolation_level=None)
            with closing(connection):
                connection.row_factory = sqlite3.Row
                if where == ":memory:":
                    connection.executescript(_EMPTY)
                connection.execute("begin")
                yield connection
        except sqlite3.Error as error:
            raise EngineUnavailable(
                f"{self._path}: {error}", hint="Check that the file is whole and readable, then run the command again."
            ) from error


# Where there is no store yet, everything is asked of one without rows.
_EMPTY = """
    create table runs (run, plan, created_at);
    create table plans (digest, document);
    create table system_runs (run, system, position, state, reason);
    create table steps (run, system, begun_at, key);
    create table requests (run, handled);
    create table catalogue (kind, key, document, put_number);
    create table authority (system, side, number);
"""


def _no_run(run: str) -> UsageError:
    return UsageError(f"there is no run {run}", hint="See them with: skerry runs")


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


_OF_SYSTEM = ("system", "state", "reason")


def _systems(connection: sqlite3.Connection, run: str) -> list[dict[str, Any]]:
    rows = connection.execute(
        "select system, state, reason, over from system_runs where run = ? order by position", (run,)
    )
    return [{**{name: row[name] for name in _OF_SYSTEM}, "over": bool(row["over"]), "steps": []} for row in rows]


def _run(row: sqlite3.Row, systems: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("run", "plan", "wave", "kind", "operator")},
        "state": "finished" if row["state"] == "finished" else "running",
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
        "systems": systems,
        "requests_open": 0,
    }


def _step(row: sqlite3.Row) -> dict[str, Any]:
    outcome = json.loads(row["outcome"]) if row["outcome"] else {}
    return {
        **{name: row[name] for name in ("system", "step", "mode", "state")},
        "result": outcome.get("result"),
        "message": outcome.get("message", ""),
        "hint": outcome.get("hint", ""),
        "attempts": row["attempt"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "seconds": row["seconds"],
        "observed": outcome.get("observed", {}),
        "doing": json.loads(row["doing"]) if row["doing"] and row["state"] == "started" else None,
    }


def bring_up_to_date(path: Path) -> None:
    """Give an older store the tables and columns that it lacks."""
    from orchestrator.engine.store import open_store  # noqa: PLC0415 SQLAlchemy, only where it is needed

    open_store(f"sqlite:///{path}").close()
