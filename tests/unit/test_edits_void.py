"""Any edit makes another plan, and no word that named the old one counts for it: each kind of edit × each kind of word.

Runbooks, playbooks and the inventory are refused as they stand now; facts where a host is no longer what it was, or an
objective can no longer be met: sizes and rates change by themselves.
"""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.foundation.errors import PlanningError
from orchestrator.operations.desk import open_desk
from orchestrator.operations.plan import ensure_unchanged, find_plan
from tests.fakes.surveys import changed, dataset_changed, healthy
from tests.unit.test_bad_input import GOOD, ROOT, WRITTEN, desk, keys

__all__ = ["desk", "keys"]  # fixtures

WAVES = """\
waves:
  gates:
    G4:
      criteria:
        - {id: ready, step: said, observed: ready, comparison: equal, expected: true}
  order:
    - {wave: pilot, systems: [billing, ledger], soak: 1h, entry: [G4]}
"""


@pytest.fixture
def runbook(tmp_path: Path) -> Path:
    """A runbook of one's own, that includes another."""
    shutil.copy(ROOT / "runbooks" / "failback.yml", tmp_path / "own.yml")
    shutil.copy(ROOT / "runbooks" / "cutover.yml", tmp_path / "cutover.yml")
    return tmp_path / "own.yml"


def planned(desk, runbook, *words: str) -> str:
    code, out, err = desk.run("plan", "wave", "pilot", "--as", "bo", "--runbook", str(runbook), *words, "--json")
    assert code == 0, err
    return str(json.loads(out)["digest"])


