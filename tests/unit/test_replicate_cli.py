"""The commands of standing replication that ask no host: what they print, how they end, and words that are refused."""

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.cli.app import main
from orchestrator.engine.store import open_store
from orchestrator.foundation.clock import timestamp
from orchestrator.model.replication import LagSample, Round
from tests.fakes.written_answers import example, holds
from tests.unit.test_metrics import read_openmetrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def skerry(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "tests" / "good_inventories" / "small", tmp_path / "estate")
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SKERRY_INVENTORY", str(tmp_path / "estate"))
    monkeypatch.setenv("SKERRY_HOSTS", "")
    monkeypatch.delenv("SKERRY_HOSTS")

    def run(*words: str):
        code = main(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_status_answers_without_hosts_and_ends_by_the_objective(skerry):
    code, out, err = skerry("replicate", "status", "billing", "--json")
    assert code == 35
    answer = json.loads(out)
    holds(answer, example("skerry replicate status"))
    assert [system["system"] for system in answer["systems"]] == ["billing"]
    assert json.loads(err)["error"] == "ReplicaLagging"
    code, out, _ = skerry("replicate", "status")
    assert code == 35
    assert " ".join(out.splitlines()[0].split()) == "system dataset behind bytes objective rpo last good point"


def test_lag_over_time_is_told_without_hosts(skerry, tmp_path):
    with closing(open_store(f"sqlite:///{tmp_path / 'home'}/state.db")) as store:
        at = datetime.now(UTC) - timedelta(hours=2, minutes=30)
        of = {"system": "billing", "dataset": "accounts", "bytes_behind": 4096}
        later = timestamp(at + timedelta(seconds=1))
        store.replication.note([LagSample(at=timestamp(at), seconds_behind=5.0, **of)])
        store.replication.note([LagSample(at=later, seconds_behind=4000.0, **of)])
        round_ = Round(id="r-1", system="billing", by="ada", started_at=later, finished_at=later, result="failed")
        store.replication.put_round(round_.model_copy(update={"message": "dr-a: no route"}))
    code, out, err = skerry("replicate", "history", "billing", "--json")
    assert (code, err) == (0, "")
    holds(json.loads(out), example("skerry replicate history"))
    code, out, _ = skerry("replicate", "history", "billing")
    assert code == 0
    assert " ".join(out.splitlines()[0].split()) == "system dataset from looks worst bytes rpo"
    seen = timestamp(at)[:16].replace("T", " ")
    assert " ".join(out.splitlines()[1].split()) == f"billing accounts {seen} 2 1 h 6 min 4.0 KiB missed"
    assert ": 1 failed" in out
    assert "billing failed: dr-a: no route" in out
    assert "missed" not in skerry("replicate", "history", "billing", "--since", "1h")[1]


def test_metrics_are_printed_or_written_whole(skerry, tmp_path):
    code, out, _ = skerry("replicate", "metrics")
    assert code == 0
    samples = read_openmetrics(out)
    assert samples["skerry_replication_rpo_met", 'system="ledger",dataset="books"'] == 0
    assert samples["skerry_replication_rpo_objective_seconds", 'system="ledger",dataset="books"'] == 3600
    file = tmp_path / "collector" / "skerry.prom"
    code, printed, _ = skerry("replicate", "metrics", "--output", str(file), "--json")
    assert (code, json.loads(printed)) == (0, {"path": str(file), "bytes": len(out)})
    assert file.read_text() == out
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in file.parent.iterdir()] == ["skerry.prom"]
    holds(json.loads(skerry("replicate", "metrics", "--json")[1]), example("skerry replicate metrics"))


def test_points_are_listed_without_hosts(skerry):
    code, out, err = skerry("snapshot", "list", "billing", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"system": "billing", "points": []}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["replicate", "run", "--as", "ada"], "name systems, or say --all"),
        (["replicate", "run", "billing", "--all", "--as", "ada"], "name systems, or say --all"),
        (["replicate", "run", "biling", "--as", "ada"], "no system is called biling"),
        (["replicate", "run", "billing", "--as", "zoe"], "nobody in people.yml is called zoe"),
        (["replicate", "run", "billing", "--once", "--every", "5m", "--as", "ada"], "--once or --every"),
        (["replicate", "run", "billing", "--every", "soon", "--as", "ada"], "must be a duration"),
        (["replicate", "run", "billing", "--accept-shrinkage", "scans", "--as", "ada"], "wants a reason"),
        (["replicate", "status", "biling"], "no system is called biling"),
        (["snapshot", "list", "biling"], "no system is called biling"),
        (["snapshot", "prune", "billing"], "say who removes"),
        (["verify", "biling"], "no system is called biling"),
        (["verify", "--all", "--point", "all"], "--point wants systems by their names"),
        (["verify", "billing", "--point", "rp-0"], "there is no recovery point rp-0"),
        (["verify", "billing"], "billing has no recovery point"),
    ],
)
def test_words_that_mean_nothing_are_refused_before_any_host_is_asked(skerry, words, said):
    code, _, err = skerry(*words)
    assert code == 2
    assert said in err


@pytest.mark.parametrize("words", [["abc123def456", "--as", "ada"], ["--as", "ada", "sha256:" + "0" * 64]])
def test_a_digest_is_still_the_first_stage_of_its_plan(skerry, words):
    code, _, err = skerry("replicate", *words)
    assert code == 2
    assert "there is no plan" in err
    assert skerry("replicate", "stage", *words)[2] == err
