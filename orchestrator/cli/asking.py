"""What a person is asked before something is done; whoever says no, or is not there, is told what became of it."""

import sys

import click

from orchestrator.foundation.errors import Interrupted, UsageError


def ensure_agreed(question: str) -> None:
    """Ask. Raises Interrupted where the answer is no, UsageError where nobody is there to give one."""
    try:
        agreed = click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # the question stands on a line of its own
        raise UsageError("nobody is there to answer", hint="Say it beforehand with --yes; nothing was done.") from None
    if not agreed:
        raise Interrupted("you said no, so nothing was done", hint="Everything goes on as before.")
