"""The trend of a system's drills as a picture: recovery time or point of each against what is asked for."""

from collections.abc import Sequence
from html import escape

from orchestrator.model.names import SystemName
from orchestrator.steps.drill_measures import Measured

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 260, 70, 20, 40, 50
MET, MISSED, AIM = "#1f6feb", "#b3261e", "#9a6700"


def picture(system: SystemName, objective: str, trend: Sequence[Measured]) -> str:
    """The trend as SVG: a dot for each drill, and a line for what is asked for where that is within the picture."""
    rows = [(each, verdict) for each in trend if (verdict := each.of(objective)) is not None]
    top_value = 1.2 * max((verdict.actual_seconds for _, verdict in rows), default=1.0) or 1.0
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    aim = rows[-1][1].target_seconds if rows else 0.0

    def place(number: int, seconds: float) -> tuple[float, float]:
        share = number / (len(rows) - 1) if len(rows) > 1 else 0.5
        return LEFT + across * share, TOP + down * (1 - min(seconds, top_value) / top_value)

    dots = [place(number, verdict.actual_seconds) for number, (_, verdict) in enumerate(rows)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, f"{system}: {objective} in drills, {aim:g} s asked for", 15),
        f'<path d="M{LEFT} {TOP} V{TOP + down} H{WIDTH - RIGHT}" fill="none" stroke="#57606a"/>',
        _text(6, TOP + 10, f"{top_value:.3g} s", 11),
        _text(6, TOP + down, "0 s", 11),
    ]
    if 0 < aim <= top_value:
        level = place(0, aim)[1]
        parts.append(f'<path d="M{LEFT} {level:.1f} H{WIDTH - RIGHT}" stroke="{AIM}" stroke-dasharray="6 4"/>')
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    parts.append(f'<polyline points="{joined}" fill="none" stroke="{MET}" stroke-opacity="0.4"/>')
    for (x, y), (_, verdict) in zip(dots, rows, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{MET if verdict.met else MISSED}"/>')
    if rows:
        parts.append(_text(LEFT, HEIGHT - 18, rows[0][0].at[:16].replace("T", " "), 11))
        parts.append(_text(WIDTH - RIGHT, HEIGHT - 18, rows[-1][0].at[:16].replace("T", " "), 11, "end"))
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, words: str, size: int, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'
