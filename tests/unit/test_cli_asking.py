"""What a person is asked before something is done: a no is no interruption, and nobody there is no no."""

import io
import sys

import pytest

from orchestrator.cli.asking import ensure_agreed
from orchestrator.foundation.errors import Interrupted, UsageError


@pytest.fixture
def answering(monkeypatch):
    def answer(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return answer


def test_who_agrees_goes_on(answering):
    answering("y\n")
    ensure_agreed("Go?")


def test_who_says_no_is_told_that_nothing_was_done(answering):
    answering("n\n")
    with pytest.raises(Interrupted, match="you said no, so nothing was done") as caught:
        ensure_agreed("Go?")
    assert "same command" not in caught.value.hint


def test_where_nobody_is_there_it_is_told_how_to_say_it_beforehand(answering, capsys):
    answering("")
    with pytest.raises(UsageError, match="nobody is there to answer") as caught:
        ensure_agreed("Go?")
    assert "--yes" in caught.value.hint
    assert capsys.readouterr().err == "\n"
