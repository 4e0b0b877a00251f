"""The demo programs: the gate, names, the clients' account, records, idempotent writes."""

import base64
import hashlib
import json
import random
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from orchestrator.lab.cloud.name_server import Zones, answer, start
from orchestrator.lab.demo.programs import records
from orchestrator.lab.demo.programs.archive_app import Archive
from orchestrator.lab.demo.programs.durable_file import keep_file
from orchestrator.lab.demo.programs.filing_app import Filing
from orchestrator.lab.demo.programs.gate import GateClosedForGood, WriteGate, WritersDidNotLeave
from orchestrator.lab.demo.programs.http_service import Refused
from orchestrator.lab.demo.programs.name_lookup import NameLookup, NameUnknown, encode_name
from orchestrator.lab.demo.programs.stale_lock import remove_if_stale
from orchestrator.lab.demo.programs.traffic import Journal, longest_gap, read_journal, report


class TestGate:
    def test_holding_waits_for_writers_inside(self) -> None:
        gate = WriteGate()
        inside, leave = threading.Event(), threading.Event()

        def write() -> None:
            with gate.writing():
                inside.set()
                leave.wait(5)

        writer = threading.Thread(target=write)
        writer.start()
        inside.wait(5)
        threading.Timer(0.1, leave.set).start()
        assert gate.hold(5) >= 0.09
        writer.join()

    def test_a_held_gate_lets_nobody_in_until_it_is_released(self) -> None:
        gate = WriteGate()
        gate.hold(30)
        entered = threading.Event()

        def write() -> None:
            with gate.writing():
                entered.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert not entered.wait(0.1)
        assert gate.release()
        assert entered.wait(5)
        writer.join()

    def test_a_held_gate_opens_by_itself(self) -> None:
        gate = WriteGate()
        gate.hold(0.1)
        started = time.monotonic()
        with gate.writing():
            assert 0.05 < time.monotonic() - started < 5
        assert not gate.release()

    def test_writers_that_do_not_leave_in_time_open_the_gate_again(self) -> None:
        gate = WriteGate()
        with gate.writing():
            with pytest.raises(WritersDidNotLeave):
                gate.hold(0.05)
            assert gate.held_seconds_left() == 0

    def test_the_end_turns_waiting_writers_away(self) -> None:
        gate = WriteGate()
        gate.hold(30)
        threading.Timer(0.05, gate.end).start()
        with pytest.raises(GateClosedForGood), gate.writing():
            pass


class TestAccount:
    """lines: number, site, time, latency, sha256, attempts"""

    LINES = ([1, "onprem", 10.0, 0.1, "a", 1], [2, "onprem", 10.5, 0.1, "b", 1], [3, "cloud", 14.0, 3.0, "c", 9])

    def test_everything_that_was_acknowledged_and_is_there(self) -> None:
        told = report(list(self.LINES), {1: "a", 2: "b", 3: "c", 4: "d"})
        assert (told["acknowledged"], told["lost"], told["duplicates_differing"]) == (3, 0, 0)
        assert told["by_site"] == {"onprem": 2, "cloud": 1}
        assert (told["longest_gap_seconds"], told["gap_from"], told["gap_to"]) == (3.5, 10.5, 14.0)

    def test_what_is_lost_and_what_differs_is_named(self) -> None:
        told = report(list(self.LINES), {1: "a", 3: "x"})
        assert told["lost_ids"] == [2]
        assert told["differing_ids"] == [3]

    def test_a_record_whose_file_is_gone_is_lost(self) -> None:
        told = report(list(self.LINES), {1: "a", 2: "missing", 3: "x"})
        assert (told["lost_ids"], told["differing_ids"]) == ([2], [3])

    def test_a_window_counts_the_silence_at_its_edges(self) -> None:
        told = report(list(self.LINES), {1: "a", 2: "b", 3: "c"}, from_time=10.4, to_time=30.0)
        assert told["acknowledged"] == 2
        assert told["longest_gap_seconds"] == 16.0

    def test_a_window_without_any_acknowledgement_is_one_gap(self) -> None:
        assert longest_gap([], 5.0, 9.0) == (4.0, 5.0, 9.0)

    def test_the_journal_is_durable_line_by_line_and_a_torn_line_is_cut(self, tmp_path: Path) -> None:
        path = tmp_path / "journal"
        Journal(path).acknowledge([1, "onprem", 1.0, 0.1, "a", 1])
        with path.open("ab") as stream:
            stream.write(b'[2,"onp')
        Journal(path).acknowledge([3, "onprem", 2.0, 0.1, "c", 1])
        assert [line[0] for line in read_journal(path)] == [1, 3]


