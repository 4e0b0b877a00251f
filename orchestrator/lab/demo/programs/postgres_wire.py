"""A small PostgreSQL client: the version 3 protocol over a unix socket, one statement at a time, text values.

Authentication is the socket's (`trust` or `peer`); a server that asks for more is refused. PostgreSQL 15 documentation,
chapter 55 (frontend/backend protocol).
"""

import queue
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

STATEMENT_SECONDS_MAX = 30.0


class DatabaseUnavailable(OSError):
    """The server is away, ended the connection, or does not take writes now. The statement's outcome is unknown."""


class StatementRefused(Exception):
    """The server answered with an error. `sqlstate` is its five letters."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(f"{sqlstate}: {message}")
        self.sqlstate = sqlstate


def _packet(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return kind + struct.pack("!I", len(body) + 4) + body


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


class Connection:
    """One session. Not for several threads at once."""

    def __init__(self, socket_path: str, *, user: str, database: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(STATEMENT_SECONDS_MAX)
        try:
            self._socket.connect(socket_path)
            self._stream = self._socket.makefile("rb")
            settings = (_text("user"), _text(user), _text("database"), _text(database), b"\0")
            self._socket.sendall(_packet(b"", struct.pack("!I", 3 << 16), *settings))
            self._await_ready()
        except StatementRefused as error:
            self.close()
            raise DatabaseUnavailable(str(error)) from error
        except OSError as error:
            self.close()
            raise DatabaseUnavailable(f"{socket_path}: {error}") from error

    def close(self) -> None:
        self._socket.close()

    def run(self, statement: str, parameters: Sequence[str | int | None] = ()) -> list[tuple[str | None, ...]]:
        """The rows, each value as text or None. With autocommit: when it returns, the statement is committed."""
        values = b"".join(
            struct.pack("!i", -1) if value is None else struct.pack("!I", len(raw := str(value).encode())) + raw
            for value in parameters
        )
        try:
            self._socket.sendall(
                _packet(b"P", _text(""), _text(statement), struct.pack("!H", 0))
                + _packet(b"B", b"\0\0", struct.pack("!HH", 0, len(parameters)), values, struct.pack("!H", 0))
                + _packet(b"E", b"\0", struct.pack("!I", 0))
                + _packet(b"S")
            )
            return self._await_ready()
        except OSError as error:
            raise DatabaseUnavailable(str(error)) from error

    def _read(self) -> tuple[bytes, bytes]:
        head = self._stream.read(5)
        if len(head) < 5:
            raise DatabaseUnavailable("the server ended the connection")
        length = int(struct.unpack("!I", head[1:])[0]) - 4
        body = self._stream.read(length)
        if len(body) < length:
            raise DatabaseUnavailable("the server ended the connection")
        return head[:1], body

    def _await_ready(self) -> list[tuple[str | None, ...]]:
        """Read until the server is ready for the next statement; the first error it told is raised then."""
        rows: list[tuple[str | None, ...]] = []
        error: StatementRefused | None = None
        while True:
            kind, body = self._read()
            if kind == b"Z":
                if error:
                    raise error
                return rows
            if kind == b"D":
                rows.append(_row(body))
            elif kind == b"E":
                error = error or _refusal(body)
                if error.sqlstate[:2] in ("57", "28", "53", "3D") or error.sqlstate == "":
                    # Shutdown, authorization, resources, missing database: no ready message need follow.
                    raise DatabaseUnavailable(str(error))
            elif kind == b"R" and struct.unpack("!I", body[:4])[0] != 0:
                raise DatabaseUnavailable("the server asks for a password on its unix socket")


def _row(body: bytes) -> tuple[str | None, ...]:
    count = struct.unpack("!H", body[:2])[0]
    values: list[str | None] = []
    place = 2
    for _ in range(count):
        (length,) = struct.unpack("!i", body[place : place + 4])
        place += 4
        if length < 0:
            values.append(None)
        else:
            values.append(body[place : place + length].decode())
            place += length
    return tuple(values)


def _refusal(body: bytes) -> StatementRefused:
    fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
    return StatementRefused(fields.get(b"C", ""), fields.get(b"M", "no message"))


class Pool:
    """A fixed number of sessions, opened when first needed, replaced when broken."""

    def __init__(self, socket_path: str, *, user: str, database: str, size: int) -> None:
        self._wanted = (socket_path, user, database)
        self._idle: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(size):
            self._idle.put(None)

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """One session for the length of the block."""
        try:
            held = self._idle.get(timeout=STATEMENT_SECONDS_MAX)
        except queue.Empty:
            raise DatabaseUnavailable("every session is busy") from None
        connection: Connection | None = held
        try:
            if connection is None:
                socket_path, user, database = self._wanted
                connection = Connection(socket_path, user=user, database=database)
            yield connection
        except DatabaseUnavailable:
            if connection is not None:
                connection.close()
            connection = None
            raise
        finally:
            self._idle.put(connection)

    def run(self, statement: str, parameters: Sequence[str | int | None] = ()) -> list[tuple[str | None, ...]]:
        with self.session() as session:
            return session.run(statement, parameters)
