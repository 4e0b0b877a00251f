"""The ledger of workers on several machines, in our tables: one order of entries, whichever machine they come from."""

from collections.abc import Sequence

import sqlalchemy as sa

from orchestrator.contracts.shared_ledger import SharedHead, Unnumbered
from orchestrator.engine.database import Database
from orchestrator.engine.tables import ledger_about, ledger_artifacts, ledger_entries, ledger_heads, ledger_runs

_ORDER = 1  # who gives places in the log does so alone
_HEADS = 2


class DatabaseSharedLedger:
    """A log in our tables; the laws stand at contracts.shared_ledger.SharedLedger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def found(self, words: dict[str, str], entries: Sequence[tuple[str, int, bytes]]) -> bool:
        with self._database.writing_alone(_ORDER) as connection:
            if connection.execute(sa.select(ledger_about.c.name).limit(1)).first() is not None:
                return False
            about = [{"name": name, "value": value} for name, value in words.items()]
            places = [{"place": place, "data": data} for place, (_, _, data) in enumerate(entries)]
            following = {run: number + 1 for run, number, _ in entries}
            numbers = [{"run": run, "next_number": number} for run, number in following.items()]
            for table, rows in ((ledger_about, about), (ledger_entries, places), (ledger_runs, numbers)):
                self._database.add_new(connection, table, rows)
            return True

    def about(self) -> dict[str, str]:
        with self._database.reading() as connection:
            return {row.name: row.value for row in connection.execute(sa.select(ledger_about))}

    def size(self) -> int:
        with self._database.reading() as connection:
            return self._size(connection)

    def append(self, entries: Sequence[Unnumbered]) -> range:
        with self._database.writing_alone(_ORDER) as connection:
            first = self._size(connection)
            query = sa.select(ledger_runs).where(ledger_runs.c.run.in_({entry.run for entry in entries}))
            numbers = {row.run: row.next_number for row in connection.execute(query)}
            rows = []
            for place, entry in enumerate(entries, start=first):
                number = numbers.get(entry.run, 0)
                numbers[entry.run] = number + 1
                rows.append({"place": place, "data": entry.numbered(number)})
            connection.execute(sa.insert(ledger_entries), rows)
            for run, number in numbers.items():
                self._database.put(connection, ledger_runs, {"run": run, "next_number": number})
        return range(first, first + len(rows))

    def entries(self, first: int, *, limit: int) -> Sequence[bytes]:
        query = sa.select(ledger_entries.c.data).where(ledger_entries.c.place >= first)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(ledger_entries.c.place).limit(limit)).scalars()
            return [bytes(data) for data in found]

    def heads(self, *, after: int) -> Sequence[SharedHead]:
        query = sa.select(ledger_heads).where(ledger_heads.c.number > after).order_by(ledger_heads.c.number)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [SharedHead(row.number, row.size, bytes(row.root), row.note) for row in rows]

    def settle(self, size: int, root: bytes) -> bytes:
        with self._database.writing_alone(_HEADS) as connection:
            self._database.add_once(connection, ledger_heads, {"size": size, "root": root})
            kept = sa.select(ledger_heads.c.root).where(ledger_heads.c.size == size)
            return bytes(connection.execute(kept).scalar_one())

    def sign(self, size: int, note: str) -> str:
        with self._database.writing_alone(_HEADS) as connection:
            unsigned = (ledger_heads.c.size == size) & ledger_heads.c.note.is_(None)
            newest = connection.execute(sa.select(sa.func.max(ledger_heads.c.number))).scalar() or 0
            connection.execute(sa.update(ledger_heads).where(unsigned).values(note=note, number=newest + 1))
            kept = sa.select(ledger_heads.c.note).where(ledger_heads.c.size == size)
            return str(connection.execute(kept).scalar_one())

    def keep_artifact(self, digest: str, content: bytes) -> None:
        with self._database.writing() as connection:
            self._database.add_once(connection, ledger_artifacts, {"digest": digest, "content": content})

    def artifact(self, digest: str) -> bytes | None:
        query = sa.select(ledger_artifacts.c.content).where(ledger_artifacts.c.digest == digest)
        with self._database.reading() as connection:
            content = connection.execute(query).scalar_one_or_none()
        return None if content is None else bytes(content)

    def _size(self, connection: sa.Connection) -> int:
        last = connection.execute(sa.select(sa.func.max(ledger_entries.c.place))).scalar()
        return 0 if last is None else int(last) + 1
