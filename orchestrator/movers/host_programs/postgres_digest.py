"""Digest of the logical content of a PostgreSQL cluster (postgresql/v1), made on the host that runs it.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only, and psql.

The form. Every part is what one COPY prints in a fixed order under fixed settings: roles, then for each database its
schema by catalog (one part per kind of object), its sequences, its large objects, and the rows of each table ordered
by primary key or, without one, by whole row. The digest is SHA-256 over lines of database, part, SHA-256 of the part.
Unlogged tables are left out, for no replica has them. Sequences are taken at the value that the write-ahead log holds,
for that is what a standby has: the last value and what may still be drawn without another record.

With `hold`: writers wait, at most `seconds_max`, until a restore point is named and a snapshot of just that moment is
held; they go on while the digest is made from the snapshot.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Iterable
    from typing import Any

READ_BYTES = 1 << 18
ATTEMPTS_MAX = 5
SETTINGS = (
    "set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set extra_float_digits = 3;"
    " set bytea_output = 'hex'; set xmloption = 'content'; set row_security = off; set search_path = pg_catalog;"
    " set lc_messages = 'C'; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0;"
    " set lock_timeout = 0; set max_parallel_workers_per_gather = 0;"
    " select pg_catalog.set_config('client_encoding', pg_catalog.getdatabaseencoding(), false);\n"
)
NOT_OURS = (
    "n.nspname not in ('pg_catalog', 'information_schema')"
    " and n.nspname not like 'pg\\_toast%' and n.nspname not like 'pg\\_temp%'"
)
ROLES = (
    "select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,"
    ' rolconnlimit, rolpassword, rolvaliduntil, (select array_agg(g.rolname order by g.rolname collate "C") from'
    " pg_auth_members m join pg_authid g on g.oid = m.roleid where m.member = a.oid) from pg_authid a"
    " where rolname not like 'pg\\_%' order by rolname collate \"C\""
)
# One query per kind of object; names, never object numbers, so that the digest means the same on any cluster. The lines
# are sorted here, by their bytes, and not by the server, whose order is that of its locale.
SCHEMA = {
    "schemas": f"select n.nspname, pg_get_userbyid(n.nspowner), n.nspacl from pg_namespace n where {NOT_OURS}",
    "extensions": "select extname, extversion from pg_extension",
    "relations": (
        "select n.nspname, c.relname, c.relkind, c.relpersistence, pg_get_userbyid(c.relowner), c.relacl, c.reloptions,"
        " c.relrowsecurity, c.relforcerowsecurity, c.relreplident, pg_get_expr(c.relpartbound, c.oid),"
        " case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) when c.relkind in ('i', 'I') then"
        " pg_get_indexdef(c.oid) when c.relkind = 'p' then pg_get_partkeydef(c.oid) end,"
        " (select array_agg(inhparent::regclass::text order by inhseqno) from pg_inherits where inhrelid = c.oid)"
        f" from pg_class c join pg_namespace n on n.oid = c.relnamespace where {NOT_OURS}"
    ),
    "columns": (
        "select n.nspname, c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,"
        " a.attidentity, a.attgenerated, a.attcollation::regcollation::text, a.attacl, a.attoptions,"
        " pg_get_expr(d.adbin, d.adrelid) from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " join pg_namespace n on n.oid = c.relnamespace left join pg_attrdef d on d.adrelid = c.oid"
        " and d.adnum = a.attnum"
        f" where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c') and {NOT_OURS}"
    ),
    "constraints": (
        "select n.nspname, coalesce(c.conrelid::regclass::text, ''), c.conname, pg_get_constraintdef(c.oid),"
        " c.convalidated"
        f" from pg_constraint c join pg_namespace n on n.oid = c.connamespace where {NOT_OURS}"
    ),
    "functions": (
        "select n.nspname, p.oid::regprocedure::text, p.prokind, pg_get_userbyid(p.proowner), p.proacl,"
        " case when p.prokind = 'a' then '' else pg_get_functiondef(p.oid) end"
        f" from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {NOT_OURS}"
    ),
    "triggers": (
        "select t.tgrelid::regclass::text, t.tgname, t.tgenabled, pg_get_triggerdef(t.oid) from pg_trigger t"
        " where not t.tgisinternal"
    ),
    "rules": (
        "select r.ev_class::regclass::text, r.rulename, pg_get_ruledef(r.oid) from pg_rewrite r join pg_class c on"
        f" c.oid = r.ev_class join pg_namespace n on n.oid = c.relnamespace where {NOT_OURS}"
    ),
    "policies": (
        "select p.polrelid::regclass::text, p.polname, p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),"
        " pg_get_expr(p.polwithcheck, p.polrelid) from pg_policy p"
    ),
    "types": (
        "select n.nspname, t.typname, t.typtype, format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault,"
        " pg_get_userbyid(t.typowner), t.typacl,"
        " (select array_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid)"
        f" from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.typtype in ('e', 'd', 'r', 'c')"
        f" and {NOT_OURS}"
    ),
    "sequence definitions": (
        "select s.seqrelid::regclass::text, format_type(s.seqtypid, null), s.seqstart, s.seqincrement, s.seqmax,"
        " s.seqmin, s.seqcache, s.seqcycle from pg_sequence s"
    ),
    "comments": (
        "select pg_describe_object(classoid, objoid, objsubid), description from pg_description where objoid >= 16384"
    ),
}
LARGE_OBJECTS = "select loid, pageno, data from pg_largeobject order by 1, 2"
TABLES = (
    "select format('%I.%I', n.nspname, c.relname), coalesce((select string_agg(format('%I', a.attname) ||"
    " case when t.typcollation <> 0 then ' collate \"C\"' else '' end, ', ' order by k.place)"
    " from pg_index i cross join lateral unnest(i.indkey::int2[]) with ordinality k(number, place)"
    " join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number join pg_type t on t.oid = a.atttypid"
    " where i.indrelid = c.oid and i.indisprimary), '') from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    f" where c.relkind in ('r', 'm') and c.relpersistence = 'p' and c.relispopulated and {NOT_OURS}"
    ' order by n.nspname collate "C", c.relname collate "C";\n'
)
SEQUENCES = (
    "select format('select %L, last_value + log_cnt * %s::numeric, is_called from %I.%I;', format('%I.%I', n.nspname,"
    " c.relname), s.seqincrement, n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    f" join pg_sequence s on s.seqrelid = c.oid where c.relpersistence = 'p' and {NOT_OURS}"
    ' order by n.nspname collate "C", c.relname collate "C" \\gexec\n'
)
LOCK = (
    "select 'lock table ' || string_agg(format('only %I.%I', n.nspname, c.relname), ', ' order by n.nspname, c.relname)"
    " || ' in share mode;' from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    f" where c.relkind in ('r', 'p') and c.relpersistence <> 't' and {NOT_OURS} having count(*) > 0 \\gexec\n"
)


class SessionFailed(Exception):
    """psql ended, with the server's own words."""


