"""Clones of held data, so that a bubble may write: by shared blocks, by a layer of its own on top, or by copying."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import Any

from orchestrator.hosts.host_programs.bubble.namespaces import Refused


def clone(dataset: dict[str, Any], folder: str) -> dict[str, Any]:
    """How the bubble gets one dataset: `merged` is where it lies once mounted, `places` what shows it where.

    `from` is the held data and is never written. A layer on top costs nothing whatever the size; it needs a file
    system that can carry one, and is tried before anything is copied. Of an image, whoever starts a machine from it
    lays blocks over it: it gets an empty folder for them.
    """
    started = time.monotonic()
    held, place = dataset["from"], os.path.join(folder, dataset["name"])
    made = {"dataset": dataset["name"], "from": held, "places": dataset["places"], "bytes_max": dataset["bytes_max"]}
    if dataset["image"]:
        if not os.path.exists(held):
            raise Refused("%s: what is held is not there: %s" % (dataset["name"], held))
        own = os.path.join(place, "merged")
        os.makedirs(own, mode=0o755)
        return {**made, "how": "blocks", "merged": own, "seconds": round(time.monotonic() - started, 3)}
    if not os.path.isdir(held):
        raise Refused("%s: what is held is not there: %s" % (dataset["name"], held))
    paths = {part: os.path.join(place, part) for part in ("upper", "work", "merged")}
    for path in paths.values():
        os.makedirs(path, mode=0o755)
    how = "overlay" if carries_layers(held, paths) else "reflink"
    if how == "reflink":
        os.rmdir(paths["merged"])
        how = copy(held, paths["merged"])
    if dataset["bytes_max"] and how != "overlay":
        raise Refused("%s: only a layer can be kept small, and this host carries none" % dataset["name"])
    return {**made, **paths, "how": how, "seconds": round(time.monotonic() - started, 3)}


def carries_layers(held: str, paths: dict[str, str]) -> bool:
    """Tried where nobody sees it: a mount of our own namespace, gone when it ends."""
    data = "lowerdir=%s,upperdir=%s,workdir=%s" % (held, paths["upper"], paths["work"])
    words = ["unshare", "-m", "--propagation", "private", "mount", "-t", "overlay", "overlay", "-o", data]
    usable = not any(sign in path for path in [held, *paths.values()] for sign in ",:\\")
    fine = usable and subprocess.run([*words, paths["merged"]], capture_output=True).returncode == 0
    for part in ("upper", "work"):
        shutil.rmtree(paths[part], ignore_errors=True)
        os.makedirs(paths[part], mode=0o755)
    shutil.copystat(held, paths["upper"])
    owner = os.stat(held)
    os.chown(paths["upper"], owner.st_uid, owner.st_gid)
    return fine


def copy(held: str, to: str) -> str:
    """Blocks shared where the file system shares them, else copied; which of both."""
    for how, option in (("reflink", "always"), ("copy", "never")):
        done = subprocess.run(["cp", "-a", "--reflink=" + option, held, to], capture_output=True, text=True)
        if done.returncode == 0:
            return how
        shutil.rmtree(to, ignore_errors=True)
    raise Refused("copying %s: %s" % (held, done.stderr.strip().splitlines()[-1] if done.stderr else "cp failed"))


def open_cluster(cluster: dict[str, Any]) -> None:
    """Let a held PostgreSQL cluster open by itself, replayed to just its moment, when its unit starts it."""
    data = cluster["data"]
    owner = os.stat(data)
    # Nothing of a bubble is to survive a crash; and to sync every file first would copy all of them into the layer.
    target = cluster["lsn"] if reaches(cluster) else ""
    settings = [
        "fsync = off", "restore_command = 'false'", "archive_mode = off", "synchronous_standby_names = ''",
        "wal_keep_size = '1GB'", "primary_conninfo = ''", "primary_slot_name = ''",
        "recovery_target_action = 'promote'",
        "recovery_target_inclusive = off", "recovery_target_lsn = '%s'" % target,
    ]  # fmt: skip
    with open(os.path.join(data, "postgresql.auto.conf"), "a", encoding="utf-8") as stream:
        stream.write("\n# a drill's bubble\n" + "\n".join(settings) + "\n")
    for name in ("standby.signal", "postmaster.pid"):
        if os.path.exists(os.path.join(data, name)):
            os.unlink(os.path.join(data, name))
    signal_file = os.path.join(data, "recovery.signal")
    with open(signal_file, "w", encoding="ascii"):
        os.chown(signal_file, owner.st_uid, owner.st_gid)


def reaches(cluster: dict[str, Any]) -> bool:
    """Whether the log goes on at the moment; it may end just there, and a target that is not reached is an error."""
    words = [os.path.join(cluster["binaries"], "pg_waldump"), "-p", os.path.join(cluster["data"], "pg_wal")]
    control = subprocess.run(
        [os.path.join(cluster["binaries"], "pg_controldata"), "-D", cluster["data"]],
        capture_output=True, text=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    if control.returncode:
        raise Refused("%s: %s" % (cluster["name"], control.stderr.strip()))
    lines = dict(line.partition(":")[::2] for line in control.stdout.splitlines())
    timeline = lines["Latest checkpoint's TimeLineID"].strip()
    words += ["-t", timeline, "-s", cluster["lsn"], "-n", "1"]
    return subprocess.run(words, capture_output=True).returncode == 0
