"""One cluster on one host: its programs, its SQL, its unit, its control file."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.contracts.authority import Order
from orchestrator.contracts.databases import SERVER_USER, Role
from orchestrator.contracts.programs import run_program
from orchestrator.contracts.transport import CommandResult, Transport
from orchestrator.foundation.errors import AuthorityError, CommandFailed, DataError, MissingTool
from orchestrator.model.dataset import PostgresCluster
from orchestrator.movers.host_orders import told_order
from orchestrator.movers.postgres.ready_clusters import ReadyCluster

IN_ORDER_PROGRAM = Path(__file__).parent.parent / "host_programs" / "in_order.py"
SQL_SECONDS_MAX = 60.0
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 120.0
STANDBY_STOP_SECONDS_MAX = 5.0

# The running server itself says where it listens, so that nothing has to be configured twice. The shell reads that
# without another process: clients wait.
_WHERE = '{ read -r _; read -r _; read -r _; read -r port; read -r sockets; } 2>/dev/null < "$data/postmaster.pid"'
_PSQL = (
    'data="$1"; binaries="$2"; database="$3";'
    ' [ -r "$data/postmaster.pid" ] || { echo "no server runs on $data" >&2; exit 3; };'
    f' {_WHERE} || {{ echo "the database system is starting up" >&2; exit 3; }};'
    ' exec "$binaries/psql" -XAtq -v ON_ERROR_STOP=1 -h "${sockets%%,*}" -p "$port" -U postgres -d "$database" -f -'
)
# `missing`, `stopped`, or `running` and whether it is a standby; the last word is missing while the server starts.
_STATE = (
    'data="$1"; binaries="$2"; [ -s "$data/PG_VERSION" ] || { echo missing; exit 0; };'
    ' [ -x "$binaries/pg_ctl" ] || { echo "$binaries/pg_ctl: not found" >&2; exit 127; };'
    ' "$binaries/pg_ctl" -D "$data" status >/dev/null 2>&1 || { echo stopped; exit 0; };'
    f' {_WHERE} && standby=$("$binaries/psql" -XAtq -h "${{sockets%%,*}}" -p "$port"'
    ' -U postgres -d postgres -c "select pg_is_in_recovery()" 2>/dev/null); echo "running $standby"'
)
_STARTING = ("the database system is starting up", "not yet accepting connections", "No such file or directory")


class ClusterHost:
    """What can be asked of, and done to, one cluster where it is. All of it as the server's own user, but the unit."""

    def __init__(self, cluster: PostgresCluster, transport: Transport, ready: ReadyCluster | None = None) -> None:
        self.cluster = cluster
        self.ready = ready
        self.host = transport.host
        self.transport = transport
        self.data = self.host.path(cluster.data_directory)
        # Programs are the machine's own, also where several hosts share one file system.
        self.binaries = cluster.binaries

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_seconds: float = 60.0,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        return self.transport.run(
            words,
            stdin=stdin,
            user=SERVER_USER,
            timeout_seconds=timeout_seconds,
            check=check,
            environment={"LC_ALL": "C.UTF-8"},
            on_line=on_line,
        )

    def beside(self, data: str) -> "ClusterHost":
        """The same cluster from another data directory of the same host."""
        other = ClusterHost(self.cluster, self.transport)
        other.data = data
        return other

    def program(self, name: str) -> str:
        return f"{self.binaries}/{name}"

    def in_order(
        self, words: Sequence[str], *, order: Order, user: str, stdin: bytes = b"", timeout_seconds: float
    ) -> CommandResult:
        """As `run`, unless the host obeyed a newer order than this one: AuthorityError, and the words are not run.

        The host compares and runs them under one lock, so that nothing newer can come in between.
        """
        request = {
            **told_order(order, self.host),
            "words": list(words),
            "input": stdin.decode(),
        }
        answer = run_program(self.transport, IN_ORDER_PROGRAM, request, user=user, timeout_seconds=timeout_seconds)
        if newest := answer.get("newest"):
            raise AuthorityError(
                f"{self.host.name}: {order.system} obeyed number {newest[0]} after this order of number {order.number}"
                " was given: it came too late",
                hint="Another orchestrator has gone on meanwhile: see what it did with skerry runs.",
            )
        return CommandResult(
            exit_code=answer["code"],
            stdout=answer["said"].encode(),
            stderr=answer["complained"].encode(),
            seconds=answer["seconds"],
        )

    def sql(
        self,
        statement: str,
        *,
        database: str = "postgres",
        timeout_seconds: float = SQL_SECONDS_MAX,
        order: Order | None = None,
    ) -> str:
        """Rows of the statement, fields split by `|`. Raises DataError with the server's own words."""
        words = ["sh", "-c", _PSQL, "psql", self.data, self.binaries, database]
        stdin = statement.encode()
        if order is None:
            done = self.run(words, stdin=stdin, timeout_seconds=timeout_seconds, check=False)
        else:
            done = self.in_order(words, order=order, user=SERVER_USER, stdin=stdin, timeout_seconds=timeout_seconds)
        if done.exit_code:
            said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.exit_code}"]
            raise DataError(f"{self.host.name}: {self.cluster.name}: {said[0].removeprefix('psql:<stdin>:1: ')}")
        return done.text

    def sql_when_up(self, statement: str, *, timeout_seconds: float = START_SECONDS_MAX) -> str:
        """As `sql`, over a session that stands ready, or waiting for a server that is about to accept connections."""
        if self.ready is not None:
            said = self.ready.sql(statement, timeout_seconds=SQL_SECONDS_MAX)
            if said is not None:
                return said
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                return self.sql(statement)
            except DataError as error:
                if time.monotonic() > deadline or not any(sign in error.message for sign in _STARTING):
                    raise
            time.sleep(0.05)

    def runs(self) -> bool:
        """Whether a server runs, which may not be ready to be asked."""
        return self.run([self.program("pg_ctl"), "-D", self.data, "status"], check=False).exit_code == 0

    def role(self) -> Role:
        if self.ready is not None:
            said = self.ready.sql("select pg_is_in_recovery()", timeout_seconds=SQL_SECONDS_MAX)
            if said is not None:
                return Role.STANDBY if said == "t" else Role.PRIMARY
        done = self.run(["sh", "-c", _STATE, "state", self.data, self.binaries], check=False)
        if done.exit_code:
            why = done.stderr.decode(errors="replace").strip()
            if done.exit_code == 127:
                raise MissingTool(f"{self.host.name}: {why}", hint=f"Install PostgreSQL on {self.host.name}.")
            raise CommandFailed(f"{self.host.name}: {self.cluster.name}: {why}")
        state, _, standby = done.text.partition(" ")
        if state != "running":
            return Role(state)
        if standby not in ("t", "f"):
            standby = self.sql_when_up("select pg_is_in_recovery()")
        return Role.STANDBY if standby == "t" else Role.PRIMARY

    def control(self) -> dict[str, str]:
        """The control file, by pg_controldata's names."""
        done = self.run([self.program("pg_controldata"), "-D", self.data])
        fields = (line.partition(":") for line in done.text.splitlines())
        return {name.strip(): value.strip() for name, _, value in fields}

    def unit(self, verb: str, *, timeout_seconds: float = START_SECONDS_MAX, order: Order | None = None) -> None:
        words = ["systemctl", verb, self.cluster.service]
        if order is None:
            self.transport.run(words, user="root", timeout_seconds=timeout_seconds)
            return
        done = self.in_order(words, order=order, user="root", timeout_seconds=timeout_seconds)
        if done.exit_code:
            why = done.stderr.decode(errors="replace").strip() or f"exit code {done.exit_code}"
            raise CommandFailed(f"{self.host.name}: {' '.join(words)}: {why}")

    def start(self, *, order: Order | None = None) -> Role:
        """Start the unit and wait until the server answers."""
        role = self.role()
        if role is Role.MISSING:
            raise DataError(f"{self.host.name}: {self.cluster.name} has no data directory at {self.data}")
        if role is Role.STOPPED:
            self.unit("start", order=order)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            answer = self.role()
            if answer is not Role.STOPPED:
                return answer
            if time.monotonic() > deadline:
                raise DataError(
                    f"{self.host.name}: {self.cluster.name} did not start: {self.log_end()}",
                    hint=f"Look at: systemctl status {self.cluster.service} on {self.host.name}",
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop cleanly: clients are sent away, standbys get every byte, the last checkpoint is written."""
        if self.role() is not Role.STOPPED:
            self._pg_ctl_stop("fast", STOP_SECONDS_MAX)
        self._stopped()

    def _pg_ctl_stop(self, mode: str, seconds: float) -> bool:
        """Whether it stopped in time."""
        words = [self.program("pg_ctl"), "-D", self.data, "-m", mode, "-w", "-t", str(int(seconds)), "stop"]
        return self.run(words, timeout_seconds=seconds + 10, check=False).exit_code == 0

    def _stopped(self) -> None:
        self.unit("stop", timeout_seconds=STOP_SECONDS_MAX)
        if self.role() is not Role.STOPPED:
            raise DataError(f"{self.host.name}: {self.cluster.name} did not stop within {STOP_SECONDS_MAX:g} s")

    def restart_standby(self) -> Role:
        """Stop and start a standby; one that waits for those below it is cut short.

        It writes nothing of its own, and goes on from its last restart point; so do they.
        """
        role = self.role()
        if role is Role.PRIMARY:
            raise DataError(
                f"{self.host.name}: {self.cluster.name} takes writes there; it is not restarted as a standby"
            )
        if role is Role.STANDBY and not self._pg_ctl_stop("fast", STANDBY_STOP_SECONDS_MAX):
            self._pg_ctl_stop("immediate", STOP_SECONDS_MAX)
        self._stopped()
        return self.start()

    def log_end(self) -> str:
        """The last words of the server's unit, for messages."""
        words = ["sh", "-c", 'journalctl -n 3 -o cat -u "$1" 2>/dev/null || tail -n 3 "/var/log/$1.service.log"', "log"]
        done = self.transport.run([*words, self.cluster.service], user="root", check=False)
        return " / ".join(done.text.splitlines()[-3:]) or "its log says nothing"

    def read(self, name: str) -> str:
        """A small file of the data directory."""
        return self.transport.read_file(f"{self.data}/{name}", user=SERVER_USER).decode()

    def write(self, path: str, text: str, *, mode: int = 0o600) -> None:
        self.transport.write_file(path, text.encode(), mode=mode, user=SERVER_USER)
