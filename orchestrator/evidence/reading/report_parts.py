"""Small pieces of the report: chips, tables, lists of facts. Whatever comes from the log is escaped here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.evidence.reading.words import short, text

_GOOD = {
    "passed",
    "committed",
    "met",
    "equal",
    "approve",
    "approved",
    "yes",
    "passed as approved",
    "P",
    "done",
    "closed",
}
_BAD = {"failed", "missed", "different", "timed_out", "unknown", "stopped", "rollback unfinished", "M", "U", "no"}


@dataclass(frozen=True)
class Html:
    """Text that is HTML already."""

    code: str


Cell = str | int | float | Html


def html(value: Cell) -> str:
    return value.code if isinstance(value, Html) else text(value)


def chip(word: str) -> Html:
    kind = " good" if word in _GOOD else " bad" if word in _BAD else ""
    return Html(f'<span class="chip{kind}">{text(word)}</span>')


def code(value: object) -> Html:
    return Html(f"<code>{text(value)}</code>")


def whole(value: str) -> Html:
    """Text that stays in one line, as a date should."""
    return Html(f'<span class="whole">{text(value)}</span>')


def digest(value: str) -> Html:
    return Html(f'<code title="{text(value)}">{text(short(value))}…</code>') if value else Html("–")


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], *, numbers: Sequence[int] = ()) -> str:
    """A table; the columns of `numbers` are set to the right. Without rows, a dash."""
    body = []
    for row in rows:
        cells = [f'<td class="number">{html(cell)}</td>' if at in numbers else f"<td>{html(cell)}</td>"
                 for at, cell in enumerate(row)]  # fmt: skip
        body.append(f"<tr>{''.join(cells)}</tr>")
    if not body:
        return '<p class="note">Nothing of this kind is on record.</p>'
    marks = [' class="number"' if at in numbers else "" for at in range(len(head))]
    names = "".join(f'<th scope="col"{mark}>{text(name)}</th>' for name, mark in zip(head, marks, strict=True))
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def facts(pairs: Iterable[tuple[str, Cell]]) -> str:
    return (
        '<dl class="facts">'
        + "".join(f"<dt>{text(name)}</dt><dd>{html(value)}</dd>" for name, value in pairs)
        + "</dl>"
    )


def figures(triples: Iterable[tuple[str, str, str]]) -> str:
    """Name, value, and what stands small below it."""
    parts = [
        f"<div><dt>{text(name)}</dt><dd>{text(value)}<small>{text(below)}</small></dd></div>"
        for name, value, below in triples
    ]
    return f'<dl class="figures">{"".join(parts)}</dl>'
