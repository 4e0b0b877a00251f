"""Copies of the state: a run goes on, or back, at another machine; the ledger continues; and nothing is done twice."""

import shutil
import tarfile
from contextlib import contextmanager

import pytest

from orchestrator.engine.store import open_store
from orchestrator.engine.worker import open_worker
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import UsageError
from orchestrator.model.action import Approval
from orchestrator.operations.state_copy import back_up, restore
from orchestrator.planning.gates import judge_gate
from tests.fakes.handlers import Faults, SimulatedHandlers
from tests.fakes.plans import a_plan, a_step, shipped_steps
from tests.fakes.simulated_site import SimulatedSite

ORIGIN = "evidence.example/copy"


@pytest.fixture
def at(tmp_path, monkeypatch):
    """Say at which machine the next words are spoken: each has a home of its own."""
    monkeypatch.delenv("SKERRY_DATABASE", raising=False)

    def go(name):
        monkeypatch.setenv("SKERRY_HOME", str(tmp_path / name))
        return tmp_path / name

    return go


@contextmanager
def worker_at(home, site, faults=None):
    """A worker with this home over the world, and the runs that people see."""
    url = f"sqlite:///{home}/state.db"
    recorder = open_recorder(home / "ledger", origin=ORIGIN, source=f"urn:test:{home.name}", clock=SystemClock())
    handlers = SimulatedHandlers(site, faults or Faults())
    worker = open_worker(url, f"sqlite:///{home}/engine.db", handlers, recorder, judge_gate=judge_gate)
    store = open_store(url)
    worker.start()
    try:
        yield worker, store.runs
    finally:
        worker.stop()
        recorder.close()
        store.close()


def with_pauses(*after):
    """The shipped move, and a person who is asked after each of these steps, before whatever needs them."""
    steps = []
    for step in shipped_steps():
        asked = tuple(f"ask_{need}" for need in step.needs if need in after)
        steps.append(step.model_copy(update={"needs": (*step.needs, *asked)}))
        if step.id in after:
            steps.append(a_step(f"ask_{step.id}", Approval(), needs=(step.id,), timeout=86400))
    return a_plan(steps)


def until_asked(worker, runs, after):
    for _ in range(600):
        worker.await_finished("run-1", timeout_seconds=0.05)
        status = runs.status("run-1")
        waiting = [step for step in status.systems[0].steps if step.state in ("waiting", "started")]
        if [step.step for step in waiting] == [f"ask_{after}"] and not status.requests_open:
            return
    raise AssertionError(f"nobody was asked: {runs.status('run-1')}")


def verifies(home):
    return verify_log(home / "ledger", vkeys=own_keys(home / "ledger")).verified


@pytest.mark.parametrize(
    ("answers", "end", "serves"),
    [(["confirm", "resume"], "committed", "cloud"), (["rollback"], "rolled_back", "source")],
)
def test_a_run_goes_on_or_back_at_another_machine_and_the_ledger_continues(at, tmp_path, answers, end, serves):
    site = SimulatedSite(tmp_path / "world.json")
    home = at("source-site")
    with worker_at(home, site) as (worker, runs):
        runs.submit("run-1", with_pauses("promote"), kind="migrate", operator="ana")
        until_asked(worker, runs, "promote")
        made = back_up(tmp_path / "dr-disk" / "skerry.copy")
    copied_size = verify_log(home / "ledger", vkeys=own_keys(home / "ledger")).size
    shutil.rmtree(home)  # the source site is lost
    other = at("dr-site")
    told = restore(tmp_path / "dr-disk" / "skerry.copy")
    assert (told["systems_paused"], told["origin"], made["bytes"] > 0) == (1, ORIGIN, True)
    with worker_at(other, site) as (worker, runs):
        until_asked(worker, runs, "promote")
        assert runs.status("run-1").systems[0].state == "paused"
        for each in answers:
            runs.request("run-1", "filing", each, by="ana", reason="the source site is lost")
        status = worker.await_finished("run-1", timeout_seconds=60)
    assert [found.state for found in status.systems] == [end]
    assert site.violations() == []
    assert site.system("filing").serves(serves, through_front=True)
    deeds = site.deeds("filing")
    assert len(deeds) == len(set(deeds))
    assert verifies(other)
    assert verify_log(other / "ledger", vkeys=own_keys(other / "ledger")).size > copied_size > 0


