"""A step that was cut off tells again what it did: the same thing twice is no contradiction, another thing is."""

from typing import Any

import pytest

from orchestrator.evidence.export import collect
from orchestrator.evidence.trust_policy import parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from tests.fakes.staged_run import StagedRun, make_keys, trust_policy


class CutOffRun(StagedRun):
    """Tells each move of authority and each switch twice; the second time with `differing` members."""

    differing: dict[str, Any] = {}

    def tell(self, kind: str, data: dict[str, Any], subject: str = "") -> None:
        super().tell(kind, data, subject)
        if kind in ("authority.moved", "front.switched"):
            super().tell(kind, data | self.differing, subject)


def about_authority(staged: StagedRun, folder, keys) -> list[str]:
    policy = trust_policy(folder / "ledger", keys)
    report = BundleReport("staged")
    judge_bundle(collect(folder / "ledger", staged.run, policy=policy), parse_trust_policy(policy, "policy"), report)
    said = ("authority", "sent", "confirmed stopped")
    return [each.text for each in report.findings.failed if any(words in each.text for words in said)]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


def test_a_move_told_twice_is_one_move(tmp_path, keys):
    assert about_authority(CutOffRun(tmp_path / "ledger", keys).go(), tmp_path, keys) == []


@pytest.mark.parametrize("differing", [{"number": 1}, {"to": "dr"}, {"confirmed": {}}], ids=str)
def test_another_move_told_in_its_place_is_found(tmp_path, keys, differing):
    staged = CutOffRun(tmp_path / "ledger", keys)
    staged.differing = differing
    assert about_authority(staged.go(), tmp_path, keys)
