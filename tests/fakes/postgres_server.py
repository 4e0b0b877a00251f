"""A throwaway PostgreSQL server for tests: its own folder, a socket in it, no TCP port."""

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARIES = Path("/usr/lib/postgresql/15/bin")


class PostgresServer:
    """A running server. It refuses root, so root runs it as the `postgres` user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._user = "postgres" if os.geteuid() == 0 else None
        folder.mkdir(parents=True)
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "-D", f"{folder}/data", "-U", "skerry", "--auth=trust", "--no-sync")

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-o", options, "-w", "-l", f"{self.folder}/log", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", mode, "-w", "stop")

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"skerry_{secrets.token_hex(4)}"
        self._run("createdb", "-h", str(self.folder), "-U", "skerry", name)
        return f"postgresql://skerry@/{name}?host={self.folder}"

    def _run(self, program: str, *words: str) -> None:
        command = [str(BINARIES / program), *words]
        subprocess.run(
            command, check=True, capture_output=True, text=True, user=self._user, cwd="/", env={"LC_ALL": "C.UTF-8"}
        )


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server for as long as the block lasts; a short path, for sockets have room for 107 characters."""
    folder = Path(f"/tmp/skerry-pg-{secrets.token_hex(4)}")
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        subprocess.run(
            [str(BINARIES / "pg_ctl"), "-D", f"{folder}/data", "-m", "immediate", "-w", "stop"],
            check=False,
            capture_output=True,
            user="postgres" if os.geteuid() == 0 else None,
            cwd="/",
        )
        shutil.rmtree(folder, ignore_errors=True)