class TestRecords:
    def test_one_number_is_one_record(self) -> None:
        assert records.filing_request(7, 100) == records.filing_request(7, 100)
        assert records.filing_request(7, 100).sha256 != records.filing_request(8, 100).sha256
        assert records.content("filing", 7, 100) != records.content("archive", 7, 100)

    def test_a_filing_carries_its_attachment(self) -> None:
        request = records.filing_request(7, 100)
        attachment = base64.b64decode(json.loads(request.body)["attachment"])
        assert hashlib.sha256(attachment).hexdigest() == request.sha256


class Rows:
    """Stands in for the pool: filings as the database holds them, and no statement is understood."""

    def __init__(self, *rows: tuple[str, str, str]) -> None:
        self.rows = rows

    def run(self, statement: str, parameters: list[str | int | None]) -> list[tuple[str | None, ...]]:
        return list(self.rows) if str(parameters[0]) == "0" else []


class TestFiling:
    def test_clients_ask_for_the_attachments_and_not_only_for_the_rows_that_name_them(self, tmp_path: Path) -> None:
        kept, changed, gone = (hashlib.sha256(word).hexdigest() for word in (b"kept", b"changed", b"gone"))
        filing = Filing("cloud", tmp_path, Rows(("1", kept, "10"), ("2", changed, "20"), ("3", gone, "30")))  # type: ignore[arg-type]
        keep_file(filing.attachment_path(1, kept), b"kept")
        keep_file(filing.attachment_path(2, changed), b"other bytes")
        path, _, query = f"{records.LISTINGS['filing']}after=0".partition("?")
        asked = dict(part.split("=") for part in query.split("&"))
        other = hashlib.sha256(b"other bytes").hexdigest()
        assert filing.get(path, asked) == [[1, kept, 10], [2, other, 20], [3, "missing", 30]]
        assert filing.get("/filings", {"after": "0"})[2] == [3, gone, 30]


class TestArchive:
    @pytest.fixture
    def archive(self, tmp_path: Path) -> Archive:
        return Archive("onprem", tmp_path, index="ready")

    def test_a_document_is_there_and_repeats_change_nothing(self, archive: Archive, tmp_path: Path) -> None:
        first = archive.write("PUT", "/documents/5", b"text")
        assert archive.write("PUT", "/documents/5", b"text") == first
        assert archive.get("/documents/5", {}) == b"text"
        assert archive.get("/documents", {"after": "0", "verify": "1"}) == [[5, first["sha256"], 4]]
        assert Archive("cloud", tmp_path, index="ready").get("/documents/5", {}) == b"text"

    def test_other_content_for_a_known_number_is_refused(self, archive: Archive) -> None:
        archive.write("PUT", "/documents/5", b"text")
        with pytest.raises(Refused) as caught:
            archive.write("PUT", "/documents/5", b"other")
        assert caught.value.status == 409

    def test_a_document_that_was_spoilt_on_disk_shows_when_verified(self, archive: Archive) -> None:
        written = archive.write("PUT", "/documents/5", b"text")
        archive.document_path(5, written["sha256"]).write_bytes(b"TEXT")
        assert archive.get("/documents", {"after": "0"})[0][1] == written["sha256"]
        assert archive.get("/documents", {"after": "0", "verify": "1"})[0][1] != written["sha256"]

    def test_the_index_is_what_its_settings_say(self, tmp_path: Path) -> None:
        assert Archive("cloud", tmp_path, index="missing").health()[1]["index"] == "missing"


def test_a_kept_file_leaves_nothing_aside(tmp_path: Path) -> None:
    keep_file(tmp_path / "new" / "file", b"content")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


