"""Replication as people operate it, by the real commands on a lab: rounds, points, verification, refusals."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.worker import outside_of_workers
from tests.scenarios.commands import begin, refused
from tests.scenarios.test_trouble import ESTATE, Ground, a_lab, estate, on_hosts

pytestmark = on_hosts
DOCUMENTS = "/srv/archive/documents"
CONDITION_SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with a_lab() as here:
        yield here


def round_of(ground: Ground, system: str = "archive", *words: str) -> dict[str, Any]:
    found: dict[str, Any] = ground.good(*words, "replicate", "run", system, "--as", "ben")["round"]
    return found


def rounds(ground: Ground) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(ground.home / "state.db")) as store:
        rows = store.execute("select document from replication_rounds order by started_at").fetchall()
    return [json.loads(text) for (text,) in rows]


def a_file(folder: Path) -> Path:
    return next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size > 10)


def test_rounds_of_every_system_are_proved_and_on_record(ground):
    told = ground.skerry("replicate", "run", "--all", "--as", "ben")
    assert told.exit_code == 0, told.stderr
    done = [json.loads(line)["round"] for line in told.stdout.splitlines()]
    assert [(each["system"], each["result"]) for each in done] == [("filing", "passed"), ("archive", "passed")]
    assert all(each["bytes_wire"] > 0 for each in done)
    listed = ground.good("snapshot", "list", "filing", "--ask")["points"]
    assert [(each["point"]["id"], each["present"]) for each in listed] == [(done[0]["point"], ["source", "dr"])]
    status = ground.good("replicate", "status", "archive")
    assert status["met"]
    assert status["systems"][0]["datasets"][0]["good_point"] == done[1]["point"]
    passed = ground.good("verify", "--all")
    assert {found["side"] for each in passed["verifications"] for found in each["comparisons"]} == {"source", "dr"}
    assert ground.good("verify", "--all", "--if-older-than", "7d")["not_due"] == ["filing", "archive"]
    assert ground.good("evidence", "verify")["verified"]


def test_a_disk_that_is_not_mounted_does_not_empty_the_replica(ground):
    round_of(ground)
    source = ground.town.path_on_machine("onprem-archive1", DOCUMENTS)
    replica = ground.town.path_on_machine("dr-archive1", DOCUMENTS)
    there = sorted(path.name for path in replica.rglob("*"))
    assert len(there) > 20
    aside = source.with_name("aside")
    source.rename(aside)
    source.mkdir()
    try:
        error = refused(
            ground.skerry("replicate", "run", "archive", "--as", "ben"), 39, "SourceShrank", "the source is empty"
        )
        assert "--accept-shrinkage documents" in error["hint"]
        assert sorted(path.name for path in replica.rglob("*")) == there
    finally:
        source.rmdir()
        aside.rename(source)
    assert round_of(ground)["result"] == "passed"


def test_a_replica_changed_behind_our_back_is_found_named_and_mended_by_the_next_round(ground):
    round_of(ground)
    forged = a_file(ground.town.path_on_machine("dr-archive1", DOCUMENTS))
    honest, times = forged.read_bytes(), forged.stat()
    forged.write_bytes(honest[:-1] + bytes([honest[-1] ^ 1]))
    os.utime(forged, ns=(times.st_atime_ns, times.st_mtime_ns))
    # Size and time tell rsync nothing, so the round brings nothing; but its point is not proved, and it says so.
    refused(ground.skerry("replicate", "run", "archive", "--as", "ben"), 31, "DigestMismatch", "documents", forged.name)
    told = ground.skerry("replicate", "status", "archive")
    refused(told, 31, "DigestMismatch", "archive/documents at dr (live) is damaged")
    refused(ground.skerry("verify", "archive"), 31, "DigestMismatch", "archive/documents at dr (live)", forged.name)
    # Now that the difference has a name, a round reads everything there.
    assert round_of(ground)["result"] == "passed"
    assert ground.good("replicate", "status", "archive")["systems"][0]["damaged"] == []
    assert forged.read_bytes() == honest
    assert ground.good("verify", "archive", "--side", "dr", "--scrub")["passed"]


def test_somebody_else_watches_the_round_that_goes_on_and_stops_looking_when_he_likes(ground):
    looks: list[dict[str, Any]] = []
    for _ in range(5):  # a round may be over between two looks
        watching = begin(ground.home, "replicate", "watch", "archive", "--every", "0.2", "--json")
        round_of(ground)
        watching.process.send_signal(signal.SIGINT)
        told = watching.end()
        assert told.exit_code == 130
        looks += [json.loads(line) for line in told.stdout.splitlines()]
        if any(look["under_way"] for look in looks):
            break
    (seen,) = next(look["under_way"] for look in looks if look["under_way"])
    assert seen["system"] == "archive"
    assert seen["text"]
    assert {row["dataset"] for look in looks for row in look["systems"][0]["datasets"]} == {"documents"}
    past = ground.good("replicate", "history", "archive")
    assert [each["dataset"] for each in past["datasets"] if each["stretches"]] == ["documents"]
    assert "passed" in {each["result"] for each in past["rounds"]}


def test_held_points_stay_and_the_others_go_by_the_policy(ground):
    only_one = "  replication: {retention: {last: 1, daily: 0, weekly: 0, monthly: 0}}\n  links:\n"
    folder = estate(ground.home, ("  links:\n", only_one), file="group_vars/skerry/policy.yml")
    words = ("--inventory", str(folder))
    first, second, third = (round_of(ground)["point"] for _ in range(3))
    ground.good(*words, "snapshot", "hold", "archive", first, "--name", "audit", "--because", "x", "--as", "ben")
    dry = ground.good(*words, "snapshot", "prune", "archive", "--dry-run")
    assert second in dry["remove"]
    assert first not in dry["remove"]
    assert ground.good(*words, "snapshot", "prune", "archive", "--as", "ben")["remove"] == dry["remove"]
    left = [each["point"]["id"] for each in ground.good("snapshot", "list", "archive", "--ask")["points"]]
    assert left == [third, first]
    points = ground.town.path_on_machine("dr-archive1", f"{Path(DOCUMENTS).parent}/.skerry-points/documents")
    assert {path.name for path in points.iterdir()} == {first, third}
    ground.good(*words, "snapshot", "release", "archive", first, "--name", "audit", "--because", "x", "--as", "ben")
    assert ground.good(*words, "snapshot", "prune", "archive", "--as", "ben")["remove"] == [first]


def test_a_round_while_runs_are_carried_is_refused_and_the_process_named(ground):
    with outside_of_workers(f"sqlite:///{ground.home}/state.db"):
        told = ground.skerry("replicate", "run", "archive", "--as", "ben")
        refused(told, 44, "RunInProgress", f"process {os.getpid()}")
    assert round_of(ground)["result"] == "passed"


def test_a_round_that_was_killed_is_told_and_the_next_one_passes(ground):
    before = len(rounds(ground))
    begun = begin(ground.home, "replicate", "run", "archive", "--as", "ben", "--json")
    wait_until(lambda: len(rounds(ground)) > before)
    begun.process.send_signal(signal.SIGKILL)
    begun.end()
    assert round_of(ground)["result"] == "passed"
    ended = [each["result"] for each in rounds(ground)[before:]]
    assert ended in (["broken_off", "passed"], ["passed", "passed"])  # it may have been quicker than the signal
    assert ground.good("evidence", "verify")["verified"]


def test_rounds_at_a_beat_go_on_until_they_are_told_to_end(ground):
    before = len(rounds(ground))
    begun = begin(ground.home, "replicate", "run", "archive", "--every", "1s", "--as", "ben", "--json")
    try:
        wait_until(lambda: len([each for each in rounds(ground)[before:] if each["result"] == "passed"]) >= 2)
    finally:
        begun.process.send_signal(signal.SIGINT)
    assert begun.end().exit_code == 130


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + CONDITION_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def test_the_lab_s_estate_is_what_these_tests_think_it_is():
    assert DOCUMENTS in (ESTATE / "group_vars/skerry/systems.yml").read_text()
