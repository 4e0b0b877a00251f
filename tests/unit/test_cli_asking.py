"""What a person is asked before something is done: a no is no interruption, and nobody there is no no."""

import click
from click.testing import CliRunner

from orchestrator.cli.asking import ensure_agreed
from orchestrator.foundation.errors import Interrupted, UsageError


def answered(text: str):
    return CliRunner().invoke(click.Command("ask", callback=lambda: ensure_agreed("Go?")), input=text)


def test_who_agrees_goes_on():
    assert answered("y\n").exception is None


def test_who_says_no_is_told_that_nothing_was_done():
    told = answered("n\n").exception
    assert isinstance(told, Interrupted)
    assert "you said no, so nothing was done" in told.message
    assert "same command" not in told.hint


def test_where_nobody_is_there_it_is_told_how_to_say_it_beforehand():
    told = answered("").exception
    assert isinstance(told, UsageError)
    assert "nobody is there to answer" in told.message
    assert "--yes" in told.hint
