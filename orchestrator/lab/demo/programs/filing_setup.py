"""Sets the filing system up on its first host: cluster, roles, schema, and the filings that were always there.

initdb DIRECTORY NETWORK     makes the cluster, where there is none; runs as the database's own user
schema SOCKET                roles, database, tables; the replicator's password comes by stdin; may be repeated
seed SOCKET COUNT BYTES DIR  filings 1..COUNT with attachments of BYTES each; goes on where it stopped
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from .filing_app import Filing
from .postgres_wire import Connection, Pool
from .records import content, filing_amount, filing_taxpayer

BINARIES = Path("/usr/lib/postgresql/15/bin")
ROWS_PER_STATEMENT = 200
SETTINGS = """
# What a replica of this cluster needs. Addresses, ports and sockets are each host's own and stand in its unit.
wal_level = replica
wal_log_hints = on
max_wal_senders = 10
max_replication_slots = 10
wal_keep_size = 256MB
hot_standby = on
wal_sender_timeout = 10s
wal_receiver_timeout = 10s
wal_retrieve_retry_interval = 200ms
recovery_target_timeline = latest
password_encryption = scram-sha-256
shared_buffers = 32MB
max_connections = 60
"""
ACCESS = """# Local users are the host's; from the network only the replicator, with its password.
local   all          all                     trust
local   replication  all                     trust
host    replication  replicator  {network}  scram-sha-256
host    all          replicator  {network}  scram-sha-256
"""
SCHEMA = (
    """create table if not exists filings (
        id bigint primary key,
        taxpayer text not null,
        amount bigint not null,
        attachment_sha256 text not null,
        attachment_bytes bigint not null,
        site text not null,
        filed_at timestamptz not null default now())""",
    "create sequence if not exists receipts",
    "alter table filings owner to filing",
    "alter sequence receipts owner to filing",
    # What a scrub reads the indexes with; copies of the database bring it along.
    "create extension if not exists amcheck",
)


def make_cluster(directory: Path, network: str) -> None:
    """A cluster with checksums at `directory`; one that exists is left as it is."""
    if (directory / "PG_VERSION").exists():
        return
    words = [str(BINARIES / "initdb"), "-D", str(directory), "--data-checksums", "-A", "trust", "-U", "postgres"]
    # Its own sync would flush the whole file system; one at the end of the seed is enough.
    more = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run([*words, *more], check=True, stdout=subprocess.DEVNULL)
    with (directory / "postgresql.conf").open("a") as stream:
        stream.write(SETTINGS)
    (directory / "pg_hba.conf").write_text(ACCESS.format(network=network))


def make_schema(socket_path: str, password: str) -> None:
    """Roles, database and tables. Every statement may find its work done."""
    server = Connection(socket_path, user="postgres", database="postgres")
    for role, rights in (("filing", "login"), ("replicator", "login replication")):
        if not server.run("select 1 from pg_roles where rolname = $1", [role]):
            server.run(f"create role {role} {rights}")
    # A password cannot be a parameter of this statement, so the server quotes it.
    [(statement,)] = server.run("select format('alter role replicator password %L', $1::text)", [password])
    server.run(str(statement))
    # What pg_rewind may need of its source (PostgreSQL 15 documentation, pg_rewind, Notes).
    for function in (
        "pg_ls_dir(text, boolean, boolean)",
        "pg_stat_file(text, boolean)",
        "pg_read_binary_file(text)",
        "pg_read_binary_file(text, bigint, bigint, boolean)",
    ):
        server.run(f"grant execute on function pg_catalog.{function} to replicator")
    if not server.run("select 1 from pg_database where datname = 'filing'"):
        server.run("create database filing owner filing")
    server.close()
    database = Connection(socket_path, user="postgres", database="filing")
    for statement in SCHEMA:
        database.run(statement)
    database.close()


def seed(socket_path: str, count: int, size_bytes: int, attachments: Path) -> None:
    """Filings 1..count. Attachments come first, so that no row lacks its own."""
    pool = Pool(socket_path, user="filing", database="filing", size=1)
    application = Filing("onprem", attachments, pool)
    [(there,)] = pool.run("select coalesce(max(id), 0) from filings where id <= $1", [count])
    for first in range(int(there or 0) + 1, count + 1, ROWS_PER_STATEMENT):
        numbers = range(first, min(first + ROWS_PER_STATEMENT, count + 1))
        values: list[str | int | None] = []
        for number in numbers:
            attachment = content("filing", number, size_bytes)
            sha256 = hashlib.sha256(attachment).hexdigest()
            path = application.attachment_path(number, sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(attachment)
            values += [number, filing_taxpayer(number), filing_amount(number), sha256, size_bytes, "onprem"]
        os.sync()
        rows = ",".join(
            f"({','.join(f'${6 * row + column}' for column in range(1, 7))})" for row in range(len(numbers))
        )
        pool.run(
            "insert into filings (id, taxpayer, amount, attachment_sha256, attachment_bytes, site)"  # noqa: S608 - numbers
            f" values {rows} on conflict (id) do nothing",
            values,
        )


def main(words: list[str]) -> None:
    deed, rest = words[0], words[1:]
    if deed == "initdb":
        make_cluster(Path(rest[0]), rest[1])
    elif deed == "schema":
        make_schema(rest[0], sys.stdin.read().strip())
    elif deed == "seed":
        seed(rest[0], int(rest[1]), int(rest[2]), Path(rest[3]))
    else:
        raise SystemExit(f"unknown deed {deed}")