def edit(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def survey(desk, change) -> None:
    with open_desk(desk.estate) as opened:
        facts = change(healthy(opened.inventory))
        opened.catalogue.put("facts", opened.inventory.digest, facts.model_dump(mode="json"))


def edit_runbook(desk, runbook):
    edit(runbook, "watch: {default: 10s", "watch: {default: 20s")
    return "own.yml changed since"


def edit_included_runbook(desk, runbook):
    edit(runbook.parent / "cutover.yml", "timeout: 12h", "timeout: 11h")
    return "included/cutover.yml changed since"


def edit_inventory(desk, runbook):
    text = (GOOD / WRITTEN / "systems.yml").read_text()
    desk.write("systems.yml", text.replace("{rto: 4h, rpo: 1h, mtpd: 2d}", "{rto: 5h, rpo: 1h, mtpd: 2d}"))
    desk.survey()
    return "the inventory changed since"


def edit_people(desk, runbook):
    file = desk.estate / WRITTEN / "people.yml"
    edit(file, "name: Ada", "name: Ada Augusta")
    desk.survey()
    return "the inventory changed since"


def edit_host_facts(desk, runbook):
    survey(desk, lambda facts: changed(facts, "home-web1", architecture="aarch64"))
    return "host home-web1: architecture was x86_64, is aarch64"


def edit_dataset_facts(desk, runbook):
    survey(desk, lambda facts: dataset_changed(facts, "home-web1", "books", exists=False))
    return "dataset books on home-web1 is gone"


def edit_change_rate(desk, runbook):
    desk.survey(changed_bytes_per_second="99000000")
    return "was made from other facts: system ledger"


def edit_sizes(desk, runbook):
    """What changes by itself makes another plan; the old one may still run."""
    survey(desk, lambda facts: dataset_changed(facts, "home-web1", "books", bytes_used=2 * 1024**3))


def edit_inputs(desk, runbook):
    """Another value is another plan; no file was edited."""


def edit_terms(desk, runbook):
    desk.write("waves.yml", WAVES.replace("soak: 1h", "soak: 2h"))
    return "waves.yml says something else of it now"


EDITS = {
    "runbook": edit_runbook,
    "included runbook": edit_included_runbook,
    "inventory": edit_inventory,
    "people": edit_people,
    "facts of a host": edit_host_facts,
    "facts of a dataset": edit_dataset_facts,
    "how fast data change": edit_change_rate,
    "how large data are": edit_sizes,
    "inputs": edit_inputs,
    "terms of the wave": edit_terms,
}
PLAN_AGAIN = {"facts of a dataset", "how fast data change"}  # there is no plan then


def say_all(desk, digest: str) -> None:
    """Every kind of word about a plan: an approval, readiness at a gate, a waiver, an order to start."""
    by_ada = ("--as", "ada", "--key", str(desk.keys / "ada"))
    desk.word(digest)
    said = [
        ("wave", "gate", "pilot", "G4", "--go", "--observe", "ready=true", *by_ada),
        ("wave", "skip", "pilot", "billing", "--because", "its owner is away", *by_ada),
        ("evidence", "order", digest, "--as", "bo", "--role", "migration-engineer", "--key", str(desk.keys / "bo")),
    ]
    for words in said:
        code, _, err = desk.run(*words)
        assert code == 0, (words, err)


def standing(desk, digest: str) -> dict[str, bool]:
    """Which words count for the plan of this digest."""
    with open_desk(desk.estate) as opened:
        approved = opened.standing(find_plan(opened.catalogue, digest)).approved
        ordered = bool(opened.catalogue.list("start_order", prefix=f"{digest}/"))
    code, out, err = desk.run("wave", "status", "pilot", "--json")
    assert code == 0, err
    status = json.loads(out)
    assert status["plan"] == digest
    return {
        "approval": approved,
        "order": ordered,
        "readiness": any(gate["gate"] == "G4" and gate["open"] for gate in status["gates"]),
        "waiver": bool(status["waivers"]),
    }


@pytest.mark.parametrize("kind", EDITS)
def test_no_word_about_the_old_plan_counts_after_an_edit(desk, runbook, kind):
    desk.write("waves.yml", WAVES)
    old = planned(desk, runbook)
    say_all(desk, old)
    assert standing(desk, old) == dict.fromkeys(("approval", "order", "readiness", "waiver"), True)
    refused = EDITS[kind](desk, runbook)
    if refused is not None:
        code, _, err = desk.run("wave", "run", "pilot", "--as", "bo")
        assert code == 12, err
        assert refused in " ".join(err.split())
    if kind in PLAN_AGAIN:
        return
    new = planned(desk, runbook, *(("--set", "watch=21s") if kind == "inputs" else ()))
    assert new != old
    assert standing(desk, new) == dict.fromkeys(("approval", "order", "readiness", "waiver"), False)
    code, _, err = desk.run("run", new, "--as", "bo")
    assert code == 41
    assert f"was approved as {old}, which is another plan" in " ".join(err.split())


@pytest.mark.parametrize("sent", ["drain.yml", "files/fence.py"])
def test_an_edited_playbook_or_what_it_sends_to_hosts_voids_the_plan(desk, runbook, tmp_path, sent):
    desk.write("waves.yml", WAVES)
    digest = planned(desk, runbook)
    playbooks = tmp_path / "playbooks"
    shutil.copytree(ROOT / "playbooks", playbooks)
    with open_desk(desk.estate) as opened:
        plan = find_plan(opened.catalogue, digest)
        assert f"playbooks/{sent}" in plan.closure
        edited = plan.model_copy(update={"closure": {**plan.closure, f"playbooks/{sent}": "sha256:" + "0" * 64}})
        ensure_unchanged(
            plan, inventory=opened.inventory, playbook_path=opened.playbook_path, runbook_file=runbook
        )
        with pytest.raises(PlanningError, match=f"playbooks/{sent} changed since"):
            ensure_unchanged(
                edited, inventory=opened.inventory, playbook_path=opened.playbook_path, runbook_file=runbook
            )


def test_a_drill_is_of_the_plan_that_it_named(desk):
    """What was drilled was a plan; whoever edits the estate has a drill that may not run any more, and no newer one."""
    desk.write(
        "drills.yml",
        "drills:\n  schedule:\n"
        "    - {drill: weekly, systems: [ledger], cron: '0 3 * * 0', time_zone: UTC, operator: bo}\n",
    )
    code, out, err = desk.run("drill", "plan", "weekly", "--as", "bo", "--json")
    assert code == 0, err
    digest = json.loads(out)["digest"]
    desk.word(digest)
    assert in_the_way(desk) == ""
    edit_inventory(desk, None)
    assert "the inventory changed since" in in_the_way(desk)


def in_the_way(desk) -> str:
    code, out, err = desk.run("drill", "schedule", "--json")
    assert code == 0, err
    return str(json.loads(out)["drills"][0]["in_the_way"])
