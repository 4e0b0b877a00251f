"""Entries are followed by comparing bytes; what that lets pass must be what reading each of them would let pass."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.evidence.envelope import prepare_event, read_event
from orchestrator.evidence.log_judgement import Stretch, look_at_events
from orchestrator.foundation.errors import BrokenLog

RUNS = ("run-a", "run-b", "log")
KINDS = ("ansible.event", "step.probed", "step.started")
SUBJECTS = ("", "filing/drain/1", "filing/50%d/1")


def entry(run: str, kind: str, subject: str, number: int, time: str = "2026-11-21T22:18:00.123Z") -> bytes:
    data: dict[str, Any] = {"mode": "do", "text": '","id":"run-a/7","run":"run-a","seq":7,"source":"'}
    event = prepare_event(run=run, kind=kind, time=time, source="urn:skerry:controller:h", subject=subject, data=data)
    return event.numbered(number)


def told_in_order(told: list[tuple[str, str, str]], jumps: dict[int, int]) -> list[bytes]:
    numbers: dict[str, int] = {}
    entries = []
    for at, (run, kind, subject) in enumerate(told):
        number = numbers.get(run, 0) + jumps.get(at, 0)
        entries.append(entry(run, kind, subject, number))
        numbers[run] = number + 1
    return entries


def looked_at(entries: list[bytes]) -> Stretch:
    stretch = Stretch()
    look_at_events(stretch, 0, entries)
    return stretch


STORIES = st.lists(
    st.tuples(st.sampled_from(RUNS), st.sampled_from(KINDS), st.sampled_from(SUBJECTS)), min_size=1, max_size=12
)


@given(told=STORIES, times=st.integers(1, 5))
def test_what_is_in_order_passes_and_every_end_is_known(told: list[tuple[str, str, str]], times: int) -> None:
    again = [each for each in told for _ in range(times)]
    stretch = looked_at(told_in_order(again, {}))
    assert stretch.problems == []
    counts = {run: sum(each[0] == run for each in again) for run in RUNS}
    assert stretch.numbers == {run: (0, count) for run, count in counts.items() if count}
    assert len(stretch.steps) == sum(each[1] == "step.started" for each in again)


@given(told=STORIES, at=st.integers(1, 40), by=st.integers(-3, 3).filter(bool))
@example(told=[("run-a", "ansible.event", "filing/drain/1")], at=3, by=1)
def test_a_number_that_is_not_the_next_is_seen(told: list[tuple[str, str, str]], at: int, by: int) -> None:
    again = [each for each in told for _ in range(5)]
    at %= len(again)
    before = sum(each[0] == again[at][0] for each in again[:at])
    if before + by < 0 or before == 0:
        return  # no number is below zero, and a run may begin anywhere in a stretch
    assert len(looked_at(told_in_order(again, {at: by})).problems) >= 1


@given(at=st.integers(3, 5), place=st.integers(0, 250), byte=st.integers(0, 255))
@example(at=4, place=30, byte=ord('"'))
def test_no_changed_byte_makes_an_entry_pass_that_reads_otherwise(at: int, place: int, byte: int) -> None:
    """Once an entry has the form of those before it only number and time are looked at."""
    entries = [entry("run-a", "ansible.event", "filing/drain/1", number) for number in range(6)]
    changed = bytearray(entries[at])
    changed[-1 - place % len(changed)] = byte
    entries[at] = bytes(changed)
    if looked_at(entries).problems:
        return
    try:
        event = read_event(at, entries[at])
    except BrokenLog:
        # The form was kept; what is no JSON within data or names is refused by whoever reads the entry.
        assert entries[at].rfind(b',"id":"run-a/%d","run":"run-a","seq":%d,' % (at, at)) > 0
        return
    assert (event.run, event.seq) == ("run-a", at)


def test_a_time_that_holds_another_id_is_not_passed_over() -> None:
    """As many bytes as a time has, and yet the end of another entry."""
    entries = [entry("run-a", "ansible.event", "", number) for number in range(4)]
    entries.append(
        entry("run-a", "ansible.event", "", 4).replace(b"2026-11-21T22:18:00.123Z", b'","id":"run-b/0","x":"yz')
    )
    assert json.loads(entries[-1])["id"] == "run-b/0"
    assert looked_at(entries).problems == ["entry 4 is not an event of the form of this log"]


def test_a_time_of_another_length_is_still_followed() -> None:
    entries = [entry("run-a", "ansible.event", "", number, time="2026-11-21T22:18:00Z") for number in range(5)]
    assert looked_at(entries).problems == []
    assert looked_at([*entries, entries[-1]]).problems == ["entry 5: run run-a goes on with number 4 where 5 belongs"]
