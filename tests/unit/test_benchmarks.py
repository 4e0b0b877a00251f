"""The frame of the benchmarks: rows of one shape, failures named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.row import BenchmarkFailed, median_seconds, row
from benchmarks.run import FIELDS, benchmark_names, checked, machine, of_group, shown
from benchmarks.tour_phases import client_rows


def test_a_row_has_the_fields_of_the_contract():
    made = row("copy", ours=2.0, peer=4.0, peer_name="cp", unit="s", goal="< 3 s", met=True, command="make bench")
    assert made.keys() == FIELDS
    assert made["ratio"] == 0.5
    json.dumps(made)


def test_without_a_peer_there_is_no_ratio():
    assert row("copy", ours=2.0, unit="s", command="x")["ratio"] is None


def test_a_row_of_another_shape_is_a_failure():
    with pytest.raises(BenchmarkFailed, match="without \\['command'"):
        checked("odd", [{"name": "x"}])


def test_a_command_that_fails_is_not_a_figure():
    with pytest.raises(BenchmarkFailed, match="ended with 3: no such thing"):
        median_seconds(["sh", "-c", "echo no such thing >&2; exit 3"], rounds=1)


def test_finds_benchmarks_and_says_which_there_are():
    assert {"cli_start", "tour_phases"} <= set(benchmark_names())
    words = [sys.executable, "-m", "benchmarks.run", "no_such"]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert ended.returncode == 2
    assert "cli_start" in ended.stderr


def test_the_name_of_a_group_stands_for_its_benchmarks():
    assert {"dataplane_image", "dataplane_tree"} <= set(of_group("dataplane", benchmark_names()))
    assert of_group("dataplane", ["dataplane_tree", "planning"]) == ["dataplane_tree"]


def test_a_goal_that_was_missed_is_shown_as_missed():
    assert "NOT MET" in shown(row("x", ours=2.0, unit="s", goal="< 1 s", met=False, command="x"))


def test_the_machine_is_described_without_its_name():
    assert set(machine()) == {"cpu", "cpus", "memory_gib", "kernel", "system", "python"}


def test_downtime_is_held_against_the_objective():
    seen = {"downtime_seconds": 9.0, "lost": 1, "rto_objective_seconds": 5.0}
    system = {"name": "filing", "outcome": "committed", **seen}
    downtime, lost = client_rows(system)
    assert (downtime["met"], lost["met"]) == (False, False)
