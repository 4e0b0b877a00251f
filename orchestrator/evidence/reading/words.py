"""How figures and outcomes are worded in reading copies; no locale, no clock."""

from html import escape

from orchestrator.evidence.story import Attempt, RunStory, SystemStory

TITLES = {
    "migrate": "Migration",
    "cutover": "Cutover",
    "rollback": "Rollback",
    "failover": "Failover",
    "failback": "Failback",
    "drill": "Disaster-recovery drill",
}


def duration(seconds: float | None) -> str:
    """`0.8 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds is None:
        return "not shown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole // 60 % 60:02d} min"


def readable(time: str) -> str:
    """2026-11-21 23:20:27, out of the form that the log has."""
    return time[:19].replace("T", " ")


def size(count: int) -> str:
    """Bytes in powers of ten, as disks are sold: 12.3 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return str(count)


def short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:16]


def shortened(key: str) -> str:
    """A verifier key as people compare it: its name and id stand first, an ML-DSA key goes on for lines."""
    return key if len(key) <= 120 else f"{key[:70]}…"


def outcome(system: SystemStory) -> str:
    if system.was_committed:
        return "committed"
    if system.was_rolled_back:
        return "rolled back"
    if system.was_carried_out:
        return "passed"
    if system.of("rollback.started"):
        return "rollback unfinished"
    return "stopped"


def title(story: RunStory) -> str:
    wave = story.created.get("wave", "")
    return f"{TITLES.get(story.kind, 'Run')}{f' of {wave}' if wave else ''}"


def mode_word(attempt: Attempt) -> str:
    return "undone" if attempt.mode == "undo" else "done"


def text(value: object) -> str:
    """Anything, safe within HTML."""
    return escape(str(value))
