"""The timeline of a run as one inline SVG: a row for each step, rollbacks and moves of authority marked."""

from collections.abc import Callable
from datetime import datetime

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.reading.report_style import DRAWING_STYLE
from orchestrator.evidence.reading.words import duration, text
from orchestrator.evidence.story import Attempt, SystemStory, moment

WIDTH, LABELS, ROW, TOP = 1000, 210, 21, 28
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
TICKS_WANTED_MAX = 9
_MARKS = {
    "rollback.started": "rollback begins",
    "authority.moved": "authority to write",
    "front.switched": "clients sent",
}


def timeline(system: SystemStory) -> str:
    """SVG, or an empty text for a system without steps."""
    attempts = [each for each in system.attempts if each.finished is not None]
    if not attempts:
        return ""
    begin = min(moment(each.started.time) for each in attempts)
    end = max(moment(each.finished.time) for each in attempts if each.finished)
    total = max(0.001, (end - begin).total_seconds())

    def across(time: datetime) -> float:
        return LABELS + (WIDTH - LABELS - 8) * (time - begin).total_seconds() / total

    rows = list(dict.fromkeys((each.step, each.mode) for each in attempts))
    height = TOP + ROW * len(rows) + 24
    told = f"Timeline of {text(system.name)}, {duration(total)}"
    parts = [f'<svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{told}">']
    parts.append(f"<style>{DRAWING_STYLE}</style>")
    parts += _ticks(total, height)
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        name = f"↩ {row[0]}" if row[1] == "undo" else row[0]
        parts.append(f'<text x="{LABELS - 10}" y="{y + 15}" class="label">{text(name)}</text>')
        for each in attempts:
            if (each.step, each.mode) == row and each.finished:
                left, right = across(moment(each.started.time)), across(moment(each.finished.time))
                parts.append(_bar(each, left, max(2.0, right - left), y))
    parts += _marks(system, across, height)
    return "".join(parts) + "</svg>"


def _bar(attempt: Attempt, left: float, width: float, y: float) -> str:
    kind = "undo" if attempt.mode == "undo" else "do"
    kind = kind if attempt.passed else "failed"
    told = f"{attempt.step}: {attempt.status}, {duration(attempt.seconds)}"
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{y + 3}" width="{width:.1f}" height="{ROW - 6}" rx="2.5">'
        f"<title>{text(told)}</title></rect>"
    )


def _ticks(total: float, height: float) -> list[str]:
    step = next((tick for tick in TICKS if total / tick <= TICKS_WANTED_MAX), TICKS[-1])
    parts = []
    for number in range(int(total // step) + 1):
        x = LABELS + (WIDTH - LABELS - 8) * number * step / total
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{height - 20}"/>')
        parts.append(f'<text class="time" x="{x:.1f}" y="{TOP - 9}">{_clock(number * step)}</text>')
    return parts


def _clock(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _marks(system: SystemStory, across: Callable[[datetime], float], height: float) -> list[str]:
    parts = []
    for number, event in enumerate(turning_points(system), start=1):
        x = across(moment(event.time))
        kind = event.type.partition(".")[0]
        parts.append(f'<line class="mark {kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - 18}"/>')
        parts.append(f'<circle class="point {kind}" cx="{x:.1f}" cy="{height - 10}" r="8.5"/>')
        parts.append(f'<text class="marked" x="{x:.1f}" y="{height - 5.8:.1f}">{number}</text>')
    return parts


def turning_points(system: SystemStory) -> list[LoggedEvent]:
    """Moves of authority, switches of clients and the beginning of a rollback, in order."""
    found = [event for kind in _MARKS for event in system.of(kind)]
    return sorted(found, key=lambda event: event.index)


def turning_points_told(system: SystemStory) -> str:
    """The numbers of the drawing, in words."""
    words = []
    for event in turning_points(system):
        where = event.data.get("to") or event.data.get("side")
        words.append(f"{_MARKS[event.type]}{f' → {where}' if where else ''} at {event.time[11:23]}")
    listed = "".join(f"<li>{text(word)}</li>" for word in words)
    return f'<ol class="points">{listed}</ol>' if listed else ""
