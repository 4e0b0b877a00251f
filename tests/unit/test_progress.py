"""Whatever moves or reads data tells how fast it goes, and of how much: people want to know how long still."""

import json
import mmap
import struct
import time
from typing import Any

import pytest

from orchestrator.contracts.progress import RATE_SECONDS, Progress, Rated, out_of
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.movers.block_volume import BlockVolumeMover
from orchestrator.movers.host_programs.block_delta.program import words_about
from orchestrator.movers.tree_digests import tree_digest
from orchestrator.movers.vault.restic import ResticRepository
from tests.fakes.transport import FakeTransport

MIB = 1 << 20
HOST = Host(name="dr-a", site="dr", address="127.0.0.1")
SOON_SECONDS_MAX = 30.0


class Told:
    """What a sink was told, by a clock that is put on by hand."""

    def __init__(self):
        self.now_seconds = 100.0
        self.moments = []
        self.rated = Rated(self.moments.append, lambda: self.now_seconds)

    def after(self, seconds, bytes_done):
        self.now_seconds += seconds
        self.rated(Progress(bytes_done=bytes_done, bytes_total=100 * MIB, text="a → b"))
        return self.moments[-1].bytes_per_second


def test_the_rate_is_that_of_the_last_seconds():
    told = Told()
    assert told.after(0, 0) == 0
    assert told.after(5, 5 * MIB) == MIB
    assert told.after(5, 30 * MIB) == 3 * MIB
    for _ in range(4):
        told.after(RATE_SECONDS / 4, 30 * MIB)
    assert told.after(1, 30 * MIB) == 0  # the line stalls
    assert told.moments[-1].text == "a → b"
    assert told.moments[-1].bytes_total == 100 * MIB


def test_what_an_earlier_copy_brought_is_no_rate():
    told = Told()
    told.after(0, 80 * MIB)
    assert told.after(2, 84 * MIB) == 2 * MIB


def test_a_moment_after_a_long_silence_has_the_rate_of_that_time():
    told = Told()
    told.after(0, 0)
    assert told.after(10 * RATE_SECONDS, 200 * MIB) == MIB


def test_nobody_has_to_listen():
    Rated(None)(Progress(bytes_done=1))


def test_who_reads_knows_the_end_only_where_somebody_told_it():
    told = []
    show = out_of(8 * MIB, told.append)
    show(Progress(bytes_done=MIB))
    show(Progress(bytes_done=MIB, bytes_total=2 * MIB))
    assert [each.bytes_total for each in told] == [8 * MIB, 2 * MIB]


def transport_saying(*progress, **result):
    lines = [f"progress {json.dumps(each)}" for each in progress] + [f"result {json.dumps(result)}"]
    answer = (0, "".join(line + "\n" for line in lines).encode(), b"")
    return FakeTransport(HOST, programs={"python3": lambda _words, _stdin: answer})


def digest_of_a_volume(sink):
    said = [{"bytes": done * MIB, "total": 8 * MIB} for done in (0, 4)]
    at_host = transport_saying(*said, digest="sha256:" + "0" * 64, bytes=8 * MIB, entries=1, seconds=1.0)
    volume = BlockVolume(name="disk", path="/srv/disk.img")
    not_asked: Any = lambda *_: None  # noqa: E731 a digest of live data needs neither access nor points
    BlockVolumeMover(lambda _host: at_host, not_asked, not_asked).digest(volume, HOST, progress=sink)


def digest_of_a_tree(sink):
    said = [{"bytes": done * MIB, "entries": 1} for done in (0, 4)]
    found = {"digest": "sha256:" + "0" * 64, "bytes": 8 * MIB, "entries": 1, "seconds": 1.0, "decayed_count": 0}
    tree_digest(transport_saying(*said, **found), "/srv/tree", "scans", progress=sink)


def copy_into_the_vault(sink):
    said = [{"bytes_done": done * MIB, "bytes_total": 8 * MIB} for done in (0, 4)]
    at_host = transport_saying(*said, snapshot="abc", bytes=8 * MIB, added=5, files=1)
    place = {"endpoint": "http://127.0.0.1:1", "bucket": "kept", "prefix": "skerry", "region": "eu-central-1"}
    vault = ResticRepository(lambda _host: at_host, **place, secrets=lambda name: name)
    vault.store(HOST, "/srv/point", tags=(), progress=sink)


@pytest.mark.parametrize(
    ("deed", "total"), [(digest_of_a_volume, 8 * MIB), (digest_of_a_tree, 0), (copy_into_the_vault, 8 * MIB)]
)
def test_every_reading_and_copy_tells_its_rate(deed, total):
    told = []
    deed(told.append)
    assert [(each.bytes_done, each.bytes_total) for each in told] == [(0, total), (4 * MIB, total)]
    assert told[0].bytes_per_second == 0
    assert told[1].bytes_per_second > 0


def test_a_host_says_how_much_of_a_volume_its_processes_did_but_not_at_every_turn(capsys):
    counters = mmap.mmap(-1, 16)
    watch = words_about(counters, 100)
    struct.pack_into("<2Q", counters, 0, 30, 12)
    watch()
    assert capsys.readouterr().out == ""
    until, said = time.monotonic() + SOON_SECONDS_MAX, ""
    while not said and time.monotonic() < until:
        time.sleep(0.02)
        watch()
        said = capsys.readouterr().out
    assert said == 'progress {"bytes": 42, "total": 100}\n'
