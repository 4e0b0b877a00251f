"""How values look to a person: sizes, times, tables, panels. Shared by all commands; nothing here decides anything."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

SHORT_DIGEST_DIGITS = 12
# Columns that people copy words from, or that say little when folded.
WHOLE_COLUMNS = (
    *("system", "host", "plan", "step", "run", "approval", "person", "site", "side", "gate"),
    *("point", "last good point"),
)


PIPE_COLUMNS = 200  # nothing is folded for a width that nobody looks at


def console() -> Console:
    """Standard output: colours on a terminal, plain text in a pipe, never folded at 80 columns there."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    wanted = os.environ.get("COLUMNS", "")
    return Console(highlight=False, soft_wrap=True, width=int(wanted) if wanted.isdigit() else PIPE_COLUMNS)


def print_json(document: Any) -> None:
    """One document on one line, for programs: at once, for whoever reads a pipe waits for each."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


def short_digest(digest: str) -> str:
    """The beginning by which a person names it."""
    return digest.removeprefix("sha256:")[:SHORT_DIGEST_DIGITS]


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, title: str = "") -> Table:
    """A plain table, without lines; a column that begins with `>` is flushed right."""
    drawn = Table(box=None, header_style="dim", title=title or None, title_justify="left", padding=(0, 2, 0, 0))
    for column in columns:
        right = column.startswith(">")
        name = column.removeprefix(">")
        justify: Literal["left", "right"] = "right" if right else "left"
        drawn.add_column(name, justify=justify, overflow="fold", no_wrap=right or name in WHOLE_COLUMNS)
    for row in rows:
        drawn.add_row(*row)
    return drawn


def heading(text: str) -> Text:
    return Text(text, style="bold")


def quiet(text: str) -> Text:
    return Text(text, style="dim")


def good(text: str) -> Text:
    return Text(text, style="green")


def bad(text: str) -> Text:
    return Text(text, style="red")
