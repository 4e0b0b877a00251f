"""Where skerry keeps its things on this machine: `$SKERRY_HOME`, by default `$XDG_DATA_HOME/skerry`."""

import os
from pathlib import Path


def skerry_home() -> Path:
    """The folder of all state; not created here."""
    named = os.environ.get("SKERRY_HOME")
    if named:
        return Path(named).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "skerry"


def state_database() -> Path:
    return skerry_home() / "state.db"


def engine_database() -> Path:
    return skerry_home() / "engine.db"


def ledger_folder() -> Path:
    """Holds `log/` (checkpoint, tiles), `vkey` and the ingest database."""
    return skerry_home() / "ledger"


def lab_folder() -> Path:
    return skerry_home() / "lab"


def shipped_folder(name: str) -> Path:
    """`playbooks`, `runbooks` or `inventories` as they came: beside the package in a checkout, within it in a wheel."""
    package = Path(__file__).resolve().parent.parent
    beside = package.parent / name
    return beside if beside.is_dir() else package / "shipped" / name


def shipped_playbook(name: str) -> str:
    """Where a shipped playbook lies."""
    return str(shipped_folder("playbooks") / f"{name}.yml")
