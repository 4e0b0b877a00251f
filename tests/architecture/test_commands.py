"""The command line as a whole: every command that a text names exists, and every command answers in JSON."""

import ast
import re

import click
import pytest

from orchestrator.cli.app import GROUPS, skerry
from tests.architecture.source_tree import ROOT, parse, python_files, tracked_files

NAMED = re.compile(rf"\bskerry ({'|'.join(GROUPS)})(?: ([a-z][a-z-]+))?\b")

# Strings that begin alike and are no commands.
NO_COMMANDS = {"orchestrator/lab/pki.py"}  # comments of keys

# Commands that serve until they are stopped, and so have no answer.
SERVERS = {"witness serve", "serve"}


def command(name: str) -> click.Command:
    found = skerry.get_command(click.Context(skerry), name)
    assert found is not None
    return found


def leaves() -> list[tuple[str, click.Command]]:
    """Every command that does something, by its words."""

    def below(name: str, one: click.Command) -> list[tuple[str, click.Command]]:
        if not isinstance(one, click.Group):
            return [(name, one)]
        return [leaf for word, inner in one.commands.items() for leaf in below(f"{name} {word}", inner)]

    return [leaf for name in GROUPS for leaf in below(name, command(name))]


def texts() -> list[tuple[str, str]]:
    """What people read: documents, and every string of the product."""
    documents = [(name, (ROOT / name).read_text()) for name in tracked_files() if name.endswith((".md", "Makefile"))]
    strings = [
        (f"{name}:{node.lineno}", node.value)
        for name in python_files("orchestrator")
        if name not in NO_COMMANDS
        for node in ast.walk(parse(name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return documents + strings


def test_commands_that_texts_name_exist():
    wrong = []
    for where, text in texts():
        for group, below in NAMED.findall(text):
            top = command(group)
            if isinstance(top, click.Group) and below and below not in top.commands:
                wrong.append(f"{where}: skerry {group} {below}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", list(GROUPS))
def test_every_group_can_be_opened_and_says_what_it_is_for(name):
    found = command(name)
    assert found.help, f"skerry {name} --help says nothing"


def test_every_command_answers_in_json_and_says_what_it_does():
    asked = [(name, one) for name, one in leaves() if name not in SERVERS]
    without_json = [name for name, one in asked if not any("--json" in option.opts for option in one.params)]
    without_help = [name for name, one in leaves() if not one.help]
    assert (without_json, without_help) == ([], [])
