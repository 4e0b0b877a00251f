"""What makes a first copy quick: holes are looked for before, and the source is digested meanwhile."""

import threading

import pytest

from orchestrator.foundation.errors import HostUnreachable
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.host import Host
from orchestrator.model.transfer import ContentDigest, TransferReport
from orchestrator.movers.holes import has_holes
from orchestrator.steps.still_data import digest_while_copying

HERE = Host(name="here", site="onprem", address="127.0.0.1", become=False)
DIGEST = ContentDigest(
    dataset="files", host="here", digest="sha256:" + "0" * 64, algorithm="tree/v1", bytes_read=1, entries=1
)
REPORT = TransferReport(
    dataset="files", source="here", replica="there", method="rsync", bytes_total=1, bytes_wire=1, seconds=1.0
)


def test_a_file_with_a_hole_is_found_wherever_it_lies(tmp_path):
    (tmp_path / "deep" / "-er").mkdir(parents=True)
    (tmp_path / "deep" / "whole").write_bytes(b"x" * 300_000)
    (tmp_path / "small hole").write_bytes(b"")
    assert not has_holes(LocalTransport, HERE, str(tmp_path))
    with (tmp_path / "deep" / "-er" / "with\na hole").open("wb") as stream:
        stream.write(b"x" * 4096)
        stream.truncate(1 << 34)
    assert has_holes(LocalTransport, HERE, str(tmp_path))


def test_the_source_is_digested_while_it_is_copied():
    copying, digesting = threading.Event(), threading.Event()

    def digest():
        digesting.set()
        assert copying.wait(30)
        return DIGEST

    def copy():
        copying.set()
        assert digesting.wait(30)
        return REPORT

    assert digest_while_copying(digest, copy) == (REPORT, DIGEST)


def test_a_copy_that_fails_is_told_while_the_digest_still_reads():
    over = threading.Event()

    def digest():
        assert over.wait(30)
        return DIGEST

    def copy():
        raise HostUnreachable("the link is cut")

    try:
        with pytest.raises(HostUnreachable, match="the link is cut"):
            digest_while_copying(digest, copy)
    finally:
        over.set()


def test_without_a_digest_of_the_source_nothing_is_proved():
    def digest():
        raise HostUnreachable("no answer")

    with pytest.raises(HostUnreachable, match="no answer"):
        digest_while_copying(digest, lambda: REPORT)
