"""What witnesses and buckets saw is compared with what lies here before anything is written; old images are refused."""

import shutil
import threading
import time

import pytest

from orchestrator.evidence.anchoring import EnrolledBucket, EnrolledWitness, Enrolment, anchor, write_enrolment
from orchestrator.evidence.elsewhere import compare_with_places
from orchestrator.evidence.export import verified_events
from orchestrator.evidence.note import NoteSigner
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.verify_log import own_keys
from orchestrator.evidence.witness import Witness
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import BrokenLog, EvidenceError, TargetUnreachable
from orchestrator.model.event import RunEvent
from tests.fakes.object_lock import FakeObjectLock
from tests.fakes.staged_run import ORIGIN

BUCKET = EnrolledBucket("worm", "eu-central-1")
SIGNER = NoteSigner("witness.example/one", SigningKey.generate(Algorithm.COSIGNATURE_ED25519))
WITNESS = EnrolledWitness("audit", "http://audit.example", str(SIGNER.verifier_key))


class Places:
    """A ledger that a witness and a bucket are shown, without a network between them."""

    def __init__(self, folder):
        self.ledger = folder / "ledger"
        self.lock = FakeObjectLock()
        self.state = folder / "witness"
        self.grow(3)
        self.enrolment = Enrolment(witnesses=(WITNESS,), buckets=(BUCKET,))
        self.anchor()

    def send(self, url, body, kind):
        answer = Witness(self.state, SIGNER, own_keys(self.ledger), SystemClock()).add_checkpoint(body)
        return answer.status, answer.body.encode()

    def anchor(self):
        done = anchor(self.ledger, self.enrolment, SystemClock(), locks={"worm": self.lock}, send=self.send)
        assert not done.failed

    def compare(self, ledger, **how):
        opened = {"open_lock": lambda bucket: self.lock, "send": self.send, **how}
        return compare_with_places(ledger, **opened)

    def grow(self, count, ledger=None, **how):
        place = ledger or self.ledger
        recorder = open_recorder(
            place,
            origin=ORIGIN,
            source="urn:t",
            clock=SystemClock(),
            ballast_bytes=4096,
            compare=lambda folder: self.compare(folder, **how),
        )
        for number in range(count):
            data = {"n": number, "in": place.name}
            recorder.record(RunEvent(type="check.result", run="r", at="2026-01-01T00:00:00Z", data=data))
        recorder.close()

    def enrol(self, *, witness=True, bucket=True):
        chosen = Enrolment((WITNESS,) if witness else (), (), (BUCKET,) if bucket else ())
        write_enrolment(self.ledger, chosen)


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def test_a_ledger_that_goes_on_from_what_others_saw_is_opened(places):
    places.enrol()
    places.grow(2)
    places.anchor()
    places.grow(300)
    assert places.compare(places.ledger) == []
    assert "anchor.failed" not in [event.type for event in verified_events(places.ledger)[0]]


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ({"bucket": False}, "witness audit has seen 9 entries of this log, which has 4 here"),
        ({"witness": False}, "bucket worm holds a head over 9 entries, this log has 4"),
    ],
)
def test_an_old_image_is_refused_before_it_signs_anything(places, tmp_path, who, words):
    places.enrol(**who)
    image = tmp_path / "image"
    shutil.copytree(places.ledger, image)
    places.grow(5)
    places.anchor()
    signed = sorted(path.name for path in (image / "log/checkpoints").iterdir())
    with pytest.raises(BrokenLog, match=words) as refused:
        places.grow(1, image)
    assert "restored from an older copy" in refused.value.hint
    assert "bring back the newest copy" in refused.value.hint
    assert sorted(path.name for path in (image / "log/checkpoints").iterdir()) == signed
    with pytest.raises(BrokenLog):
        places.grow(1, image)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (Enrolment(witnesses=(WITNESS,)), "witness audit has seen another history"),
        (Enrolment(buckets=(BUCKET,)), "bucket worm holds another history of this log, at size 9"),
    ],
    ids=("witness", "bucket"),
)
def test_a_copy_that_went_another_way_is_refused(places, tmp_path, chosen, words):
    """Nobody was asked while it went; it has more entries by now than others saw of the true one."""
    image = tmp_path / "image"
    shutil.copytree(places.ledger, image)
    places.grow(5)
    places.anchor()
    places.grow(12, image)
    write_enrolment(image, chosen)
    with pytest.raises(BrokenLog, match=words):
        places.grow(1, image)


def test_who_does_not_answer_is_told_and_stops_nothing(places):
    def unreachable(bucket):
        raise TargetUnreachable("no route")

    def silent(url, body, kind):
        raise EvidenceError("does not answer: Connection refused")

    places.enrol()
    told = places.compare(places.ledger, open_lock=unreachable, send=silent)
    assert sorted(told) == [
        "bucket worm: not compared: no route",
        "witness audit: not compared: does not answer: Connection refused",
    ]
    recorder = open_recorder(
        places.ledger,
        origin=ORIGIN,
        source="urn:t",
        clock=SystemClock(),
        ballast_bytes=4096,
        compare=lambda folder: told,
    )
    assert recorder.not_compared is not None
    assert recorder.not_compared.data["failed"] == told
    recorder.close()
    assert verified_events(places.ledger)[0][-1].type == "anchor.failed"


@pytest.mark.parametrize(
    ("status", "body"), [(403, b"who are you"), (500, b"\x1b[2J"), (409, b"many"), (409, b"9" * 5000), (200, b"")]
)
def test_a_witness_that_answers_with_anything_else_stops_nothing(places, status, body):
    places.enrol(bucket=False)
    told = places.compare(places.ledger, send=lambda url, content, kind: (status, body))
    assert len(told) == (status != 200)
    assert "\x1b" not in "".join(told)


def test_a_place_that_never_answers_is_waited_for_no_longer_than_said(places):
    waiting = threading.Event()

    def never(url, body, kind):
        waiting.wait(60)
        return 200, b""

    places.enrol()
    began = time.monotonic()
    told = places.compare(places.ledger, send=never, seconds_max=0.3)
    waiting.set()
    assert told == ["witness audit: not compared: no answer within 0.3 s"]
    assert time.monotonic() - began < 30


def test_without_enrolment_nobody_is_asked(places):
    def nobody(*_):
        raise AssertionError("asked")

    assert places.compare(places.ledger, send=nobody, open_lock=nobody) == []


def test_an_enrolment_that_cannot_be_read_is_told(places):
    (places.ledger / "anchors/enrolled.json").write_text("{")
    assert "not an enrolment" in places.compare(places.ledger)[0]
