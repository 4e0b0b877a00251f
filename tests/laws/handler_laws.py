"""The laws of contracts.handler.Handler. Inherit, and give a `scene` fixture.

A scene sets the world up, equal each time, to where one deed fits: `scene.set() -> ground`. The ground has `handler`,
`deed`, `state()` (all that lasts), `emit` and `tell` (a ledger in which trouble may come, and one that is always
there), `told()` (kinds of events in it by now), and `interruption` (tests/fakes/interruption.py), not yet armed.
"""

import pytest

from orchestrator.foundation.errors import HostUnreachable, LedgerFull, TargetThrottled
from orchestrator.model.outcome import Outcome, Probe, Result
from tests.fakes.handlers import SimulatedCrash

PLACES_MAX = 400


def quiet(_progress: object) -> None:
    """Nobody watches."""


class HandlerLaws:
    def acted(self, ground) -> Outcome:
        ground.interruption.arm()
        outcome: Outcome = ground.handler.act(ground.deed, quiet, ground.emit)
        assert outcome.passed, outcome.message
        return outcome

    def wanted(self, scene):
        """The ground after an undisturbed act, and how many places there are within it."""
        ground = scene.set()
        self.acted(ground)
        assert 0 < ground.interruption.places < PLACES_MAX
        return ground, ground.interruption.places

    def test_probe_touches_nothing(self, scene):
        ground = scene.set()
        before = ground.state()
        ground.handler.probe(ground.deed)
        assert ground.state() == before
        self.acted(ground)
        after = ground.state()
        ground.handler.probe(ground.deed)
        assert ground.state() == after

    def test_acting_twice_ends_where_acting_once_does(self, scene):
        ground = scene.set()
        self.acted(ground)
        once = ground.state()
        self.acted(ground)
        assert ground.state() == once

    def test_after_a_crash_at_any_place_the_deed_ends_in_the_same_state(self, scene):
        wanted, places = self.wanted(scene)
        for place in range(1, places + 1):
            ground = scene.set()
            ground.interruption.arm(place)
            with pytest.raises(SimulatedCrash):
                ground.handler.act(ground.deed, quiet, ground.emit)
            ground.interruption.arm()
            if ground.handler.probe(ground.deed) is not Probe.APPLIED:
                self.acted(ground)
            assert ground.state() == wanted.state(), f"crash at place {place} of {places}"
            assert ground.told() == wanted.told(), f"crash at place {place} of {places}"

    @pytest.mark.parametrize("error", [HostUnreachable("dr-1 is gone", hint="Look."), TargetThrottled("slowly")])
    def test_what_the_world_refuses_at_any_place_is_a_failed_outcome(self, scene, error):
        wanted, places = self.wanted(scene)
        for place in range(1, places + 1):
            ground = scene.set()
            ground.interruption.arm(place, error)
            outcome = ground.handler.act(ground.deed, quiet, ground.tell)
            if not outcome.passed:
                assert (outcome.result, outcome.error) == (Result.FAILED, type(error).__name__)
                assert error.message in outcome.message
                assert (outcome.hint, outcome.retryable) == (error.hint, error.retryable)
            self.acted(ground)
            assert ground.state() == wanted.state(), f"refused at place {place} of {places}"

    def test_where_the_ledger_takes_nothing_the_error_passes_through(self, scene):
        wanted, _ = self.wanted(scene)
        ground = scene.set()
        told = []

        def full(kind, data):
            told.append(kind)
            raise LedgerFull("no room")

        try:
            outcome = ground.handler.act(ground.deed, quiet, full)
        except LedgerFull:
            assert told
        else:
            assert outcome.passed
            assert told == []
        self.acted(ground)
        assert ground.state() == wanted.state()
        assert ground.told() == wanted.told()

    def test_where_the_world_cannot_be_asked_probe_says_unknown_or_absent(self, scene):
        ground = scene.set()
        ground.interruption.arm(1, HostUnreachable("gone"))
        assert ground.handler.probe(ground.deed) in (Probe.UNKNOWN, Probe.ABSENT)
