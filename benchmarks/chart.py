"""Rows of a benchmark as a picture (SVG) and a table (Markdown) in benchmarks/charts: ours beside each peer.

A row may have a `note`: under what conditions it was measured, where they were not what they should be.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from orchestrator.foundation.atomic_file import replace_file

FOLDER = Path(__file__).resolve().parent / "charts"
WIDTH, BAR_LEFT, BAR_WIDTH, BAR_HEIGHT, ROW_HEIGHT, TOP = 1000, 330, 560, 15, 62, 52
OURS, PEER = "#1f6feb", "#b8bec6"
VERDICT = {True: "met", False: "not met", None: ""}


def write_chart(name: str, title: str, rows: Sequence[dict[str, Any]], *, folder: Path = FOLDER) -> None:
    """Write `name`.svg and `name`.md, replacing what an earlier run wrote."""
    folder.mkdir(exist_ok=True)
    replace_file(folder / f"{name}.svg", svg(title, rows).encode())
    replace_file(folder / f"{name}.md", table(title, f"{name}.svg", rows).encode())


def svg(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """Two bars per row that has a peer, one for others; each row has a scale of its own."""
    height = TOP + ROW_HEIGHT * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="30" font-size="18">{escape(title)}</text>',
    ]
    for number, row in enumerate(rows):
        top = TOP + number * ROW_HEIGHT
        goal = f"goal: {row['goal']} – {VERDICT[row['met']]}" if row["goal"] else ""
        parts.append(_text(12, top + 12, row["name"], 11))
        parts.append(_text(12, top + 36, goal, 10, "#1a7f37" if row["met"] else "#9a6700"))
        bars = [("ours", row["ours"], OURS)]
        if row["peer"] is not None:
            bars.append((row["peer_name"], row["peer"], PEER))
        longest = max(value for _, value, _ in bars) or 1.0
        for place, (who, value, colour) in enumerate(bars):
            at, length = top + 18 + place * (BAR_HEIGHT + 2), max(1.0, BAR_WIDTH * value / longest)
            parts.append(f'<rect x="{BAR_LEFT}" y="{at}" width="{length:.1f}" height="{BAR_HEIGHT}" fill="{colour}"/>')
            parts.append(_text(BAR_LEFT + 6, at + 12, f"{value:.4g} {row['unit']}  {who}", 10, "#111"))
    return "\n".join([*parts, "</svg>", ""])


def _text(x: int, y: int, words: str, size: int, colour: str = "#111") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}">{escape(words)}</text>'


def table(title: str, picture: str, rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"# {title}", "", f"![{title}]({picture})", ""]
    lines += ["| What | Ours | Peer | Ratio | Goal | |", "|---|---:|---|---:|---|---|"]
    for row in rows:
        peer = "" if row["peer"] is None else f"{row['peer']:.4g} {row['unit']}, {row['peer_name']}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
        ours = f"{row['ours']:.4g} {row['unit']}"
        said = "; ".join(filter(None, [VERDICT[row["met"]], row.get("note", "")]))
        lines.append(f"| {row['name']} | {ours} | {peer} | {ratio} | {row['goal']} | {said} |")
    return "\n".join([*lines, ""])
