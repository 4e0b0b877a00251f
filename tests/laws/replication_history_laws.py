"""The laws of contracts.replication.ReplicationHistory. Inherit, and give `history` and its `clock` as fixtures."""

from datetime import timedelta

from orchestrator.foundation.clock import timestamp
from orchestrator.model.replication import LagSample, Round, RoundProgress


def a_round(number, *, result="passed", system="filing", **values):
    started = f"2026-11-21T{number // 60 % 24:02d}:{number % 60:02d}:00.000Z"
    return Round(id=f"round-{number:04d}", system=system, by="ops", started_at=started, result=result, **values)


class ReplicationHistoryLaws:
    def sample(self, clock, seconds, dataset="files", **values):
        at = timestamp(clock.now())
        return LagSample(system="filing", dataset=dataset, at=at, seconds_behind=seconds, **values)

    def test_what_was_noted_is_told_oldest_first(self, history, clock):
        first = self.sample(clock, 1.5, bytes_behind=12)
        clock.pass_time(timedelta(minutes=1))
        second = self.sample(clock, None)
        history.note([second, self.sample(clock, 7.0, dataset="other")])
        history.note([first])
        assert list(history.samples("filing", "files")) == [first, second]
        assert list(history.samples("filing", "files", since=second.at)) == [second]
        assert history.samples("billing", "files") == []

    def test_the_newest_sample_of_each_dataset_is_its_state(self, history, clock):
        history.note([self.sample(clock, 1.0), self.sample(clock, 2.0, dataset="other")])
        clock.pass_time(timedelta(minutes=1))
        last = self.sample(clock, 3.0)
        history.note([last])
        assert [(each.dataset, each.seconds_behind) for each in history.newest()] == [("files", 3.0), ("other", 2.0)]

    def test_months_of_samples_stay_bounded_and_the_worst_of_a_stretch_stays(self, history, clock):
        for day in range(120):
            samples = []
            for number in range(72):  # every twenty minutes
                clock.pass_time(timedelta(minutes=20))
                samples.append(self.sample(clock, 1000.0 + day if number % 3 == 1 else 5.0))
            history.note(samples)
        kept = history.samples("filing", "files")
        # One an hour for ninety days, three for the last week, and what came since it was thinned last.
        assert 90 * 24 <= len(kept) <= 90 * 24 + 7 * 48 + 300
        assert {each.seconds_behind >= 1000.0 for each in kept[:1000]} == {True}
        assert history.size().samples == len(kept)
        assert history.size().bytes_about < 1_000_000

    def test_a_round_is_counted_once_when_it_ends(self, history):
        history.put_round(a_round(1, result="running"))
        assert history.totals() == []
        for _ in range(2):
            history.put_round(a_round(1, bytes_wire=100, seconds=2.0, point="rp-1"))
        history.put_round(a_round(2, bytes_wire=10, seconds=1.0))
        history.put_round(a_round(3, result="failed", message="no route", error="HostUnreachable"))
        told = [(each.result, each.rounds, each.bytes_wire, each.seconds) for each in history.totals()]
        assert told == [("failed", 1, 0, 0.0), ("passed", 2, 110, 3.0)]

    def test_rounds_are_told_newest_first(self, history):
        for number in (1, 3, 2):
            history.put_round(a_round(number))
        history.put_round(a_round(9, system="billing"))
        assert [each.id for each in history.rounds("filing", limit=2)] == ["round-0003", "round-0002"]
        assert [each.system for each in history.rounds(limit=1)] == ["billing"]

    def test_progress_is_the_last_one(self, history):
        assert history.progress("filing") is None
        for done in (1, 2):
            told = RoundProgress(system="filing", round="r", at="2026-11-21T22:00:00.000Z", bytes_done=done)
            history.put_progress(told)
        assert history.progress("filing").bytes_done == 2
