"""skerry cutover, failover, failback, rollback, word: up to where hosts would be asked."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.cli.app import main
from orchestrator.contracts.authority import Authority
from orchestrator.engine.store import open_store
from orchestrator.engine.worker_store import WorkerStore
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import PlanningError
from orchestrator.model.site import Side
from orchestrator.operations.accounts import account_of_loss
from orchestrator.operations.desk import open_desk
from orchestrator.operations.migrate import new_run_id
from orchestrator.operations.plan import find_plan, list_plans
from orchestrator.operations.switch import give_word
from orchestrator.wiring.state import state_url
from tests.fakes.surveys import healthy
from tests.fakes.written_answers import example, holds

ROOT = Path(__file__).parents[2]


@pytest.fixture
def office(tmp_path):
    """A home, an estate whose persons have keys, and facts of healthy hosts."""
    estate = tmp_path / "estate"
    shutil.copytree(ROOT / "tests" / "good_inventories" / "small", estate)
    for person in ("ada", "bo"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / person)], check=True)
    people = f"""people:
  ada: {{name: Ada, roles: [system-owner], keys: ["file:{tmp_path}/ada.pub"]}}
  bo: {{name: Bo, roles: [migration-engineer, system-owner], keys: ["file:{tmp_path}/bo.pub"]}}
