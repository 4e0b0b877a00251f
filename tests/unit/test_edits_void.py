"""An edit of runbook, inventory or facts makes another plan: approvals of the old one count for nothing."""

import json
import shutil

import pytest

from orchestrator.operations.desk import open_desk
from orchestrator.operations.plan import find_plan
from tests.unit.test_bad_input import GOOD, ROOT, WRITTEN, desk, keys

__all__ = ["desk", "keys"]  # fixtures


def planned(desk, runbook) -> str:
    code, out, err = desk.run(
        "plan", "make", "ledger", "--wave", "w-1", "--as", "bo", "--runbook", str(runbook), "--json"
    )
    assert code == 0, err
    return str(json.loads(out)["digest"])


def edit_runbook(desk, runbook):
    runbook.write_text(runbook.read_text().replace("watch: {default: 10s", "watch: {default: 20s", 1))
    return 12, f"{runbook.name} changed since"


def edit_inventory(desk, runbook):
    text = (GOOD / WRITTEN / "systems.yml").read_text()
    desk.write("systems.yml", text.replace("{rto: 4h, rpo: 1h, mtpd: 2d}", "{rto: 5h, rpo: 1h, mtpd: 2d}"))
    desk.survey()
    return 12, "the inventory changed since"


def edit_facts(desk, runbook):
    desk.survey(changed_bytes_per_second="1000")


@pytest.mark.parametrize("edit", [edit_runbook, edit_inventory, edit_facts])
def test_the_old_plan_is_refused_where_its_files_changed_and_its_approval_does_not_pass_on(desk, tmp_path, edit):
    runbook = tmp_path / "own.yml"
    shutil.copy(ROOT / "runbooks" / "migrate.yml", runbook)
    old = planned(desk, runbook)
    desk.word(old)
    with open_desk(desk.estate) as opened:
        assert opened.standing(find_plan(opened.catalogue, old)).approved
    refused = edit(desk, runbook)
    if refused is not None:
        code, _, err = desk.run("run", old, "--as", "bo")
        assert code == refused[0]
        assert refused[1] in " ".join(err.split())
    new = planned(desk, runbook)
    assert new != old
    code, _, err = desk.run("run", new, "--as", "bo")
    assert code == 41
    assert "nobody approved as system-owner" in err
    assert f"was approved as {old}, which is another plan" in " ".join(err.split())
