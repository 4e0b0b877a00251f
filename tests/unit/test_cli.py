"""The command line: help, exit codes, and what a person reads when something is wrong."""

import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import click
import pytest
import yaml

from orchestrator.cli.app import GROUPS, exit_codes, main, skerry
from orchestrator.cli.console import print_json
from orchestrator.cli.runbook_words import inputs_of
from orchestrator.foundation import errors
from orchestrator.foundation.amounts import seconds_text, size_text

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    for variable in ("SKERRY_INVENTORY", "SKERRY_HOSTS"):
        monkeypatch.setenv(variable, "")  # main sets them; what it sets is taken back with this
        monkeypatch.delenv(variable)

    def call(*words: str):
        code = main(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_help_names_every_group_and_ends_with_exit_codes(run):
    code, out, _ = run("--help")
    assert code == 0
    commands, codes = out.split("Exit codes:")
    for name in GROUPS:
        assert re.search(rf"^  {name} ", commands, re.MULTILINE)
    assert "10-13" in codes
    assert codes.rstrip().splitlines()[-1].split()[0] == "130"


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_is_there_and_every_command_takes_json(name):
    command = skerry.get_command(click.Context(skerry), name)
    assert command is not None
    leaves = list(command.commands.values()) if hasattr(command, "commands") else [command]
    while any(hasattr(leaf, "commands") for leaf in leaves):
        leaves = [inner for leaf in leaves for inner in getattr(leaf, "commands", {None: leaf}).values()]
    assert leaves
    for leaf in leaves:
        assert any("--json" in option.opts for option in leaf.params), f"{name} {leaf.name} has no --json"
        assert leaf.help, f"{name} {leaf.name} has no help"


def test_exit_codes_are_those_of_the_error_tree(run):
    _, out, _ = run("--exit-codes")
    printed = {int(line.split()[0]) for line in out.splitlines()}
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and hasattr(value, "exit_code")]
    assert printed == {0, *(kind.exit_code for kind in kinds)}
    assert {int(code) for code, _ in exit_codes()} == printed - {0}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["estte"], 2, "there is no command 'estte'; did you mean 'estate'?"),
        (["estate", "chek"], 2, "No such command 'chek'"),
        (["estate", "check", "--jsn"], 2, "--jsn"),
        (["plan", "make", "--as", "ben"], 2, "Missing option '--wave'"),
        (["runbook", "check", "nope"], 2, "no runbook is called nope"),
        (["runbook", "check", "no/such.yml"], 11, "no/such.yml:1: cannot be read: No such file or directory"),
        (["--inventory", "/no/such/folder", "estate", "check"], 10, "/no/such/folder:1: is not a folder"),
        (["plan", "show", "abc"], 2, "at least 6 digits"),
        (["plan", "show", "abcdef"], 2, "there is no plan abcdef"),
        (["plan", "make", "--wave", "w", "--as", "ben"], 12, "has not been surveyed"),
        (["runbook", "graph", "--svg", "/no/such/folder/x.svg"], 2, "/no/such/folder/x.svg cannot be written"),
    ],
)
def test_what_is_wrong_is_told_with_a_hint_and_its_exit_code(run, words, code, said):
    found, out, err = run(*words)
    assert found == code, err
    assert said in err
    assert err.startswith("error: ")
    assert "hint:" in err
    assert "Traceback" not in out + err


def test_a_home_that_cannot_be_used_is_told(run, tmp_path):
    (tmp_path / "home").write_text("")
    code, _, err = run("plan", "list")
    assert code == 1
    assert err == (
        f"error: {tmp_path}/home: Not a directory\n"
        "hint:  Look at that path: who owns it, its mode, and the space that is left.\n"
    )


def test_an_error_that_nobody_foresaw_keeps_its_trace_and_says_where(run, tmp_path):
    estate = skerry.get_command(click.Context(skerry), "estate")
    assert isinstance(estate, click.Group)

    @estate.command("stumble")
    def stumble() -> None:
        raise ZeroDivisionError("nobody foresaw this")

    try:
        code, _, err = run("estate", "stumble")
    finally:
        del estate.commands["stumble"]
    kept = tmp_path / "home" / "fault.txt"
    assert code == 1
    assert f"This is a fault of skerry. The trace is in {kept}; please report it." in err
    assert "Traceback" not in err
    assert "nobody foresaw this" in kept.read_text()


