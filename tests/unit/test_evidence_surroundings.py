"""Where a run takes place, as its evidence tells it: facts of this machine, nothing guessed; and what it was for."""

import subprocess

import pytest

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.preface import PrefacedRecorder
from orchestrator.evidence.story import RunStory
from orchestrator.evidence.surroundings import (
    clock_facts,
    commit_of,
    environment_facts,
    program_digest,
    read_chrony,
    read_timedatectl,
    surroundings,
)
from orchestrator.evidence.told_surroundings import clock_words, environment_rows, judge_surroundings, scope_rows
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.model.event import RunEvent
from orchestrator.model.scope import Participant, Scope
from tests.fakes.recorder import FakeRecorder
from tests.fakes.run_papers import FewPapers

TRACKING = "A29FC87B,162.159.200.123,4,1795300000.1,0.000012,-0.000004,0.00002,-3.2,0.0,0.1,0.01,0.002,64.5,Normal\n"


def test_what_chrony_says():
    told = {"reference": "162.159.200.123", "stratum": 4, "offsetSeconds": 0.000012, "leap": "Normal"}
    assert read_chrony(TRACKING) == told


@pytest.mark.parametrize("said", ["", "506 Cannot talk to daemon\n", ",,,", "a,b,c,d,e,f"])
def test_chrony_that_says_nothing_of_use_is_left_out(said):
    assert read_chrony(said) == {}


def test_what_systemd_says():
    assert read_timedatectl("NTP=yes\nNTPSynchronized=no\n") == {"service": True, "synchronised": False}
    assert read_timedatectl("Failed to query server: no bus\n") == {}


def test_the_clock_of_this_machine_is_told_without_a_guess():
    told = clock_facts()
    assert told["source"] in ("chrony", "systemd-timesyncd", "kernel", "none", "unknown")
    assert ("synchronised" in told) is (told["source"] != "unknown")
    if "kernel" in told:
        assert isinstance(told["kernel"]["synchronised"], bool)
        assert told["kernel"]["errorSecondsMax"] >= 0


def test_programs_are_told_with_their_versions_and_our_own_files_with_a_digest():
    told = environment_facts()
    assert told["skerry"]["digest"] == program_digest()
    assert told["python"].startswith("3.")
    assert told["os"]


def git(folder, *words):
    who = ["-c", "user.name=t", "-c", "user.email=t@example", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_the_commit_of_the_estate_and_whether_it_is_what_lies_there(tmp_path):
    assert commit_of(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None, "nothing was committed yet"
    estate = tmp_path / "estate"
    estate.mkdir()
    (estate / "hosts.yml").write_text("all: {}\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    found = commit_of(estate)
    assert found is not None
    assert (len(found["commit"]), found["clean"], found["signed"]) == (40, True, False)
    (tmp_path / "elsewhere").write_text("x")
    assert commit_of(estate) == found, "what lies outside of the estate is none of its business"
    (estate / "people.yml").write_text("[]\n")
    assert commit_of(estate) == found | {"clean": False}
    assert surroundings(estate)["environment"]["estate"]["commit"] == found["commit"]
    assert "estate" not in surroundings(None)["environment"]


def test_what_a_run_is_created_with_is_added_by_the_recorder():
    kept = FakeRecorder()
    recorder = PrefacedRecorder(kept, FewPapers(facts={"clock": {"source": "chrony"}}), lambda run: "")
    recorder.record(RunEvent(type="run.created", run="r", at="2026-01-01T00:00:00Z", data={"plan": "p", "kind": "x"}))
    assert kept.recorded[0].data == {"plan": "p", "kind": "x", "clock": {"source": "chrony"}}


def judged(created, plan):
    logged = LoggedEvent(0, "r", 0, "run.created", "2026-01-01T00:00:00Z", "", created)
    findings = Findings()
    judge_surroundings(RunStory("r", [logged], plan=plan), findings)
    return findings


def test_params_must_be_those_of_the_plan():
    plan = {"inputs": {"watch": "10s"}}
    good = {"params": {"digest": digest_of(plan["inputs"]), "values": {"watch": "10s"}}}
    assert not judged(good, plan).failed
    for wrong in ({"digest": "sha256:00"}, good["params"] | {"values": {"watch": "99s"}}):
        assert "other params" in judged({"params": wrong}, plan).failed[0].text


@pytest.mark.parametrize(
    ("clock", "status", "words"),
    [
        ({"source": "chrony", "synchronised": True, "stratum": 4, "offsetSeconds": 0.5}, "info", "off by 0.500000 s"),
        ({"source": "none", "synchronised": False}, "warn", "NOT synchronised"),
        ({"source": "unknown"}, "warn", "nobody said"),
        (None, "warn", "not on record"),
        ("yes", "warn", "not on record"),
    ],
)
def test_a_clock_that_nobody_keeps_is_a_warning(clock, status, words):
    created = {} if clock is None else {"clock": clock}
    found = judged(created, {}).found[-1]
    assert (found.status, words in found.text) == (status, True)
    assert words in clock_words(created)


def test_environment_and_scope_are_told_in_order_and_nothing_is_made_up():
    assert [name for name, _ in environment_rows({})] == ["Clock"]
    created = {
        "environment": {"skerry": {"version": "1", "digest": "d"}, "estate": {"commit": "abc", "clean": False}},
        "params": {"values": {"watch": "10s"}},
    }
    rows = dict(environment_rows(created))
    assert rows["Estate"] == "commit abc, with changes that are not in it"
    assert rows["Param watch"] == "10s"
    scope = Scope(
        bia_ref="BIA-7",
        assumptions=("the source is alive",),
        participants=(Participant(role="system-owner", does="decides", who="ana"),),
    )
    assert scope_rows({"scope": scope.model_dump(mode="json")}) == [
        ("Business impact analysis", "BIA-7"),
        ("Assumption", "the source is alive"),
        ("Participant", "system-owner (ana): decides"),
    ]
    assert scope_rows({}) == scope_rows({"scope": None}) == []