class TestStaleLock:
    def test_the_lock_of_a_dead_process_is_removed(self, tmp_path: Path) -> None:
        (tmp_path / "postmaster.pid").write_text("4194303\n/data\n")
        assert remove_if_stale(tmp_path)
        assert not (tmp_path / "postmaster.pid").exists()

    def test_the_number_of_another_program_is_stale_too(self, tmp_path: Path) -> None:
        (tmp_path / "postmaster.pid").write_text("1\n/data\n")
        assert remove_if_stale(tmp_path)

    def test_no_lock_is_no_matter(self, tmp_path: Path) -> None:
        assert not remove_if_stale(tmp_path)


class TestNames:
    @pytest.fixture
    def zones_file(self, tmp_path: Path) -> Path:
        def record(name: str, *values: str, kind: str = "A", **more: int) -> dict[str, object]:
            return {"name": name, "type": kind, "ttl": 1, "values": list(values), **more}

        path = tmp_path / "zones.json"
        path.write_text(
            json.dumps(
                {
                    "skerry.test.": [
                        record("filing.skerry.test.", "10.10.1.11"),
                        record("www.skerry.test.", "filing.skerry.test", kind="CNAME"),
                        record("both.skerry.test.", "10.0.0.1", weight=0),
                        record("both.skerry.test.", "10.0.0.2", weight=10),
                    ]
                }
            )
        )
        return path

    @pytest.fixture
    def lookup(self, zones_file: Path) -> NameLookup:
        return NameLookup(*start("127.0.0.1", 0, zones_file))

    def test_a_name_has_its_address_whatever_the_case(self, lookup: NameLookup) -> None:
        assert lookup.address("Filing.Skerry.Test") == "10.10.1.11"

    def test_an_alias_is_followed(self, lookup: NameLookup) -> None:
        assert lookup.address("www.skerry.test") == "10.10.1.11"

    def test_weight_nought_is_never_drawn(self, lookup: NameLookup, zones_file: Path) -> None:
        zones = Zones(zones_file, random.Random(1))
        drawn = {zones.find("both.skerry.test.", "A")["values"][0] for _ in range(50)}  # type: ignore[index]
        assert drawn == {"10.0.0.2"}

    @pytest.mark.parametrize("name", ["nobody.skerry.test", "elsewhere.test"])
    def test_an_unknown_name_is_said_to_be_unknown(self, lookup: NameLookup, name: str) -> None:
        with pytest.raises(NameUnknown, match=name):
            lookup.address(name)

    def test_a_change_is_answered_at_once_and_seen_after_the_time_to_live(
        self, lookup: NameLookup, zones_file: Path
    ) -> None:
        assert lookup.address("filing.skerry.test") == "10.10.1.11"
        changed = zones_file.with_suffix(".new")
        changed.write_text(zones_file.read_text().replace("10.10.1.11", "10.30.1.11"))
        changed.replace(zones_file)
        assert lookup.address("filing.skerry.test") == "10.10.1.11"  # remembered for its second
        time.sleep(1.05)
        assert lookup.address("filing.skerry.test") == "10.30.1.11"

    def test_questions_by_tcp_are_answered_too(self, zones_file: Path) -> None:
        address, port = start("127.0.0.1", 0, zones_file)
        query = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + encode_name("filing.skerry.test") + b"\0\1\0\1"
        with socket.create_connection((address, port), timeout=5) as connection:
            connection.sendall(struct.pack("!H", len(query)) + query)
            (length,) = struct.unpack("!H", connection.recv(2))
            assert socket.inet_ntoa(connection.recv(length)[-4:]) == "10.10.1.11"

    @pytest.mark.parametrize(
        "packet", [b"", b"\0" * 11, b"\0\1" + b"\xff" * 30, b"\0\1\1\0\0\1" + b"\0" * 6 + b"\xc0\x0c"]
    )
    def test_garbage_is_no_harm(self, zones_file: Path, packet: bytes) -> None:
        assert isinstance(answer(packet, Zones(zones_file, random.Random(1))), bytes)
