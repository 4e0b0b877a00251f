"""Runs restic on the host that holds a recovery point: store, restore, clear.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only, and restic.

The secrets come after the program on standard input, and go on to restic as files that exist in memory alone: no word,
no environment and no file system of the host ever holds them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TELL_EVERY_SECONDS = 1.0
LINES_KEPT = 20


class Refused(Exception):
    """restic ended with an error, in its own words."""

    def __init__(self, exit_code: int, said: str) -> None:
        super().__init__(said)
        self.exit_code = exit_code


def say(kind: str, value: dict[str, Any]) -> None:
    sys.stdout.write(kind + " " + json.dumps(value) + "\n")
    sys.stdout.flush()


def in_memory(name: str, text: str) -> int:
    """A file without a name; restic opens it through /proc/self/fd."""
    number = os.memfd_create(name, 0)
    os.write(number, text.encode())
    return number


class Restic:
    """restic with its secrets, for one repository."""

    def __init__(self, program: str, request: dict[str, Any], secrets: dict[str, str]) -> None:
        self.program = program
        keys = "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n"
        self.files = [
            in_memory("password", secrets["password"]),
            in_memory("keys", keys % (secrets["access_key"], secrets["secret_key"])),
        ]
        self.environment = {
            "PATH": PATHS,
            "LC_ALL": "C.UTF-8",
            "RESTIC_REPOSITORY": request["repository"],
            "RESTIC_PASSWORD_FILE": "/proc/self/fd/%d" % self.files[0],
            "AWS_SHARED_CREDENTIALS_FILE": "/proc/self/fd/%d" % self.files[1],
            "AWS_DEFAULT_REGION": request["region"],
        }
        self.words = [program, "--no-cache", "--json"]
        if request.get("path_style"):
            self.words += ["-o", "s3.bucket-lookup=path"]

    def run(self, *words: str) -> list[dict[str, Any]]:
        """What it says, as JSON; raises Refused. Status lines are told on, not kept."""
        process = subprocess.Popen(
            [*self.words, *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self.files,
            cwd="/",
        )
        kept: list[dict[str, Any]] = []
        other: list[str] = []
        told = 0.0
        if process.stdout is None:
            raise Refused(1, "restic was started without a pipe")
        for raw in process.stdout:
            line = raw.decode(errors="replace").strip()
            try:
                value = json.loads(line)
            except ValueError:
                other = [*other, line][-LINES_KEPT:] if line else other
                continue
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, dict):
                    continue
                if one.get("message_type") == "status":
                    if time.monotonic() - told > TELL_EVERY_SECONDS:
                        told = time.monotonic()
                        done, total = one.get("bytes_done", 0), one.get("total_bytes", 0)
                        say("progress", {"bytes_done": done, "bytes_total": total})
                elif one.get("message_type") == "error":
                    other.append("%s: %s" % (one.get("item", ""), one.get("error", "")))
                else:
                    kept.append(one)
        exit_code = process.wait()
        if exit_code:
            raise Refused(exit_code, " / ".join(other) or "exit code %d" % exit_code)
        return kept


def prepare(restic: Restic) -> dict[str, Any]:
    version = subprocess.run([restic.program, "version"], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    try:
        restic.run("cat", "config")
        made = False
    except Refused as refused:
        # Only a repository that is not there is made: a wrong password must not make another one.
        absent = ("unable to open config file", "Is there a repository at the following location")
        if not any(sign in str(refused) for sign in absent):
            raise
        restic.run("init")
        made = True
    if not made:
        restic.run("unlock")  # removes what a run that was killed on this host left, and no lock of the living
    return {"version": version, "made": made}


def store(restic: Restic, request: dict[str, Any]) -> dict[str, Any]:
    words = ["backup", "--host", request["reader"]]
    for tag in request["tags"]:
        words += ["--tag", tag]
    said = restic.run(*words, "--", request["path"])
    (summary,) = [one for one in said if one.get("message_type") == "summary"]
    return {
        "snapshot": summary["snapshot_id"],
        "bytes": summary["total_bytes_processed"],
        "added": summary["data_added"],
        "files": summary["total_files_processed"],
    }


def restore(restic: Restic, request: dict[str, Any]) -> dict[str, Any]:
    folder = request["folder"]
    parent = os.path.dirname(folder)
    # Another user may have to reach what is restored; what it holds keeps the modes it had.
    os.makedirs(parent, mode=0o711, exist_ok=True)
    if os.path.lexists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise Refused(1, folder + ": is not empty")
    held = os.statvfs(parent)
    free = held.f_bavail * held.f_frsize
    if free < request["bytes"]:
        return {"no_space": True, "free": free}
    # restic puts it below its whole path; only what was asked for is put in place, when it is whole.
    aside = folder + ".restoring"
    clear(aside)
    try:
        restic.run("restore", request["snapshot"], "--target", aside)
        found = os.path.join(aside, request["path"].lstrip("/"))
        if not os.path.lexists(found):
            raise Refused(1, "the copy holds nothing at " + request["path"])
        if os.path.lexists(folder):
            os.rmdir(folder)
        os.rename(found, folder)
    finally:
        clear(aside)
    return {"path": folder}


def clear(folder: str) -> dict[str, Any]:
    if os.path.lexists(folder):
        shutil.rmtree(folder)
    return {"cleared": folder}


def main() -> None:
    request = json.loads(sys.argv[2])
    secrets = json.loads(sys.stdin.buffer.read() or b"{}")
    if request["do"] == "clear":
        say("result", clear(request["folder"]))
        return
    program = shutil.which("restic", path=PATHS)
    if program is None:
        say("result", {"missing": "restic"})
        return
    os.environ["TMPDIR"] = tempfile.gettempdir()
    restic = Restic(program, request, secrets)
    try:
        if request["do"] == "prepare":
            say("result", prepare(restic))
        elif request["do"] == "store":
            say("result", store(restic, request))
        else:
            say("result", restore(restic, request))
    except Refused as refused:
        say("result", {"refused": str(refused), "exit_code": refused.exit_code})


if __name__ == "__main__":
    main()
