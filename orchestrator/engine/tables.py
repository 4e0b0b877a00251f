"""Our tables: the truth that people are shown, and all that outlives the durable engine's own records."""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

# Raised with every change below; a change only ever adds tables and columns, each column with a default.
SCHEMA_NUMBER = 9


def _table(name: str, *parts: sa.schema.SchemaItem, **options: Any) -> sa.Table:
    return sa.Table(name, metadata, *parts, **options)


def _keys(*names: str) -> list[sa.Column[Any]]:
    """Texts that are the primary key together."""
    return [sa.Column(name, sa.Text, primary_key=True) for name in names]


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [_filled(name, sa.Text) for name in names]


def _filled(name: str, kind: Any, **options: Any) -> sa.Column[Any]:
    """A column that has a value in every row."""
    return sa.Column(name, kind, nullable=False, **options)


schema = _table("schema_number", sa.Column("number", sa.Integer, primary_key=True))

plans = _table("plans", *_keys("digest"), *_texts("document"))

runs = _table(
    "runs",
    *_keys("run"),
    *_texts("plan", "wave", "kind", "operator"),
    # submitted → beginning → running → finishing → finished; a request to a finished run makes it running again
    *_texts("state"),
    # Who writes the run's beginning or end into the evidence; only then does it matter whether that worker lives.
    _filled("worker", sa.Text, default=""),
    *_texts("created_at"),
    _filled("finished_at", sa.Text, default=""),
    sa.Index("runs_by_state", "state"),
    sa.Index("runs_by_creation", "created_at"),
)

system_runs = _table(
    "system_runs",
    *_keys("run", "system"),
    _filled("position", sa.Integer),
    *_texts("state"),
    _filled("reason", sa.Text, default=""),
    _filled("over", sa.Boolean, default=False),
    _filled("enqueued", sa.Boolean, default=False),
    sa.Index("system_runs_by_enqueued", "enqueued"),
)

# One unfinished run per system.
run_locks = _table("run_locks", *_keys("system"), *_texts("run"), sa.Index("run_locks_by_run", "run"))

steps = _table(
    "steps",
    *_keys("key"),
    *_texts("run", "system", "step", "mode"),
    _filled("state", sa.Text),  # started, waiting, done, failed, unknown
    _filled("starts", sa.Integer),
    _filled("attempt", sa.Integer),
    *_texts("worker", "begun_at", "started_at"),
    _filled("finished_at", sa.Text, default=""),
    _filled("seconds", sa.Float, default=0.0),
    _filled("outcome", sa.Text, default=""),
    _filled("doing", sa.Text, default=""),  # the newest progress, while it is under way
    sa.Index("steps_by_run", "run", "system"),
)

# The events of each system's run, turn by turn: what a restarted worker folds again before it goes on.
turns = _table("turns", *_keys("run", "system"), sa.Column("number", sa.Integer, primary_key=True), *_texts("events"))

# What was said to evidence once and must not be said again when a turn is repeated after a crash.
announced = _table("announced", *_keys("key"))

requests = _table(
    "requests",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    *_texts("run", "system", "operation", "step", "by", "reason", "at"),
    _filled("handled", sa.Boolean, default=False),
    sa.Index("requests_by_handled", "handled"),
    sqlite_autoincrement=True,
)

# A place that only so many systems may hold at once; the holder is a system's run, whichever worker carries it.
slots = _table("slots", *_keys("resource", "holder"))

workers = _table(
    "workers",
    *_keys("worker"),
    *_texts("host"),
    _filled("pid", sa.Integer),
    *_texts("started_at"),
    _filled("beat", sa.Float),  # the database's own time, seconds since the epoch
)

takeovers = _table(
    "takeovers",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    *_texts("dead", "by", "at"),
    _filled("systems", sa.Integer),
)

authority = _table(
    "authority",
    *_keys("system"),
    _filled("number", sa.Integer),
    *_texts("side", "at", "by"),
    _filled("ticket", sa.Integer, default=0),
)

# How many intents of deeds were written for a system: a deed's ticket, by which hosts tell older orders from newer.
tickets = _table("tickets", *_keys("system"), _filled("number", sa.Integer))

# Times at which the state was put back from a copy: runs from before ask the world of what the copy does not know.
restorations = _table(
    "restorations",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    *_texts("at"),
    _filled("tickets_from", sa.BigInteger),
)

# Outside of runs: how far replicas were behind, thinned as they grow old, and the rounds that brought them up to date.
lag_samples = _table(
    "lag_samples",
    *_keys("system", "dataset"),
    sa.Column("at_ms", sa.BigInteger, primary_key=True),
    sa.Column("seconds_behind", sa.Float),
    sa.Column("bytes_behind", sa.BigInteger),
)

replication_rounds = _table(
    "replication_rounds",
    *_keys("round"),
    *_texts("system", "started_at", "result", "document"),
    sa.Index("replication_rounds_by_start", "system", "started_at"),
)

replication_totals = _table(
    "replication_totals",
    *_keys("system", "result"),
    _filled("rounds", sa.BigInteger),
    _filled("bytes_wire", sa.BigInteger),
    _filled("seconds", sa.Float),
)

replication_progress = _table("replication_progress", *_keys("system"), *_texts("document"))

catalogue = _table(
    "catalogue",
    *_keys("kind", "key"),
    *_texts("document"),
    _filled("put_number", sa.Integer),  # grows with every put: newest first
    sa.Index("catalogue_by_age", "kind", "put_number"),
)

# The ledger of workers on several machines: one order of entries, and the heads that were settled and signed.
ledger_about = _table("ledger_about", *_keys("name"), *_texts("value"))

ledger_entries = _table(
    "ledger_entries",
    sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
    _filled("data", sa.LargeBinary),
)

ledger_runs = _table("ledger_runs", *_keys("run"), _filled("next_number", sa.BigInteger))

ledger_heads = _table(
    "ledger_heads",
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    _filled("root", sa.LargeBinary),
    # Both come with the signature; sizes may be signed in another order than that of their growth.
    sa.Column("note", sa.Text),
    sa.Column("number", sa.BigInteger, unique=True),
)

ledger_artifacts = _table("ledger_artifacts", *_keys("digest"), _filled("content", sa.LargeBinary))
