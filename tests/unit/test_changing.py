"""How fast a system changes: measured by rounds of replication, kept by the survey, judged by plans."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.cli.app import main
from orchestrator.foundation.clock import timestamp
from orchestrator.model.recovery_point import HeldDataset, RecoveryPoint
from orchestrator.model.replication import Round
from orchestrator.model.site import Side
from orchestrator.operations.changing import changes_of_estate, changing
from orchestrator.operations.desk import open_desk
from orchestrator.operations.survey import survey_estate
from orchestrator.wiring.workshop import Workshop
from tests.fakes.surveys import healthy

BEGAN = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def a_round(desk: Workshop, second: int, *, log: str, brought: int, result: str = "passed") -> None:
    """One that held a point of billing, with its cluster at `log`, so many seconds after the first."""
    at = timestamp(BEGAN + timedelta(seconds=second))
    point = f"rp-{second:04d}"
    held = tuple(
        HeldDataset(dataset=name, digest="sha256:" + "0" * 64, mark=mark)
        for name, mark in (("accounts", log), ("scans", "/somewhere"))
    )
    document = RecoveryPoint(
        id=point, system="billing", at=at, consistency="crash", datasets=held, sides=(Side.SOURCE, Side.DR)
    )
    desk.catalogue.put("recovery_point", f"billing/{point}", document.model_dump(mode="json"))
    told = {"id": f"round-{second}", "system": "billing", "by": "ada", "started_at": at, "result": result}
    desk.replication.put_round(Round.model_validate(told | {"point": point, "moment_at": at, "bytes_wire": brought}))


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path))
    monkeypatch.delenv("SKERRY_HOSTS", raising=False)
    estate = tmp_path / "estate"
    shutil.copytree(Path(__file__).parents[1] / "good_inventories" / "small", estate)
    monkeypatch.setenv("SKERRY_INVENTORY", str(estate))
    with open_desk(estate) as opened:
        yield opened


def measured(desk: Workshop):
    return changing(desk.inventory.systems["billing"], desk.catalogue, desk.replication)


def test_it_is_not_known_before_two_rounds_far_enough_apart(desk):
    assert measured(desk) is None
    a_round(desk, 0, log="0/1000000", brought=5_000_000)
    assert measured(desk) is None
    a_round(desk, 4, log="0/1000100", brought=10)
    assert measured(desk) is None


def test_databases_by_their_log_and_the_rest_by_what_was_brought(desk):
    a_round(desk, 0, log="0/1000000", brought=5_000_000)
    a_round(desk, 100, log="0/1010000", brought=200_000)
    found = measured(desk)
    assert found.rates == {"accounts": 655.36, "scans": 2000.0}
    assert found.told == "2 rounds from 2026-11-23T02:00:00.000Z to 2026-11-23T02:01:40.000Z"


def test_one_round_that_brought_everything_anew_or_did_not_pass_says_nothing_of_it(desk):
    for minute, brought in enumerate((9, 600, 9_000_000_000, 600, 600)):
        a_round(desk, 60 * minute, log=f"0/{0x1000000 + 6000 * minute:X}", brought=brought)
    a_round(desk, 300, log="0/9000000", brought=1_000_000_000, result="failed")
    found = measured(desk)
    assert (found.rates, found.rounds) == ({"accounts": 100.0, "scans": 10.0}, 5)


def test_a_plan_whose_links_cannot_carry_what_was_measured_is_refused_with_place_and_remedy(desk, capsys):
    """Nothing is written into the facts by hand: rounds measured it, the survey kept it."""

    def plan() -> tuple[int, str]:
        changes = changes_of_estate(desk.inventory, desk.catalogue, desk.replication)
        facts = survey_estate(
            desk.inventory,
            lambda inventory, _tell: healthy(inventory),
            desk.catalogue,
            on_host=lambda _host: None,
            changes=changes,
        )
        assert facts.digest.startswith("sha256:")
        code = main(["plan", "make", "billing", "--wave", "w-1", "--as", "ada", "--json"])
        return code, capsys.readouterr().err

    a_round(desk, 0, log="0/1000000", brought=5_000_000)
    a_round(desk, 100, log="0/1010000", brought=200_000)
    assert plan()[0] == 0
    a_round(desk, 200, log="F/1010000", brought=200_000)
    a_round(desk, 300, log="1E/1010000", brought=200_000)
    code, err = plan()
    assert code == 12
    told = json.loads(err.splitlines()[-1])["message"]
    assert "systems.yml:" in told
    assert "billing changes" in told
    assert "more than its links carry" in told
