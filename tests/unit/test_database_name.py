"""The shared database is named without its password; where that is comes from a reference, in memory alone."""

import json

import pytest

from orchestrator.cli.app import main
from orchestrator.foundation.database_name import check_database, with_password
from orchestrator.foundation.errors import UsageError


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("postgresql://skerry:hunter2@db.example/skerry", "holds a password"),
        ("postgresql://skerry@db.example/skerry?password=hunter2", "holds a password"),
        ("mysql://db.example/skerry", "must be postgresql"),
        ("/var/lib/skerry.db", "must be postgresql"),
    ],
)
def test_a_database_is_named_without_its_password(named, said):
    with pytest.raises(UsageError, match=said) as caught:
        check_database(named)
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


def test_a_secret_reference_becomes_the_password_in_memory_alone():
    named = "postgresql://skerry@db.example:5433/skerry?secret=file:/etc/skerry/db&sslmode=require"
    assert check_database(named) == named
    asked = []
    url = with_password(named, lambda reference: asked.append(reference) or "p@ss/word")
    assert asked == ["file:/etc/skerry/db"]
    assert url == "postgresql://skerry:p%40ss%2Fword@db.example:5433/skerry?sslmode=require"
    assert with_password("postgresql:///?service=skerry", lambda _: "x") == "postgresql:///?service=skerry"


def test_the_command_line_refuses_a_password_and_does_not_repeat_it(monkeypatch, capsys):
    monkeypatch.setenv("SKERRY_DATABASE", "")
    named = "postgresql://skerry:hunter2@db.example/skerry"
    assert main(["--database", named, "runs", "list", "--json"]) == UsageError.exit_code
    printed = capsys.readouterr()
    assert "hunter2" not in printed.out + printed.err
    assert json.loads(printed.err)["error"] == "UsageError"
