"""Units as files: where systemd reads them, with drop-ins, and whether they are enabled or masked."""

from __future__ import annotations

import os

PREFIX = os.environ.get("SKERRY_LAB_PREFIX", "")
ETC_UNITS = f"{PREFIX}/etc/systemd/system"
UNIT_FOLDERS = [ETC_UNITS, f"{PREFIX}/run/systemd/system", f"{PREFIX}/usr/local/lib/systemd/system"]
SYSTEM_UNITS = "/usr/lib/systemd/system"
OF_THE_HOST = ("/etc/", "/var/", "/srv/", "/opt/", "/home/", "/root/", "/run/", "/usr/local/")

Settings = dict[str, list[str]]


class UnitError(Exception):
    """What systemctl would say on stderr, with its exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def on_this_host(path: str) -> str:
    """An absolute path of the host as it is called here."""
    if PREFIX and (path + "/").startswith(OF_THE_HOST) and not (path + "/").startswith(PREFIX + "/"):
        return PREFIX + path
    return path


def map_word(word: str) -> str:
    """A word of an Exec line or a value of the environment, its path mapped: /srv/x, --data=/srv/x."""
    name, equals, value = word.partition("=")
    if equals and value.startswith("/"):
        return f"{name}={on_this_host(value)}"
    return on_this_host(word) if word.startswith("/") else word


def full_name(unit: str) -> str:
    return unit if unit.endswith((".service", ".target", ".timer", ".socket")) else unit + ".service"


def unit_path(unit: str) -> str | None:
    for folder in [*UNIT_FOLDERS, SYSTEM_UNITS]:
        if os.path.lexists(f"{folder}/{unit}"):
            return f"{folder}/{unit}"
    return None


def is_masked(unit: str) -> bool:
    path = unit_path(unit)
    return path is not None and os.path.realpath(path) == "/dev/null"


def read_settings(path: str, settings: Settings) -> None:
    """Add one file's settings; an empty assignment forgets what stood there before."""
    pending = ""
    with open(path, encoding="utf-8") as stream:
        for raw in stream:
            line = pending + raw.rstrip("\n")
            if line.endswith("\\"):
                pending = line[:-1] + " "
                continue
            pending = ""
            line = line.strip()
            if not line or line[0] in "#;[":
                continue
            key, _, value = line.partition("=")
            if value.strip():
                settings.setdefault(key.strip(), []).append(value.strip())
            else:
                settings.pop(key.strip(), None)


def load(unit: str) -> Settings:
    """Settings of a unit with its drop-ins, key → values in order. UnitError when there is none, or it is masked."""
    path = unit_path(unit)
    if path is None:
        raise UnitError(f"Unit {unit} not found.", 5)
    if is_masked(unit):
        raise UnitError(f"Unit {unit} is masked.")
    settings: Settings = {}
    read_settings(path, settings)
    drop_ins = {}
    for folder in reversed([*UNIT_FOLDERS, SYSTEM_UNITS]):
        if os.path.isdir(f"{folder}/{unit}.d"):
            names = [name for name in os.listdir(f"{folder}/{unit}.d") if name.endswith(".conf")]
            drop_ins.update({name: f"{folder}/{unit}.d/{name}" for name in names})
    for name in sorted(drop_ins):
        read_settings(drop_ins[name], settings)
    return settings


def load_or_nothing(unit: str) -> Settings:
    try:
        return load(unit)
    except UnitError:
        return {}


def last(settings: Settings, key: str, default: str = "") -> str:
    return settings.get(key, [default])[-1]


def seconds_of(text: str, default: float) -> float:
    try:
        return float(text.removesuffix("sec").removesuffix("s"))
    except ValueError:
        return default


def wants_links(unit: str) -> list[str]:
    settings = load_or_nothing(unit)
    targets = [name for key in ("WantedBy", "RequiredBy") for line in settings.get(key, []) for name in line.split()]
    return [f"{ETC_UNITS}/{target}.wants/{unit}" for target in targets]


def file_state(unit: str) -> str:
    if unit_path(unit) is None:
        return ""
    if is_masked(unit):
        return "masked"
    links = wants_links(unit)
    if any(os.path.lexists(link) for link in links):
        return "enabled"
    return "disabled" if links else "static"
