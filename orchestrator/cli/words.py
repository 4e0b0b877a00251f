"""Options that every command shares, and words for people. Imports nothing but click: --help reads this."""

from typing import Any

import click

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON; the contract is docs/cli_json.md.")


def near(wrong: str, known: list[str]) -> str:
    """`; did you mean 'x'?` where one is close."""
    from difflib import get_close_matches

    found = get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def exit_codes_of(*names: str) -> str:
    """The closing line of a command's help: which errors of the tree it ends with."""
    from orchestrator.foundation import errors

    kinds: list[Any] = [getattr(errors, name) for name in names]
    told = [f"{kind.exit_code} {(kind.__doc__ or '').split(';')[0].rstrip('.').lower()}" for kind in kinds]
    return "Exit codes: 0 as asked; " + "; ".join(told) + "."


def print_json(document: Any) -> None:
    """One document on one line, for programs. Here, and not beside the tables, so that it costs no time to import."""
    from json import dumps

    click.echo(dumps(document, ensure_ascii=False))
