"""Windows of bandwidth: which limit holds when, over midnight and over changes of the clocks; and copies that obey."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.access import Access
from orchestrator.contracts.bandwidth import Allowance
from orchestrator.model.bandwidth import BandwidthWindow
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.movers.file_tree import FileTreeMover, FileTreeSettings
from orchestrator.planning.bandwidth import allowance_at
from orchestrator.snapshots.stores import HostPointStores
from tests.fakes.clock import SetClock
from tests.fakes.transport import FakeTransport, FakeTransports

MIB = 1024**2


def window(begin="08:00", end="18:00", limit="20 MiB/s", **more):
    return BandwidthWindow.model_validate({"from": begin, "to": end, "limit": limit, **more})


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


OFFICE = window(days="mon-fri", zone="Europe/Berlin")
NIGHT = window("22:00", "06:00", "100 Mbit/s", days="fri")


@pytest.mark.parametrize(
    ("windows", "moment", "limit", "seconds_left"),
    [
        ([], "2026-11-20T12:00", None, None),
        ([OFFICE], "2026-11-20T06:59", None, 60),  # Friday, 07:59 in Berlin
        ([OFFICE], "2026-11-20T07:00", 20 * MIB, 10 * 3600),
        ([OFFICE], "2026-11-20T17:00", None, 62 * 3600),  # until Monday
        ([OFFICE], "2026-07-20T06:00", 20 * MIB, 10 * 3600),  # summer
        ([NIGHT], "2026-11-21T05:59", 12_500_000, 60),  # Saturday morning is Friday's night
        ([NIGHT], "2026-11-21T23:00", None, 6 * 86400 - 3600),
        ([window("00:00", "24:00")], "2026-11-20T12:00", 20 * MIB, None),  # it never changes
        ([window(), window("12:00", "13:00", "1 MiB/s")], "2026-11-20T12:30", MIB, 1800),
        ([window(), window("12:00", "13:00", "30 MiB/s")], "2026-11-20T12:30", 20 * MIB, 5.5 * 3600),
    ],
)
def test_the_smallest_limit_of_the_hour_holds_until_it_changes(windows, moment, limit, seconds_left):
    assert allowance_at(windows, at(moment)) == Allowance(bytes_per_second=limit, seconds_left=seconds_left)


@pytest.mark.parametrize(
    ("begin", "end", "holds_from", "hours"),
    [
        # Berlin, 29 March 2026: 02:00 becomes 03:00
        ("01:30", "03:30", "2026-03-29T00:30", 1),
        ("01:30", "02:30", "2026-03-29T00:30", 1),  # 02:30 is not shown that night; an hour is an hour
        ("02:30", "04:00", "2026-03-29T01:30", 0.5),
        # 25 October 2026: 03:00 becomes 02:00
        ("01:30", "03:30", "2026-10-24T23:30", 3),
        ("02:30", "02:45", "2026-10-25T00:30", 1.25),  # from the first 02:30 to the second 02:45
        ("22:00", "06:00", "2026-10-24T20:00", 9),
    ],
)
def test_windows_when_clocks_change(begin, end, holds_from, hours):
    windows = [window(begin, end, zone="Europe/Berlin")]
    begins = at(holds_from)
    assert allowance_at(windows, begins - timedelta(seconds=1)).bytes_per_second is None
    assert allowance_at(windows, begins) == Allowance(bytes_per_second=20 * MIB, seconds_left=hours * 3600)


CLOCK = st.integers(0, 24 * 60 - 1).map(lambda minutes: f"{minutes // 60:02d}:{minutes % 60:02d}")
WINDOWS = st.lists(
    st.tuples(CLOCK, CLOCK, st.integers(1, 9), st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]))
    .filter(lambda drawn: drawn[0] != drawn[1])
    .map(lambda drawn: window(drawn[0], drawn[1], drawn[2] * MIB, zone=drawn[3])),
    max_size=4,
)


@given(WINDOWS, st.integers(0, 4 * 86400), st.floats(0, 0.999))
def test_an_allowance_holds_until_it_says_and_not_longer(windows, seconds, share):
    moment = at("2026-03-27") + timedelta(seconds=seconds)
    now = allowance_at(windows, moment)
    ahead = now.seconds_left if now.seconds_left is not None else 86400.0
    within = allowance_at(windows, moment + timedelta(seconds=ahead * share))
    assert within.bytes_per_second == now.bytes_per_second
    if now.seconds_left is not None:
        after = allowance_at(windows, moment + timedelta(seconds=now.seconds_left))
        assert after.bytes_per_second != now.bytes_per_second


# -- copies

SOURCE = Host(name="onprem-a", site="onprem", address="10.10.1.11")
REPLICA = Host(name="dr-a", site="dr", address="10.20.1.11")
TREE = FileTree(name="documents", path="/srv/documents")


class OpenAccess:
    @contextmanager
    def grant(self, initiator, peer, **_):
        yield Access(ssh_words=("ssh",), destination=f"root@{peer.address}")


def mover_over(pulls, allowances, settings=None):
    """A mover whose rsync ends as `pulls` say, under one allowance after the other; and what it was asked."""
    asked, left = [], list(pulls)

    def program(words, stdin):
        request = json.loads(words[-1])
        if request.get("ask"):
            answer = {"asks": "sudo -n rsync --server --sender -lHe.i . /srv/documents/", "resume": bool(asked)}
        else:
            asked.append(request)
            statistics = {"bytes_total": 900, "bytes_received": 500}
            answer = {"code": 0, "statistics": statistics, "names": [], "unsettled": [], "seconds": 1.0}
            answer |= left.pop(0)
        return 0, b"result " + json.dumps(answer).encode() + b"\n", b""

    not_empty = FakeTransport(SOURCE, programs={"find": lambda words, stdin: (0, b"there", b"")})
    pulling = FakeTransport(REPLICA, programs={"python3": program})
    transports = FakeTransports({SOURCE.name: not_empty, REPLICA.name: pulling})
    moments = iter(allowances)
    held = [Allowance()]

    def bandwidth():
        held[0] = next(moments, held[0])
        return held[0]

    points = HostPointStores(transports, SetClock())
    mover = FileTreeMover(transports, OpenAccess(), points, settings, bandwidth=bandwidth)
    return mover, asked


def limits(asked):
    return [next((word for word in request["words"] if word.startswith("--bwlimit")), "") for request in asked]


def test_a_copy_that_crosses_a_border_is_stopped_there_and_resumed_under_the_new_limit():
    before, after = Allowance(bytes_per_second=None, seconds_left=30.0), Allowance(bytes_per_second=2 * MIB)
    stopped = {"code": 20, "stopped": True, "statistics": {"bytes_received": 400}}
    mover, asked = mover_over([stopped, {}], [before, before, after])
    report = mover.copy(TREE, SOURCE, REPLICA)
    assert limits(asked) == ["", "--bwlimit=2048"]
    assert [request.get("stop_after_seconds") for request in asked] == [30.0, None]
    assert [request["resume"] for request in asked] == [False, True]
    assert (report.bytes_wire, report.detail["relimited"], report.detail["passes"]) == (900, "1", "1")


def test_a_limit_of_the_settings_is_never_exceeded():
    settings = FileTreeSettings(bandwidth_bytes_per_second=MIB)
    mover, asked = mover_over([{}], [Allowance(bytes_per_second=2 * MIB)], settings)
    mover.copy(TREE, SOURCE, REPLICA)
    assert limits(asked) == ["--bwlimit=1024"]


def test_a_copy_that_broke_off_by_itself_is_not_taken_for_a_stopped_one():
    mover, asked = mover_over([{"code": 20, "complaints": ["rsync error: received SIGINT (code 20)"]}], [])
    with pytest.raises(Exception, match="code 20"):
        mover.copy(TREE, SOURCE, REPLICA)
    assert len(asked) == 1
