"""Our tables: the truth that people are shown, and all that outlives the durable engine's own records."""

import sqlalchemy as sa

metadata = sa.MetaData()

# Raised with every change below; a change only ever adds tables and columns, each column with a default.
SCHEMA_NUMBER = 8

schema = sa.Table("schema_number", metadata, sa.Column("number", sa.Integer, primary_key=True))

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("wave", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("operator", sa.Text, nullable=False),
    # submitted → beginning → running → finishing → finished; a request to a finished run makes it running again
    sa.Column("state", sa.Text, nullable=False),
    # Who writes the run's beginning or end into the evidence; only then does it matter whether that worker lives.
    sa.Column("worker", sa.Text, nullable=False, default=""),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("finished_at", sa.Text, nullable=False, default=""),
    sa.Index("runs_by_state", "state"),
    sa.Index("runs_by_creation", "created_at"),
)

system_runs = sa.Table(
    "system_runs",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("over", sa.Boolean, nullable=False, default=False),
    sa.Column("enqueued", sa.Boolean, nullable=False, default=False),
    sa.Index("system_runs_by_enqueued", "enqueued"),
)

# One unfinished run per system.
run_locks = sa.Table(
    "run_locks",
    metadata,
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Index("run_locks_by_run", "run"),
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("system", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # started, waiting, done, failed, unknown
    sa.Column("starts", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("begun_at", sa.Text, nullable=False),
    sa.Column("started_at", sa.Text, nullable=False),
    sa.Column("finished_at", sa.Text, nullable=False, default=""),
    sa.Column("seconds", sa.Float, nullable=False, default=0.0),
    sa.Column("outcome", sa.Text, nullable=False, default=""),
    sa.Index("steps_by_run", "run", "system"),
)

# The events of each system's run, turn by turn: what a restarted worker folds again before it goes on.
turns = sa.Table(
    "turns",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("events", sa.Text, nullable=False),
)

# What was said to evidence once and must not be said again when a turn is repeated after a crash.
announced = sa.Table(
    "announced",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("system", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("handled", sa.Boolean, nullable=False, default=False),
    sa.Index("requests_by_handled", "handled"),
    sqlite_autoincrement=True,
)

# A place that only so many systems may hold at once; the holder is a system's run, whichever worker carries it.
slots = sa.Table(
    "slots",
    metadata,
    sa.Column("resource", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, primary_key=True),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Text, nullable=False),
    sa.Column("beat", sa.Float, nullable=False),  # the database's own time, seconds since the epoch
)

takeovers = sa.Table(
    "takeovers",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("dead", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("systems", sa.Integer, nullable=False),
)

authority = sa.Table(
    "authority",
    metadata,
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("ticket", sa.Integer, nullable=False, default=0),
)

# How many intents of deeds were written for a system: a deed's ticket, by which hosts tell older orders from newer.
tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)

# Times at which the state was put back from a copy: runs from before ask the world of what the copy does not know.
restorations = sa.Table(
    "restorations",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("tickets_from", sa.BigInteger, nullable=False),
)

# Outside of runs: how far replicas were behind, thinned as they grow old, and the rounds that brought them up to date.
lag_samples = sa.Table(
    "lag_samples",
    metadata,
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, primary_key=True),
    sa.Column("seconds_behind", sa.Float),
    sa.Column("bytes_behind", sa.BigInteger),
)

replication_rounds = sa.Table(
    "replication_rounds",
    metadata,
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("system", sa.Text, nullable=False),
    sa.Column("started_at", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("replication_rounds_by_start", "system", "started_at"),
)

replication_totals = sa.Table(
    "replication_totals",
    metadata,
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("result", sa.Text, primary_key=True),
    sa.Column("rounds", sa.BigInteger, nullable=False),
    sa.Column("bytes_wire", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
)

replication_progress = sa.Table(
    "replication_progress",
    metadata,
    sa.Column("system", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

catalogue = sa.Table(
    "catalogue",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("put_number", sa.Integer, nullable=False),  # grows with every put: newest first
    sa.Index("catalogue_by_age", "kind", "put_number"),
)

# The ledger of workers on several machines: one order of entries, and the heads that were settled and signed.
ledger_about = sa.Table(
    "ledger_about",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

ledger_entries = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

ledger_runs = sa.Table(
    "ledger_runs",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("next_number", sa.BigInteger, nullable=False),
)

ledger_heads = sa.Table(
    "ledger_heads",
    metadata,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    # Both come with the signature; sizes may be signed in another order than that of their growth.
    sa.Column("note", sa.Text),
    sa.Column("number", sa.BigInteger, unique=True),
)

ledger_artifacts = sa.Table(
    "ledger_artifacts",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)
