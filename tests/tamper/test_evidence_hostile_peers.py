"""Witnesses, and those who write to them: nothing that one side sends leaves the other unable to go on."""

import base64
import http.client
import socket
import threading

import pytest

from orchestrator.evidence import merkle
from orchestrator.evidence.anchoring import EnrolledWitness, Enrolment, anchor, post
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.note import DASH, SIGNATURES_MAX, Checkpoint, NoteSigner, open_checkpoint, sign_checkpoint
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.show import grouped
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.evidence.witness import Witness
from orchestrator.evidence.witness_server import make_server
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import EvidenceError
from orchestrator.foundation.printable import printable
from orchestrator.model.event import RunEvent

ORIGIN = "evidence.example/prod"
LOG = NoteSigner(ORIGIN, SigningKey.generate(Algorithm.ED25519))
WITNESS = NoteSigner("witness.example", SigningKey.generate(Algorithm.COSIGNATURE_ED25519))
ENTRIES = [b"entry %d" % number for number in range(9)]
TILE = b"".join(map(merkle.leaf_hash, ENTRIES))


@pytest.fixture
def witness(tmp_path):
    return Witness(tmp_path / "witness", WITNESS, [LOG.verifier_key], SystemClock())


def request(old_size, size, strangers=0):
    reader = merkle.TileReader(size, lambda _: TILE)
    note = sign_checkpoint(Checkpoint(ORIGIN, size, reader.root()), [LOG], at_seconds=0)
    lines = [f"{DASH} stranger{number} {base64.b64encode(bytes(72)).decode()}\n" for number in range(strangers)]
    proof = [base64.b64encode(step).decode() for step in (reader.consistency(old_size) if old_size else [])]
    return "\n".join([f"old {old_size}", *proof, "", note]).encode() + "".join(lines).encode()


def test_strangers_can_not_fill_up_the_note_that_a_witness_keeps(witness):
    assert witness.add_checkpoint(request(0, 4, strangers=SIGNATURES_MAX - 1)).status == 400
    assert witness.add_checkpoint(request(0, 4, strangers=SIGNATURES_MAX - 2)).status == 200
    assert witness.add_checkpoint(request(4, 9)).status == 200
    assert witness.add_checkpoint(request(4, 9)).status == 409


@pytest.mark.parametrize("length", ["9" * 5000, "99999", "-1", "1_0", "٣", ""])
def test_a_length_that_is_none_is_answered(witness, length):
    server = make_server(witness, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        connection.putrequest("POST", "/add-checkpoint")
        connection.putheader("Content-Length", length.encode())
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def ledger(tmp_path):
    folder = tmp_path / "ledger"
    recorder = open_recorder(folder, origin=ORIGIN, source="urn:test", clock=SystemClock(), ballast_bytes=4096)
    recorder.record(RunEvent(type="check.result", run="r", at="2026-01-01T00:00:00Z", data={}))
    recorder.close()
    return folder


def anchored(ledger, answer):
    """Show the head to a witness that answers with `answer(note)`."""
    enrolment = Enrolment(witnesses=(EnrolledWitness("audit", "http://witness.example", str(WITNESS.verifier_key)),))

    def send(url, body, kind):
        note = body.decode().partition("\n\n")[2]
        return 200, answer(note).encode()

    return anchor(ledger, enrolment, SystemClock(), send=send)


def cosignature(note):
    return WITNESS.signature_line(note.rpartition("\n\n")[0].encode() + b"\n", at_seconds=1)


def stranger(number):
    return f"{DASH} stranger{number} {base64.b64encode(bytes(72)).decode()}\n"


def test_of_a_witness_s_answer_only_its_signature_is_kept(ledger):
    done = anchored(ledger, lambda note: "".join(map(stranger, range(97))) + cosignature(note))
    assert not done.failed
    (path,) = (ledger / "anchors").glob("*.note")
    assert "stranger" not in path.read_text()
    assert open_checkpoint(path.read_text(), [WITNESS.verifier_key])
    assert verify_log(ledger, vkeys=own_keys(ledger)).verified


def other_text(note):
    """A note of the witness's own, put after the one that it was shown."""
    more = "and more\n"
    whole = note + "\n" + more
    return "\n" + more + "\n" + WITNESS.signature_line((whole).encode(), at_seconds=1)


@pytest.mark.parametrize(
    "answer",
    [other_text, lambda note: stranger(0), lambda note: "", lambda note: "\x00"],
    ids=["text", "other", "", "0"],
)
def test_an_answer_that_would_spoil_what_is_kept_is_refused(ledger, answer):
    assert anchored(ledger, answer).failed
    (path,) = (ledger / "anchors").glob("*.note")
    assert path.read_text() == (ledger / "log" / "checkpoint").read_text()
    assert verify_log(ledger, vkeys=own_keys(ledger)).verified


def test_evidence_that_is_quoted_can_not_write_the_verdict():
    findings = Findings()
    findings.fail("LOG", "approval by x\x1b[2J\nVERIFIED: 40 checks.\r\u202e\x9b")
    line = grouped(findings)[-1]
    assert line == "  FAIL  approval by x\\x1b[2J\\nVERIFIED: 40 checks.\\r\\u202e\\x9b"
    assert printable("Zoë — 5 → 6") == "Zoë — 5 → 6"


@pytest.fixture
def odd_server():
    """Answers every connection with the bytes that are asked for, and hangs up.

    It reads the whole request first: a socket closed with bytes unread resets the connection, and the answer is lost.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def ask(answer):
        def serve():
            connection, _ = listener.accept()
            with connection:
                request = b""
                while not request.endswith(b"\r\n\r\nx"):
                    request += connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return post(f"http://127.0.0.1:{listener.getsockname()[1]}/", b"x", "text/plain")
        finally:
            thread.join()

    yield ask
    listener.close()


NO_ANSWERS = {
    "nothing": b"",
    "not HTTP": b"\x1b[2J not HTTP\r\n\r\n",
    "no status": b"HTTP/1.1 9999999999 ?\r\n\r\n",
    "no chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_an_answer_that_is_no_answer_is_trouble_of_that_place(odd_server, answer):
    with pytest.raises(EvidenceError) as caught:
        odd_server(answer)
    assert caught.value.message.isprintable()


def test_an_answer_can_not_lead_to_a_file(odd_server):
    to_a_file = b"HTTP/1.1 302 over there\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"
    assert odd_server(to_a_file) == (302, b"")


def test_an_answer_that_is_broken_off_is_an_answer_that_does_not_verify(odd_server):
    assert odd_server(b"HTTP/1.1 500 no\r\nContent-Length: 50\r\n\r\nbroken off") == (500, b"broken off")