def test_of_what_was_done_after_the_copy_was_made_the_world_is_asked_first(at, tmp_path):
    site = SimulatedSite(tmp_path / "world.json")
    home = at("source-site")
    with worker_at(home, site) as (worker, runs):
        runs.submit("run-1", with_pauses("recovery_point", "seed_cloud"), kind="migrate", operator="ana")
        until_asked(worker, runs, "recovery_point")
        back_up(tmp_path / "skerry.copy")
        runs.request("run-1", "filing", "confirm", by="ana", reason="go")
        until_asked(worker, runs, "seed_cloud")
        known_here = {step.step for step in runs.status("run-1").systems[0].steps}
    other = at("dr-site")
    restore(tmp_path / "skerry.copy")
    with worker_at(other, site) as (worker, runs):
        until_asked(worker, runs, "recovery_point")
        known_there = {step.step for step in runs.status("run-1").systems[0].steps}
        for each in ("confirm", "resume"):
            runs.request("run-1", "filing", each, by="ana", reason="go")
        until_asked(worker, runs, "seed_cloud")
        runs.request("run-1", "filing", "confirm", by="ana", reason="go")
        assert worker.await_finished("run-1", timeout_seconds=60).systems[0].state == "committed"
    deeds = site.deeds("filing")
    assert len(deeds) == len(set(deeds))
    assert site.violations() == []
    bundles = [path for path in (other / "ledger" / "log" / "tile" / "entries").rglob("*") if path.is_file()]
    entries = b"".join(path.read_bytes() for path in bundles)
    done_between = known_here - known_there - {"ask_seed_cloud"}
    assert done_between
    for step in done_between:
        assert f'"subject":"filing/{step}/1"'.encode() in entries
    assert entries.count(b"skerry.step.probed.v1") >= len(done_between)


def test_orders_of_the_machine_that_was_left_are_older_than_all_that_follow(at, tmp_path):
    site = SimulatedSite(tmp_path / "world.json")
    home = at("source-site")
    tickets = []
    faults = Faults()

    class Noting(SimulatedHandlers):
        def __call__(self, verb):
            inner = super().__call__(verb)

            class Handler:
                def probe(self, deed):
                    return inner.probe(deed)

                def act(self, deed, progress, emit):
                    tickets.append(deed.ticket)
                    return inner.act(deed, progress, emit)

            return Handler()

    def carried(at_home):
        recorder = open_recorder(at_home / "ledger", origin=ORIGIN, source="urn:test", clock=SystemClock())
        url = f"sqlite:///{at_home}/state.db"
        handlers = Noting(site, faults)
        worker = open_worker(url, f"sqlite:///{at_home}/engine.db", handlers, recorder, judge_gate=judge_gate)
        return recorder, worker, open_store(url)

    for number, place in enumerate((home, at("dr-site"))):
        if number:
            restore(tmp_path / "skerry.copy")
        recorder, worker, store = carried(place)
        worker.start()
        if not number:
            store.runs.submit("run-1", with_pauses("promote"), kind="migrate", operator="ana")
            until_asked(worker, store.runs, "promote")
            at("source-site")
            back_up(tmp_path / "skerry.copy")
            at("dr-site")
            before = max(tickets)
        else:
            for each in ("confirm", "resume"):
                store.runs.request("run-1", "filing", each, by="ana", reason="go")
            worker.await_finished("run-1", timeout_seconds=60)
        worker.stop()
        recorder.close()
        store.close()
    assert min(ticket for ticket in tickets if ticket > before) >= before + 1_000_000


def test_a_home_with_a_state_is_not_overwritten(at, tmp_path):
    home = at("one")
    open_store(f"sqlite:///{home}/state.db").close()
    back_up(tmp_path / "copy")
    with pytest.raises(UsageError, match="is there already"):
        restore(tmp_path / "copy")


def test_where_there_is_no_state_there_is_nothing_to_copy(at, tmp_path):
    at("nowhere")
    with pytest.raises(UsageError, match="has no state yet"):
        back_up(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_damaged_or_hostile_copy_leaves_nothing(at, tmp_path):
    home = at("one")
    open_store(f"sqlite:///{home}/state.db").close()
    open_recorder(home / "ledger", origin=ORIGIN, source="urn:test", clock=SystemClock()).close()
    back_up(tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    content = bytearray((tmp_path / "copy").read_bytes())
    content[6000] ^= 1
    (tmp_path / "flipped").write_bytes(content)
    (tmp_path / "short").write_bytes((tmp_path / "copy").read_bytes()[:5000])
    (tmp_path / "text").write_text("no archive")
    with tarfile.open(tmp_path / "outside", "w") as archive:
        archive.add(tmp_path / "text", arcname="../escaped")
    with tarfile.open(tmp_path / "linked", "w") as archive:
        member = tarfile.TarInfo("state.db")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    other = at("other")
    for name in ("flipped", "short", "text", "outside", "linked"):
        with pytest.raises(UsageError):
            restore(tmp_path / name)
    assert list(other.iterdir()) == []
    assert not (tmp_path / "escaped").exists()
    restore(tmp_path / "copy")
    assert verifies(other)
