"""Clones of a PostgreSQL cluster on the host that has it: held at a moment, proved by running them.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only, and the
programs of PostgreSQL. It runs as the server's own user.

`hold` takes a base backup of the running cluster over its own socket, reads it whole against its manifest, and marks it
whole. `prove` works on a copy: it is replayed to just the moment, opened on a socket that nobody else reaches, shown to
whoever asked (who digests it), checked by amcheck, stopped cleanly, its page checksums read, and taken away. `carry`
opens the clone itself, with all that the log of another server, stopped cleanly, holds beyond it; it is shown likewise.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

START_SECONDS_MAX = 3600.0
MARK = "whole"
# What recovery refuses to be smaller than at the primary; pg_controldata's name, and the setting's.
AT_LEAST = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
# Nothing of the cluster's own configuration is read: it may archive, listen, or load what must not run here.
SETTINGS = """\
listen_addresses = ''
hba_file = '{folder}/hba.conf'
ident_file = '{folder}/ident.conf'
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
wal_level = replica
hot_standby = on
archive_mode = off
autovacuum = off
fsync = off
restore_command = '{restore_command}'
primary_conninfo = ''
primary_slot_name = ''
shared_preload_libraries = ''
session_preload_libraries = ''
logging_collector = off
recovery_target_action = 'promote'
"""


class Refused(Exception):
    """A program ended badly, with its own words."""


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


class Programs:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}

    def there(self, name: str) -> bool:
        return os.access(os.path.join(self.folder, name), os.X_OK)

    def run(self, name: str, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [os.path.join(self.folder, name), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
        )
        return done.returncode, done.stdout.decode(errors="replace").strip()

    def must(self, name: str, *words: str) -> str:
        exit_code, said = self.run(name, *words)
        if exit_code:
            raise Refused(name + ": " + " / ".join(said.splitlines()[-3:]))
        return said

    def control(self, data: str) -> dict[str, str]:
        pairs = (line.partition(":") for line in self.must("pg_controldata", "-D", data).splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}


def spaces_of(data: str) -> list[tuple[str, str]]:
    """(oid, where it points) of each tablespace outside the data directory."""
    folder = os.path.join(data, "pg_tblspc")
    links = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [(name, os.readlink(os.path.join(folder, name))) for name in links]


def hold(request: dict[str, Any], programs: Programs) -> dict[str, Any]:
    """A clone below `clone`: `data`, and `space-<oid>` for each tablespace. One of this moment is left as it is.

    One of another moment is what a try held that was broken off before anybody knew of it.
    """
    clone, moment = request["clone"], "at %s\n" % request["lsn"]
    mark = mark_of(clone)
    if mark == moment:
        return {"held": False, "bytes": size_of(clone)}
    if mark:
        os.unlink(os.path.join(clone, MARK))  # first: what is taken away by halves is not whole
    shutil.rmtree(clone, ignore_errors=True)
    os.makedirs(clone, mode=0o700)
    with open(os.path.join(request["data"], "postmaster.pid"), encoding="utf-8") as stream:
        lines = stream.read().split("\n")
    words = ["-h", lines[4].split(",")[0], "-p", lines[3], "-U", "postgres", "--no-password"]
    words += ["-D", os.path.join(clone, "data"), "--wal-method=stream", "--checkpoint=fast"]
    words += ["--manifest-checksums=SHA256"]
    for oid, location in spaces_of(request["data"]):
        pair = (path.replace("=", "\\=") for path in (location, os.path.join(clone, "space-" + oid)))
        words.append("--tablespace-mapping=" + "=".join(pair))
    programs.must("pg_basebackup", *words)
    programs.must("pg_verifybackup", "--exit-on-error", os.path.join(clone, "data"))
    with open(os.path.join(clone, MARK), "w", encoding="ascii") as stream:
        stream.write(moment)
        stream.flush()
        os.fsync(stream.fileno())
    os.sync()
    folder, name = os.path.split(clone)
    others = [other for other in os.listdir(folder) if other != name]
    newest_first = sorted(others, key=lambda other: os.stat(os.path.join(folder, other)).st_mtime, reverse=True)
    for other in newest_first[request["kept"] - 1 :]:
        shutil.rmtree(os.path.join(folder, other), ignore_errors=True)
    return {"held": True, "bytes": size_of(clone)}


def mark_of(clone: str) -> str:
    """The moment that it holds, once it is whole; "" before."""
    try:
        with open(os.path.join(clone, MARK), encoding="ascii") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def size_of(folder: str) -> int:
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names)


def prove(request: dict[str, Any], programs: Programs) -> dict[str, Any]:
    clone, scratch = request["clone"], request["scratch"]
    found: dict[str, str] = {}
    # Where it was restored from somewhere else, its tablespaces lie beside it again.
    retarget(clone)
    programs.must("pg_verifybackup", "--exit-on-error", os.path.join(clone, "data"))
    found["pg_verifybackup"] = "passed: every file is as the manifest says"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        exit_code = subprocess.run(["cp", "-a", "--reflink=auto", clone, scratch]).returncode
        if exit_code:
            raise Refused("cp ended with %d" % exit_code)
        retarget(scratch)
        data = os.path.join(scratch, "data")
        with tempfile.TemporaryDirectory(prefix="skerry-clone-") as socket:
            server = start(data, socket, request["lsn"], programs)
            try:
                await_primary(data, socket, server, programs)
                show(data, socket, request["limit_seconds"])
                found["amcheck"] = amcheck(socket, programs)
            finally:
                stop(server)
        found["pg_checksums"] = checksums(data, programs)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"checks": found}


def carry(request: dict[str, Any], programs: Programs) -> dict[str, Any]:
    """Into the clone, what the server of `written` wrote since: by its log, to its last word."""
    data = os.path.join(request["clone"], "data")
    retarget(request["clone"])
    restore = 'cp "%s/pg_wal/%%f" "%%p"' % request["written"]
    with tempfile.TemporaryDirectory(prefix="skerry-carry-") as socket:
        server = start(data, socket, "", programs, restore_command=restore)
        try:
            await_primary(data, socket, server, programs)
            show(data, socket, request["limit_seconds"])
        finally:
            stop(server)
    return {"timeline": programs.control(data)["Latest checkpoint's TimeLineID"]}


def retarget(clone: str) -> None:
    for oid, location in spaces_of(os.path.join(clone, "data")):
        beside = os.path.join(clone, "space-" + oid)
        if location != beside:
            link = os.path.join(clone, "data", "pg_tblspc", oid)
            os.unlink(link)
            os.symlink(beside, link)


def start(
    data: str, socket: str, lsn: str, programs: Programs, restore_command: str = "false"
) -> subprocess.Popen[bytes]:
    """To `lsn`; without one, to the end of what `restore_command` brings."""
    control = programs.control(data)
    text = SETTINGS.format(folder=data, socket=socket, restore_command=restore_command)
    text += "".join("%s = %s\n" % (name, control[key]) for key, name in AT_LEAST.items() if key in control)
    # The log may end just there, and recovery fails on a target that it never reaches.
    timeline = control["Latest checkpoint's TimeLineID"]
    words = ["-p", os.path.join(data, "pg_wal"), "-t", timeline, "-s", lsn, "-n", "1"]
    if lsn and programs.run("pg_waldump", *words)[0] == 0:
        text += "recovery_target_lsn = '%s'\nrecovery_target_inclusive = off\n" % lsn
    files = {"hba.conf": "local all all trust\n", "ident.conf": "", "postgresql.auto.conf": "", "recovery.signal": ""}
    for name, content in {**files, "skerry.conf": text}.items():
        with open(os.path.join(data, name), "w", encoding="utf-8") as stream:
            stream.write(content)
    for name in ("standby.signal", "postmaster.pid"):
        if os.path.exists(os.path.join(data, name)):
            os.unlink(os.path.join(data, name))
    with open(os.path.join(data, "skerry.log"), "wb") as log:
        words = [os.path.join(programs.folder, "postgres"), "-D", data, "-c", "config_file=%s/skerry.conf" % data]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=programs.environment)


def await_primary(data: str, socket: str, server: subprocess.Popen[bytes], programs: Programs) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    question = ["-XAtq", "-h", socket, "-U", "postgres", "-d", "postgres", "-c", "select pg_is_in_recovery()"]
    while True:
        exit_code, said = programs.run("psql", *question)
        if exit_code == 0 and said == "f":
            return
        if server.poll() is not None or time.monotonic() > deadline:
            with open(os.path.join(data, "skerry.log"), errors="replace") as stream:
                last = [line.strip() for line in stream if "FATAL" in line or "PANIC" in line][-2:]
            raise Refused("the clone does not open: " + (" / ".join(last) or "it does not answer"))
        time.sleep(0.1)


def show(data: str, socket: str, limit_seconds: float) -> None:
    """Let whoever asked look at it, until the file that is said exists."""
    release = os.path.join(socket, "release")
    say("open", {"data": data, "release": release})
    deadline = time.monotonic() + limit_seconds
    while not os.path.exists(release):
        if time.monotonic() > deadline:
            raise Refused("nobody came to let the clone go on")
        time.sleep(0.02)


def amcheck(socket: str, programs: Programs) -> str:
    """Indexes and tables against each other. The clone takes writes, so the extension is put in where it is there."""
    share = programs.must("pg_config", "--sharedir")
    if not programs.there("pg_amcheck") or not os.path.exists(os.path.join(share, "extension", "amcheck.control")):
        return "not shown: the extension amcheck is not installed here"
    words = ["-h", socket, "-U", "postgres", "--no-password", "--all", "--install-missing", "--heapallindexed"]
    exit_code, said = programs.run("pg_amcheck", *words)
    if exit_code:
        raise Refused("pg_amcheck: " + " / ".join(said.splitlines()[:5]))
    return "passed: every index holds what its table holds"


def checksums(data: str, programs: Programs) -> str:
    exit_code, said = programs.run("pg_checksums", "--check", "-D", data)
    if exit_code == 0:
        return "passed: every page"
    if "data checksums are not enabled" in said:
        return "not shown: the cluster has no data checksums"
    raise Refused("pg_checksums: " + " / ".join(said.splitlines()[:5]))


def stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(120)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)
            server.wait()


def end(_number: int, _frame: Any) -> None:
    raise Refused("ended from outside")


def main() -> None:
    request = json.loads(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    programs = Programs(request["binaries"])
    try:
        if request["do"] == "hold":
            result = hold(request, programs)
        elif request["do"] == "prove":
            result = prove(request, programs)
        elif request["do"] == "carry":
            result = carry(request, programs)
        else:
            shutil.rmtree(request["clone"], ignore_errors=True)
            result = {"dropped": request["clone"]}
        say("result", result)
    except Refused as refused:
        say("result", {"failed": str(refused)})
    except OSError as error:
        no_space = error.errno == 28
        say("result", {"failed": "%s: %s" % (error.filename, error.strerror), "no_space": no_space})


if __name__ == "__main__":
    main()
