"""The laws of contracts.playbooks. Inherit, and give `playbooks`, and `host` and `other`, two hosts that answer.

The folder of `playbooks` holds: `works` (reports {"side": skerry_side} and is one changed task), `fails` (fails with
the message "expected 200, saw 503"), `lasts` (sleeps on the host far longer than any test waits).
"""

import threading
import time

import pytest

from orchestrator.contracts.playbooks import PlaybookEvent, Playbooks
from orchestrator.foundation.errors import UsageError
from orchestrator.model.host import Host

VARIABLES = {"skerry_system": "filing", "skerry_side": "source", "word": "plain-value-4711"}


class PlaybooksLaws:
    def test_a_play_that_ends_well_is_successful_and_reports(self, playbooks: Playbooks, host: Host) -> None:
        result = playbooks.run("works", hosts=[host], variables=VARIABLES, timeout_seconds=60)
        assert (result.status, result.rc) == ("successful", 0)
        assert result.hosts_ok == (host.name,)
        assert result.results == {host.name: {"side": "source"}}
        assert result.failures == ()
        assert result.digest.startswith("sha256:")
        assert result.seconds > 0

    def test_a_play_that_fails_returns_and_says_where_and_why(self, playbooks: Playbooks, host: Host) -> None:
        result = playbooks.run("fails", hosts=[host], variables=VARIABLES, timeout_seconds=60)
        assert result.status == "failed"
        assert result.rc != 0
        assert result.hosts_failed == (host.name,)
        assert result.hosts_ok == ()
        assert len(result.failures) == 1
        assert host.name in result.failures[0]
        assert "expected 200, saw 503" in result.failures[0]

    def test_every_event_comes_once_in_order(self, playbooks: Playbooks, host: Host) -> None:
        events: list[PlaybookEvent] = []
        result = playbooks.run("works", hosts=[host], variables=VARIABLES, timeout_seconds=60, on_event=events.append)
        assert [event.counter for event in events] == list(range(1, len(events) + 1))
        assert result.events == len(events)
        assert [event.host for event in events if event.changed] == [host.name]

    def test_a_play_on_two_hosts_reports_each(self, playbooks: Playbooks, host: Host, other: Host) -> None:
        result = playbooks.run("works", hosts=[host, other], variables=VARIABLES, timeout_seconds=60)
        assert result.hosts_ok == tuple(sorted([host.name, other.name]))
        assert set(result.results) == {host.name, other.name}

    def test_a_play_that_outlives_its_time_is_timed_out_soon(self, playbooks: Playbooks, host: Host) -> None:
        started = time.monotonic()
        result = playbooks.run("lasts", hosts=[host], variables=VARIABLES, timeout_seconds=4)
        assert result.status == "timed_out"
        assert result.hosts_ok == ()
        assert time.monotonic() - started < 20

    def test_an_unknown_playbook_is_refused(self, playbooks: Playbooks, host: Host) -> None:
        with pytest.raises(UsageError, match="no-such"):
            playbooks.run("no-such", hosts=[host], variables=VARIABLES, timeout_seconds=60)
        with pytest.raises(UsageError):
            playbooks.path("no-such")

    def test_an_error_of_the_listener_passes_through(self, playbooks: Playbooks, host: Host) -> None:
        def refuse(event: PlaybookEvent) -> None:
            raise ZeroDivisionError(event.event)

        with pytest.raises(ZeroDivisionError):
            playbooks.run("works", hosts=[host], variables=VARIABLES, timeout_seconds=60, on_event=refuse)

    def test_plays_run_beside_each_other(self, playbooks: Playbooks, host: Host, other: Host) -> None:
        statuses: list[str] = []

        def play(at: Host) -> None:
            result = playbooks.run("works", hosts=[at], variables=VARIABLES, timeout_seconds=60)
            statuses.append(result.status)
            assert set(result.results) == {at.name}

        threads = [threading.Thread(target=play, args=(at,)) for at in (host, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == ["successful", "successful"]
