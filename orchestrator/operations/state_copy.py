"""Copies of the state: all that must not be lost of a home, in one file, and a home made of it on another machine.

The file holds the state of runs, the ledger with its keys, and the keys with which hosts are reached: keep it as you
keep those keys. Left out is what is made anew: the durable engine's own records, the published form of the log.
Where a database is shared, its state and entries are the database's to keep; the file has the rest.
"""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator import __version__
from orchestrator.engine.restored_store import mark_restored
from orchestrator.evidence.log import Publisher
from orchestrator.foundation.clock import Clock, SystemClock, timestamp
from orchestrator.foundation.database_name import named_database
from orchestrator.foundation.errors import EngineUnavailable, UsageError
from orchestrator.foundation.places import ledger_folder, skerry_home, state_database
from orchestrator.wiring.ledger import log_origin

FORMAT = 1
ABOUT = "about.json"
_STATE = "state.db"
_LEDGER = "ledger/ledger.db"
# Made anew, or of this machine alone.
_LEFT_OUT = ("ledger/log/", "ledger/ballast", "ledger/lock", "ledger/publishing", "ledger/ledger.db")
_BESIDE = ("transfer_ca", "learned_host_keys", "ledger")


def back_up(target: Path, clock: Clock | None = None) -> dict[str, Any]:
    """Copy the state of this home into `target`, whole or not at all, also while a worker runs; what was copied.

    State before ledger: what the ledger tells beyond the state is told again, nothing is missing. Raises UsageError
    where there is nothing to copy, EngineUnavailable where a database cannot be read.
    """
    home = skerry_home()
    if not (home / "ledger").is_dir() and not state_database().exists():
        raise UsageError(f"{home} has no state yet", hint="Name the home: --home, or $SKERRY_HOME.")
    about: dict[str, Any] = {
        "format": FORMAT,
        "made_at": timestamp((clock or SystemClock()).now()),
        "skerry": __version__,
        "origin": log_origin(),
        "database": named_database() or None,
        "files": {},
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".skerry-copy-", dir=target.parent) as scratch:
        whole = Path(scratch) / "copy"
        with os.fdopen(os.open(whole, os.O_RDWR | os.O_CREAT, 0o600), "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w") as archive:
                for name, path in _files(home, Path(scratch), shared=bool(about["database"])):
                    about["files"][name] = _digest(path)
                    archive.add(path, arcname=name, recursive=False)
                _add_about(archive, about)
            stream.flush()
            os.fsync(stream.fileno())
        whole.replace(target)
    return {**about, "files": len(about["files"]), "bytes": target.stat().st_size}


def _files(home: Path, scratch: Path, *, shared: bool) -> Iterator[tuple[str, Path]]:
    """Name in the copy and where its content is, databases as they are at one moment."""
    databases = () if shared else ((_STATE, state_database()), (_LEDGER, ledger_folder() / "ledger.db"))
    for name, path in databases:
        if path.exists():
            copied = scratch / path.name
            try:
                readable = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
                with closing(readable) as source, closing(sqlite3.connect(copied)) as target:
                    source.backup(target)
            except sqlite3.Error as error:
                raise EngineUnavailable(f"{path}: {error}") from error
            yield name, copied
    for top in _BESIDE:
        for path in sorted([home / top, *(home / top).rglob("*")]):
            name = path.relative_to(home).as_posix()
            hidden = path.name.startswith(".") or path.name.endswith(("-wal", "-shm"))
            if path.is_file() and not path.is_symlink() and not hidden and not name.startswith(_LEFT_OUT):
                yield name, path


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def _add_about(archive: tarfile.TarFile, about: dict[str, Any]) -> None:
    content = json.dumps(about, indent=1).encode()
    member = tarfile.TarInfo(ABOUT)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def restore(copy: Path, clock: Clock | None = None) -> dict[str, Any]:
    """Make this home out of a copy. Its runs wait for a person's word, and look before they act.

    Raises UsageError where this home has a state already, or `copy` is no whole copy: then nothing is left of it here.
    """
    home = skerry_home()
    present = [path for path in (state_database(), ledger_folder() / "ledger.db") if path.exists()]
    if present:
        raise UsageError(
            f"{present[0]} is there already; a copy makes a home anew and mixes with nothing",
            hint="Name another home (--home), or put this one aside.",
        )
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".skerry-restore-", dir=home) as scratch:
        about = _unpacked(copy, Path(scratch))
        paused = 0
        if (Path(scratch) / _STATE).exists():
            paused = mark_restored(Path(scratch) / _STATE, clock or SystemClock())
        size = _published_anew(Path(scratch) / "ledger", about["origin"])
        for path in sorted(Path(scratch).iterdir()):
            if path.name == "ledger":
                _merge(path, home / "ledger")
            else:
                path.replace(home / path.name)
    return {
        "made_at": about["made_at"],
        "origin": about["origin"],
        "log_size": size,
        "systems_paused": paused,
        "files": len(about["files"]),
    }


def _unpacked(copy: Path, folder: Path) -> dict[str, Any]:
    try:
        with tarfile.open(copy, mode="r:") as archive:
            for member in archive:
                _unpack(archive, member, folder)
        about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
        (folder / ABOUT).unlink()
        names, known = set(about["files"]), about["format"] == FORMAT
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{copy} is no whole copy of a state: {error}") from error
    if not known:
        raise UsageError(f"{copy} is of a format that this skerry does not know")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(names | there):
        if name not in names or name not in there or _digest(folder / name) != about["files"][name]:
            raise UsageError(f"{copy}: {name} is not what was copied", hint="Use another copy; this one is damaged.")
    return about


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """One file, below `folder` and nowhere else."""
    name, content = PurePosixPath(member.name), archive.extractfile(member)
    if not member.isfile() or content is None or name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{member.name!r} is no file of a copy")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode & 0o700), "wb") as stream:
        shutil.copyfileobj(content, stream)


def _published_anew(ledger: Path, origin: str) -> int:
    if not (ledger / "ledger.db").exists():
        return 0
    publisher = Publisher(ledger / "ledger.db", ledger / "log", origin, (), SystemClock())
    try:
        return publisher.write_anew()
    finally:
        publisher.close()


def _merge(source: Path, target: Path) -> None:
    """The ledger's folder: whole where there is none, else file by file, over what has no entries."""
    if not target.exists():
        source.replace(target)
        return
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(mode=0o700, exist_ok=True)
        else:
            path.replace(place)