def test_the_estate_of_the_lab_is_the_default(run):
    code, out, err = run("estate", "check")
    assert code == 0
    assert "2 systems on 6 hosts at 3 sites, 3 people" in out
    assert err.count("warning: ") == 3, "nobody has a key before the lab is up"


def test_strict_makes_warnings_problems(run):
    code, _, err = run("estate", "check", "--strict")
    assert code == 10
    assert "people.yml:6: the key of ana cannot be read" in err


def test_the_graph_is_a_picture_of_all_steps(run, tmp_path):
    picture = tmp_path / "graph.svg"
    code, _, _ = run("runbook", "graph", "--svg", str(picture))
    text = picture.read_text()
    assert code == 0
    assert text.startswith("<svg ")
    steps = yaml.safe_load((ROOT / "runbooks" / "migrate.yml").read_text())["steps"]
    assert text.count("<rect ") == 1 + len(steps)
    assert text.count("marker-end") == sum(len(step.get("needs", ())) for step in steps)
    run("runbook", "graph", "--svg", str(tmp_path / "again.svg"))
    assert (tmp_path / "again.svg").read_text() == text


def test_the_graph_in_a_terminal_names_gates_and_ways_back(run):
    _, out, _ = run("runbook", "graph")
    assert "◆ G5" in out
    assert "↩ carry back cloud → source" in out
    assert "point of no return" in out


def test_interrupted_is_130_and_says_how_to_go_on():
    program = (
        "import os, signal, sys, time\n"
        "import orchestrator.cli.estate as estate\n"
        "from orchestrator.cli.app import main\n"
        "import threading\n"
        "threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "@estate.commands.command('wait')\n"
        "def wait(): time.sleep(30)\n"
        "sys.exit(main(['estate', 'wait']))\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert answer.returncode == 130
    assert "Run the same command again to go on." in answer.stderr


@pytest.mark.parametrize("command", [["runbook", "schema"], ["runbook", "check"]], ids=["much", "little"])
def test_a_reader_who_leaves_is_no_error(command):
    words = [sys.executable, "-m", "orchestrator.cli.app", *command]
    reader, writer = os.pipe()
    os.close(reader)
    answer = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=30, check=False)
    os.close(writer)
    assert (answer.returncode, answer.stderr) == (0, b"")


def test_help_is_quick_enough_to_be_asked_for():
    words = [sys.executable, "-X", "importtime", "-m", "orchestrator.cli.app", "--help"]
    told = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env={**os.environ}, check=True).stderr
    loaded = {line.rsplit("|", 1)[1].strip() for line in told.splitlines() if "|" in line}
    assert not loaded & {"pydantic", "yaml", "rich", "boto3", "dbos", "sqlalchemy", "ansible"}
    ours = {name for name in loaded if name.startswith("orchestrator.")}
    assert ours <= {"orchestrator.cli", "orchestrator.foundation", "orchestrator.foundation.errors"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0254, "25 ms"),
        (1, "1 s"),
        (12.34, "12.3 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (5400, "1 h 30 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_read_well(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**3, "5.0 GiB"), (1024**5, "1024.0 TiB")],
)
def test_sizes_read_well(count, text):
    assert size_text(count) == text


def test_every_document_reaches_a_pipe_at_once():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(writer, "w") as pipe, os.fdopen(reader, "rb", buffering=0) as other_end, redirect_stdout(pipe):
        print_json({"looks": 1})
        assert other_end.read() == b'{"looks": 1}\n'


def test_inputs_are_name_and_value():
    assert inputs_of(("watch=2h", "note=a=b")) == {"watch": "2h", "note": "a=b"}
    for words in (("watch",), ("=2h",), ("watch=1", "watch=2")):
        with pytest.raises(errors.UsageError):
            inputs_of(words)