class Session:
    """One psql whose answers are told apart by a mark that no data can hold: random, made for this session."""

    def __init__(self, request: dict[str, Any], database: str, separator: str = "\t") -> None:
        with open(os.path.join(request["data"], "postmaster.pid"), encoding="utf-8") as stream:
            lines = stream.read().split("\n")
        words = [os.path.join(request["binaries"], "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-F", separator]
        words += ["-h", lines[4].split(",")[0], "-p", lines[3], "-U", "postgres", "-d", database]
        self.mark = b"skerry-" + os.urandom(16).hex().encode()
        environment = dict(os.environ, PGOPTIONS="", PGCLIENTENCODING="")
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        stdin, stdout, stderr = self.process.stdin, self.process.stdout, self.process.stderr
        if stdin is None or stdout is None or stderr is None:
            raise SessionFailed("psql was started without pipes")
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.database = database
        self.rest = b""

    def send(self, text: str) -> None:
        try:
            self.stdin.write(text.encode() + b"\n\\echo " + self.mark + b"\n")
            self.stdin.flush()
        except BrokenPipeError:
            self.fail()

    def fail(self) -> None:
        said = self.stderr.read().decode(errors="replace").strip().splitlines()
        raise SessionFailed(self.database + ": " + (said[0] if said else "psql ended"))

    def receive(self, taken: hashlib._Hash | None = None) -> tuple[bytes, int]:
        """What came up to the mark (or only its length, when `taken` takes it)."""
        kept = []
        length = 0
        mark = self.mark + b"\n"
        pending = self.rest
        while True:
            found = pending.find(mark)
            if found >= 0:
                piece, self.rest = pending[:found], pending[found + len(mark) :]
                length += len(piece)
                if taken is not None:
                    taken.update(piece)
                else:
                    kept.append(piece)
                return b"".join(kept), length
            # The mark may lie across two readings: keep as much as it is long.
            safe = max(0, len(pending) - len(mark))
            if safe:
                length += safe
                if taken is not None:
                    taken.update(pending[:safe])
                else:
                    kept.append(pending[:safe])
                pending = pending[safe:]
            data = os.read(self.stdout.fileno(), READ_BYTES)
            if not data:
                self.fail()
            pending += data

    def ask(self, text: str) -> str:
        self.send(text)
        return self.receive()[0].decode(errors="surrogateescape").strip("\n")

    def copy(self, query: str) -> tuple[str, int]:
        """(SHA-256, length) of what COPY prints of a query."""
        taken = hashlib.sha256()
        self.send("copy (" + query + ") to stdout;")
        _, length = self.receive(taken)
        return taken.hexdigest(), length

    def rows(self, queries: Iterable[str]) -> list[list[bytes]]:
        """The lines that COPY prints of each of a few queries of moderate size, which are asked all at once."""
        asked = list(queries)
        for query in asked:
            self.send("copy (" + query + ") to stdout;")
        return [self.receive()[0].splitlines() for _ in asked]

    def close(self) -> None:
        try:
            self.stdin.close()
        except BrokenPipeError:
            pass  # psql ended by itself; its words were taken before
        self.process.wait()


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


def begin_snapshot(session: Session) -> str:
    """Hold one moment of the database; give its name among transactions."""
    session.ask(SETTINGS)
    session.ask("begin isolation level repeatable read read only;")
    return session.ask("select pg_current_snapshot();")


def digest_database(session: Session, sequences: str) -> tuple[list[list[Any]], int]:
    """Parts of one database, read in the session's snapshot."""
    parts: list[list[Any]] = []
    for name, lines in zip(SCHEMA, session.rows(SCHEMA.values())):
        parts.append([session.database, name, hashlib.sha256(b"\n".join(sorted(lines))).hexdigest()])
    made, total = session.copy(LARGE_OBJECTS)
    parts.append([session.database, "large objects", made])
    parts.append(
        [session.database, "sequences", hashlib.sha256(sequences.encode(errors="surrogateescape")).hexdigest()]
    )
    listing = session.ask(TABLES)
    for line in listing.splitlines():
        table, _, key = line.partition("\t")
        order = key or 't::text collate "C"'
        made, length = session.copy("select t.* from only " + table + " t order by " + order)
        parts.append([session.database, "table " + table, made])
        total += length
    return parts, total


def finish(request: dict[str, Any], sessions: list[Session], sequences: list[str], started: float) -> dict[str, Any]:
    made, length = sessions[0].copy(ROLES)
    parts: list[list[Any]] = [["", "roles", made]]
    total = length
    for session, values in zip(sessions, sequences):
        some, length = digest_database(session, values)
        parts += some
        total += length
    whole = hashlib.sha256(b"skerry postgresql/v1\n")
    for part in parts:
        whole.update(json.dumps(part, ensure_ascii=True).encode() + b"\n")
    return {
        "digest": "sha256:" + whole.hexdigest(),
        "parts": parts if request.get("parts") else [],
        "entries": len(parts),
        "bytes": total,
        "seconds": round(time.monotonic() - started, 4),
    }


def read_catalog(session: Session) -> None:
    """Have a server that was just asked for its first session read of the catalog what a digest asks of it."""
    begin_snapshot(session)
    session.rows(SCHEMA.values())
    for question in (SEQUENCES, TABLES, "rollback;"):
        session.ask(question)


def digest(request: dict[str, Any]) -> dict[str, Any]:
    sessions = [Session(request, name) for name in sorted(request["databases"])]
    try:
        return digest_over(request, sessions)
    finally:
        for session in sessions:
            session.close()


def digest_over(request: dict[str, Any], sessions: list[Session]) -> dict[str, Any]:
    """Of each database at one moment of its own: equal at both ends when nothing writes.

    The sessions are left within their transactions.
    """
    started = time.monotonic()
    for session in sessions:
        begin_snapshot(session)
    sequences = [session.ask(SEQUENCES) for session in sessions]
    result = finish(request, sessions, sequences, started)
    result["lsn"] = sessions[0].ask(
        "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end;"
    )
    return result


def await_release(lsn: str, deadline: float) -> None:
    """Say that the moment is named, and keep writers waiting until the file that is said exists, or the time is up."""
    folder = tempfile.mkdtemp(prefix="skerry-moment-")
    release = os.path.join(folder, "release")
    try:
        say("moment", {"lsn": lsn, "release": release})
        while not os.path.exists(release) and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hold(request: dict[str, Any]) -> dict[str, Any]:
    """One moment over all databases, named in the log; then its digest."""
    started = time.monotonic()
    names = sorted(request["databases"])
    for _ in range(ATTEMPTS_MAX):
        lockers = [Session(request, name) for name in names]
        readers = [Session(request, name) for name in names]
        try:
            for session in lockers + readers:
                session.ask(SETTINGS)
            held_at = time.monotonic()
            limit = max(1, int(request["seconds_max"] * 1000))
            for session in lockers:
                session.ask("set lock_timeout = %d; begin;" % limit)
                session.ask(LOCK)
            # From here no table is written. The snapshots come after the locks, the name of the moment after both.
            before = [begin_snapshot(session) for session in readers]
            sequences = [session.ask(SEQUENCES) for session in readers]
            lsn = lockers[0].ask("select pg_create_restore_point('" + request["name"] + "');")
            after = [session.ask("select pg_current_snapshot();") for session in lockers]
            again = [session.ask(SEQUENCES) for session in lockers]
            settled = before == after and sequences == again
            if settled and request.get("await_release"):
                await_release(lsn, held_at + request["seconds_max"])
            for session in lockers:
                session.ask("commit;")
            waited = time.monotonic() - held_at
            if settled:
                result = finish(request, readers, sequences, started)
                result.update(lsn=lsn, writers_waited_seconds=round(waited, 4))
                return result
            # Something without a table (a new one, a sequence) moved between snapshot and name: no moment at all.
        finally:
            for session in lockers + readers:
                session.close()
    return {"unsettled": True}


def main() -> None:
    request = json.loads(sys.argv[1])
    try:
        say("result", hold(request) if request.get("name") else digest(request))
    except SessionFailed as error:
        say("result", {"failed": str(error)})
    except FileNotFoundError as error:
        say("result", {"failed": "%s: %s" % (error.filename, os.strerror(error.errno or 0))})


if __name__ == "__main__":
    main()