"""
    (estate / "group_vars" / "skerry" / "people.yml").write_text(people)
    hosts = estate / "hosts.yml"  # which refuse at once, instead of being silent for as long as a connection is tried
    hosts.write_text(hosts.read_text().replace("192.0.2.", "127.200.2.").replace("198.51.100.", "127.200.100."))
    return tmp_path


@pytest.fixture
def skerry(office, monkeypatch, capsys):
    """Run one command in this process: (exit code, what it printed, what it complained)."""
    monkeypatch.setenv("SKERRY_HOME", str(office / "home"))
    monkeypatch.setenv("SKERRY_INVENTORY", str(office / "estate"))
    monkeypatch.delenv("SKERRY_HOSTS", raising=False)
    with open_desk(office / "estate") as desk:
        desk.catalogue.put("facts", desk.inventory.digest, healthy(desk.inventory).model_dump(mode="json"))

    def run(*words: str):
        code = main(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def system_of(office) -> str:
    with open_desk(office / "estate") as desk:
        return next(iter(desk.inventory.systems))


@pytest.mark.parametrize("kind", ["cutover", "failback", "failover"])
def test_a_switch_makes_its_plan_and_waits_for_the_approval_of_just_that(office, skerry, kind):
    system = system_of(office)
    code, _, err = skerry(kind, system, "--as", "bo", "--json")
    assert code == 41, err
    told = json.loads(err)
    digest = next(word for word in told["message"].split() if word.startswith("sha256:"))
    with open_desk(office / "estate") as desk:
        plan = find_plan(desk.catalogue, digest)
    assert (plan.runbook, [each.system.name for each in plan.systems]) == (kind, [system])
    assert skerry(kind, system, "--as", "bo", "--json")[2] == err, "the same words give the same plan"
    wanted = {"runbooks/failback.yml", "runbooks/cutover.yml"} if kind == "failback" else {f"runbooks/{kind}.yml"}
    assert wanted <= set(plan.closure)


@pytest.mark.parametrize("words", [["failback"], ["rollback", "--without-record"], ["cutover", "--set", "to=source"]])
def test_nothing_leads_back_to_a_source_that_was_given_up(office, skerry, words):
    system = system_of(office)
    assert skerry(words[0], system, *words[1:], "--set", "from=cloud", "--as", "bo")[0] == 41
    with open_desk(office / "estate") as desk:
        word = {"by": "bo", "at": "2026-11-22T10:00:00.000Z", "wave": "pilot", "plan": "sha256:0"}
        desk.catalogue.put("retired_source", system, word)
        plan = list_plans(desk.catalogue)[0]
        with pytest.raises(PlanningError, match="its source was given up by bo at 2026-11-22"):
            desk.ensure_allowed(plan, "bo")
    code, _, err = skerry(words[0], system, *words[1:], "--set", "from=cloud", "--as", "bo")
    assert code == 12
    assert f"{system}: its source was given up by bo at 2026-11-22T10:00:00.000Z (wave pilot)" in err
    assert skerry("cutover", system, "--as", "bo")[0] == 41, "only what leads back there is refused"


def test_a_failover_is_planned_with_the_source_dead_and_a_cutover_is_not(office, skerry):
    system = system_of(office)
    with open_desk(office / "estate") as desk:
        facts = healthy(desk.inventory)
        host = desk.inventory.systems[system].host_of(Side.SOURCE)
        dead = facts.hosts[host].model_copy(update={"reachable": False, "why_not": "no route"})
        facts = facts.model_copy(update={"hosts": {**facts.hosts, host: dead}})
        desk.catalogue.put("facts", desk.inventory.digest, facts.model_dump(mode="json"))
    code, _, err = skerry("cutover", system, "--as", "bo")
    assert code == 12
    assert f"host {host} cannot be reached" in err
    assert skerry("failover", system, "--as", "bo")[0] == 41


def test_a_word_is_signed_and_kept_and_answers_as_its_document_says(office, skerry):
    system = system_of(office)
    words = ["--as", "ada", "--key", str(office / "ada"), "--because", "power is off, I stood there"]
    code, out, err = skerry("word", system, "--down", "source", *words, "--json")
    assert code == 0, err
    holds(json.loads(out), example("skerry word"))
    with open_desk(office / "estate") as desk:
        kept = desk.catalogue.list("word", prefix=f"{system}/side_is_down/source/1/")
    assert len(kept) == 1
    assert "is down" in skerry("word", system, "--down", "source", *words)[1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--down", "source", "--accept-loss", "cloud"], 2, "say one thing"),
        ([], 2, "say one thing"),
        (["--down", "moon"], 2, "there is no side moon"),
        (["--down", "cloud"], 42, "authority is at source"),
        (["--accept-loss", "source"], 42, "may write now"),
    ],
)
def test_a_word_that_could_not_count_is_refused(office, skerry, words, code, said):
    person = ["--as", "ada", "--key", str(office / "ada"), "--because", "seen"]
    answer = skerry("word", system_of(office), *words, *person)
    assert answer[0] == code
    assert said in answer[2]


def test_what_a_loss_would_be_is_signed_with_the_word(office, skerry):
    system = system_of(office)
    shown = {"at": "source", "beside": "cloud", "complete": False, "unknown": "no route"}
    with open_desk(office / "estate") as desk:
        desk.authority.move(system, expected_number=1, to=Side.CLOUD, key="moved")
        assert account_of_loss(desk, system, Side.SOURCE) == {}, "no run of it is on record, so nothing can be counted"
        word = give_word(
            desk,
            "loss_accepted",
            system=system,
            side=Side.SOURCE,
            person="ada",
            role=None,
            key_file=str(office / "ada"),
            because="it was empty",
            account=shown,
        )
    assert word.account == shown
    words = ["--as", "ada", "--key", str(office / "ada"), "--because", "it was empty"]
    code, out, err = skerry("word", system, "--accept-loss", "source", *words)
    assert code == 0, err
    assert "may lose what only it holds" in out


def test_a_word_with_another_person_s_key_is_refused(office, skerry):
    person = ["--as", "ada", "--key", str(office / "bo"), "--because", "seen"]
    code, _, err = skerry("word", system_of(office), "--down", "source", *person)
    assert code == 42
    assert "the word of ada" in err


def test_a_rollback_needs_a_run_and_a_reason(office, skerry):
    system = system_of(office)
    assert skerry("rollback", system, "--as", "bo")[0] == 2
    code, _, err = skerry("rollback", system, "--as", "bo", "--because", "late")
    assert code == 2
    assert f"no run of {system} is on record here" in err
    assert "--without-record" in err
    code, _, err = skerry("rollback", "0193", "--as", "bo", "--because", "late")
    assert code == 2
    assert "there is no run or system 0193" in err
    assert skerry("rollback", system, "--as", "bo", "--without-record")[0] == 41


def test_a_rollback_of_a_run_that_did_nothing_is_carried_out_here(office, skerry):
    system = system_of(office)
    _, _, err = skerry("cutover", system, "--as", "bo", "--json")
    digest = next(word for word in json.loads(err)["message"].split() if word.startswith("sha256:"))
    run = new_run_id()
    with open_desk(office / "estate") as desk:
        desk.runs.submit(run, find_plan(desk.catalogue, digest), kind="cutover", operator="bo")
    code, out, err = skerry("rollback", system, "--as", "bo", "--because", "called off", "--json")
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{") and line.endswith("}")]
    assert {"accounts": {system: {}}} in lines
    with open_desk(office / "estate") as desk:
        assert desk.runs.status(run).systems[0].state in ("rolled_back", "cancelled")
        present: Authority = desk.authority.read(system)
        assert (present.side, present.number) == (Side.SOURCE, 1)
    code, _, err = skerry("rollback", run[:13], "--as", "bo", "--because", "again")
    assert code == 40
    assert "there is nothing to bring back" in err


@pytest.mark.parametrize(("command", "said"), [("rollback", "called failback"), ("commit", "nothing to commit")])
def test_a_run_that_failed_and_is_over_is_not_taken_up_instead_of_the_one_after_it(office, skerry, command, said):
    """A commit would have begun its plan anew."""
    system = system_of(office)
    _, _, err = skerry("cutover", system, "--as", "bo", "--json")
    digest = next(word for word in json.loads(err)["message"].split() if word.startswith("sha256:"))
    with open_desk(office / "estate") as desk:
        for state in ("failed", "committed"):
            run = new_run_id()
            desk.runs.submit(run, find_plan(desk.catalogue, digest), kind="cutover", operator="bo")
            rows = WorkerStore(open_store(state_url(), clock=SystemClock()).database, SystemClock())
            rows.set_system_state(run, system, state, "by the test", holds=False)
            assert rows.set_run_state(run, "finished", only_from="submitted", worker="w")
    because = ["--because", "late"] if command == "rollback" else []
    code, out, err = skerry(command, system, "--as", "bo", "--yes", *because)
    assert code == 40, out
    assert said in err
    with open_desk(office / "estate") as desk:
        assert len(desk.runs.list(limit=10)) == 2


def plan_asked_for(skerry, *words: str) -> str:
    _, _, err = skerry(*words, "--as", "bo", "--json")
    return next(word for word in str(json.loads(err)["message"]).split() if word.startswith("sha256:"))


def approve(skerry, office, digest: str) -> None:
    code, _, err = skerry("approve", digest, "--as", "ada", "--key", str(office / "ada"), "--json")
    assert code == 0, err


def test_a_failover_takes_a_system_over_from_the_run_that_stands_once_it_is_approved_and_vouched_for(office, skerry):
    system = system_of(office)
    held = new_run_id()
    with open_desk(office / "estate") as desk:
        plan = find_plan(desk.catalogue, plan_asked_for(skerry, "cutover", system))
        desk.runs.submit(held, plan, kind="cutover", operator="bo", pause_before=["preflight"])
    digest = plan_asked_for(skerry, "failover", system)

    def state() -> str:
        with open_desk(office / "estate") as desk:
            return str(desk.runs.status(held).systems[0].state)

    before = state()
    assert skerry("failover", system, "--as", "bo")[0] == 41
    approve(skerry, office, digest)
    code, _, err = skerry("failover", system, "--as", "bo")
    assert code == 41
    assert f"{system} is held by run {held}" in err
    assert f"skerry word {system} --down source" in err
    assert state() == before, "an approval is not enough to leave what another run holds"
    person = ["--as", "ada", "--key", str(office / "ada"), "--because", "power is off, I stood there"]
    assert skerry("word", system, "--down", "source", *person)[0] == 0
    code, out, err = skerry("failover", system, "--as", "bo")
    assert state() == "cancelled"
    with open_desk(office / "estate") as desk:
        reason = desk.runs.status(held).systems[0].reason
        runs = {run.run: run for run in desk.runs.list(limit=10)}
    assert reason == (
        f"left as it stood, for bo: failover {digest}; ada says that source is down: power is off, I stood there"
    )
    assert len(runs) == 2
    assert code == 61, (out, err)
    assert next(run for run in runs if run != held) in err, "its first look at hosts fails, for there are none"


def test_a_rollback_that_would_stand_at_its_first_inverse_asks_nothing_of_the_run_and_says_who_takes_over(
    office, skerry
):
    system = system_of(office)
    run = new_run_id()
    with open_desk(office / "estate") as desk:
        plan = find_plan(desk.catalogue, plan_asked_for(skerry, "cutover", system))
        desk.runs.submit(run, plan, kind="cutover", operator="bo")
        desk.authority.move(system, expected_number=1, to=Side.CLOUD, key="moved")
        rows = WorkerStore(open_store(state_url(), clock=SystemClock()).database, SystemClock())
        rows.set_system_state(run, system, "paused", "", holds=True)
    code, _, err = skerry("rollback", system, "--as", "bo", "--yes", "--because", "the cloud is gone")
    assert code == 20, err
    assert f"nothing was asked of run {run}" in err
    assert f"skerry word {system} --down cloud" in err
    assert f"skerry failover {system} --set from=cloud --set to=source" in err
    with open_desk(office / "estate") as desk:
        status = desk.runs.status(run)
    assert (status.systems[0].state, status.requests_open) == ("paused", 0)


def test_an_objective_that_the_measured_link_cannot_meet_is_refused_with_file_line_and_remedy(office, skerry):
    system = system_of(office)
    systems = office / "estate" / "group_vars" / "skerry" / "systems.yml"
    with open_desk(office / "estate") as desk:
        facts = healthy(desk.inventory)
        planned = desk.inventory.systems[system]
        hosts = dict(facts.hosts)
        for dataset in planned.datasets:
            name = planned.host_of(Side.SOURCE, dataset.name)
            found = hosts[name].datasets[dataset.name]
            busy = found.model_copy(update={"detail": {**found.detail, "changed_bytes_per_second": "99999999999"}})
            datasets = {**hosts[name].datasets, dataset.name: busy}
            hosts[name] = hosts[name].model_copy(update={"datasets": datasets})
        facts = facts.model_copy(update={"hosts": hosts})
        desk.catalogue.put("facts", desk.inventory.digest, facts.model_dump(mode="json"))
    code, _, err = skerry("cutover", system, "--as", "bo", "--json")
    assert code == 12
    problem = next(each for each in json.loads(err)["problems"] if f"system {system} changes" in each["message"])
    assert problem["file"].endswith("group_vars/skerry/systems.yml")
    assert "objectives" in systems.read_text().splitlines()[problem["line"] - 1]
    assert "give the links more and measure them again" in problem["message"]
