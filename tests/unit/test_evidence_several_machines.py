"""A ledger that several machines write: one log, whichever machine wrote what, and a whole copy at each."""

import json
import shutil
import threading

import pytest

from orchestrator.engine.store import open_store
from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.merkle import Frontier, leaf_hash
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import BrokenLog, EvidenceError
from orchestrator.model.event import RunEvent

ORIGIN = "evidence.example/shared"


@pytest.fixture
def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/shared.db")
    yield store
    store.close()


def event(number, run="run-1"):
    return RunEvent(type="step.probed", run=run, at="2026-11-21T22:18:00.000Z", data={"n": number})


def opened(folder, store, shared=None, **more):
    return open_recorder(
        folder,
        origin=ORIGIN,
        source=f"urn:test:{folder.name}",
        clock=SystemClock(),
        ballast_bytes=4096,
        shared=shared or (None if store is None else store.ledger),
        **more,
    )


def bring_keys(source, target):
    """As a backup of one machine that is restored at another does."""
    target.mkdir(mode=0o700)
    shutil.copytree(source / "private", target / "private")
    for path in source.glob("vkey*"):
        shutil.copy(path, target)


def log_of(folder):
    """Every file of a published log."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "log").rglob("*") if path.is_file()}


def verifies(folder):
    return verify_log(folder, vkeys=own_keys(folder)).verified


def numbers_of(store):
    return [json.loads(data)["data"].get("n") for data in store.ledger.entries(1, limit=999)]


def test_two_machines_write_one_log_and_each_holds_all_of_it(tmp_path, store):
    one, other = tmp_path / "one", tmp_path / "other"
    first = opened(one, store)
    bring_keys(one, other)
    second = opened(other, store)
    for number in range(60):
        (first if number % 2 else second).record(event(number))
        if number % 17 == 0:
            (second if number % 2 else first).publish()
    kept = first.keep(b"a plan", "text/plain")
    first.record(RunEvent(type="step.probed", run="run-1", at="2026-11-21T22:18:00.000Z", data={"kept": kept}))
    first.close()
    second.close()
    opened(one, store).close()
    assert numbers_of(store)[:60] == list(range(60))
    assert log_of(one) == log_of(other)
    assert (other / artifact_path(kept["digest"])).read_bytes() == b"a plan"
    assert verifies(other)
    seen = [json.loads(data) for data in store.ledger.entries(1, limit=999)]
    assert [found["seq"] for found in seen] == list(range(61))
    assert {found["source"] for found in seen} == {"urn:test:one", "urn:test:other"}


def test_publishing_at_once_from_two_machines_signs_one_history(tmp_path, store):
    one, other = tmp_path / "one", tmp_path / "other"
    first = opened(one, store)
    bring_keys(one, other)
    second = opened(other, store)

    def write(recorder, run):
        for number in range(12):
            recorder.record(event(number, run))
            recorder.publish()

    threads = [threading.Thread(target=write, args=(each, run)) for each, run in ((first, "run-1"), (second, "run-2"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    second.close()
    opened(one, store).close()
    assert log_of(one) == log_of(other)
    assert verifies(one)


def test_a_machine_without_the_logs_keys_is_refused_and_makes_none(tmp_path, store):
    opened(tmp_path / "one", store).close()
    with pytest.raises(EvidenceError, match="has not the keys of the log") as caught:
        opened(tmp_path / "other", store)
    assert "skerry state backup" in caught.value.hint
    assert not (tmp_path / "other" / "vkey").exists()


class BegunMeanwhile:
    """A shared ledger that another machine begins just after it was seen to be none."""

    def __init__(self, shared, begin):
        self._shared, self._begin = shared, begin

    def __getattr__(self, name):
        return getattr(self._shared, name)

    def found(self, words, entries):
        self._begin()
        return self._shared.found(words, entries)


def test_of_two_machines_that_begin_a_log_at_once_one_is_refused_and_keeps_no_keys(tmp_path, store):
    one, other = tmp_path / "one", tmp_path / "other"
    shared = BegunMeanwhile(store.ledger, lambda: opened(one, store).close())
    with pytest.raises(EvidenceError, match="has not the keys of the log"):
        opened(other, store, shared=shared)
    assert [*other.glob("vkey*"), *other.glob("private/*")] == []
    shutil.rmtree(other)
    bring_keys(one, other)
    second = opened(other, store)
    second.record(event(1))
    second.close()
    opened(one, store).close()
    assert log_of(one) == log_of(other)
    assert verifies(one)


def test_a_machine_that_wrote_alone_and_comes_second_keeps_its_keys(tmp_path, store):
    one, other = tmp_path / "one", tmp_path / "other"
    alone = opened(other, None)
    alone.record(event(1))
    alone.close()
    shared = BegunMeanwhile(store.ledger, lambda: opened(one, store).close())
    with pytest.raises(EvidenceError, match="has not the keys of the log"):
        opened(other, store, shared=shared)
    assert verifies(other)
    opened(other, None).close()


def test_what_a_machine_wrote_alone_is_where_the_shared_log_begins(tmp_path, store):
    one, other = tmp_path / "one", tmp_path / "other"
    alone = opened(one, None)
    for number in range(5):
        alone.record(event(number))
    alone.close()
    head = (one / "log" / "checkpoint").read_text()
    shared = opened(one, store)
    shared.record(event(5))
    shared.close()
    assert numbers_of(store) == list(range(6))
    bring_keys(one, other)
    opened(other, store).close()
    assert log_of(one) == log_of(other)
    assert head in [path.read_text() for path in (other / "log" / "checkpoints").iterdir()]


def test_a_copy_is_not_opened_without_its_database(tmp_path, store):
    opened(tmp_path / "one", store).close()
    with pytest.raises(EvidenceError, match="copy of a ledger that several machines write"):
        opened(tmp_path / "one", None)


def test_a_copy_that_went_another_way_is_refused(tmp_path, store):
    one, other = tmp_path / "one", tmp_path / "other"
    first = opened(one, store)
    first.record(event(0))
    first.close()
    bring_keys(one, other)
    astray = opened(other, None)  # before it knew of the database
    astray.record(event(99))
    astray.close()
    with pytest.raises(BrokenLog, match="is no copy of the log in the shared database"):
        opened(other, store)


def test_a_head_that_was_settled_and_never_signed_is_signed_by_the_next(tmp_path, store):
    one, other = tmp_path / "one", tmp_path / "other"
    opened(one, store).close()
    size = store.ledger.heads(after=0)[-1].size
    bring_keys(one, other)
    second = opened(other, store)
    second.record(event(1))
    # What a machine settles before it dies: the root of what is there.
    frontier = Frontier()
    for entry in store.ledger.entries(0, limit=9):
        frontier.append(leaf_hash(entry))
    store.ledger.settle(size + 1, frontier.root())
    second.close()
    assert [head.size for head in store.ledger.heads(after=0)] == [size, size + 1]
    assert verifies(other)


def test_a_root_that_another_settled_otherwise_is_never_signed(tmp_path, store):
    first = opened(tmp_path / "one", store)
    first.record(event(0))
    store.ledger.settle(2, bytes(32))
    for sign in (first.publish, first.close):
        with pytest.raises(BrokenLog, match="another root than the shared one"):
            sign()
    assert [head.size for head in store.ledger.heads(after=0)] == []
