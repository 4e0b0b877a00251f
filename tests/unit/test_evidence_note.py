"""Signed notes and checkpoints: the specification's own example, and what must be refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evidence.note import (
    Checkpoint,
    LogPolicy,
    NoteSigner,
    VerifierKey,
    format_proof,
    from_base64,
    from_decimal,
    open_checkpoint,
    parse_proof,
    sign_checkpoint,
    split_note,
)
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.foundation.errors import BrokenLog

ORIGIN = "evidence.example/prod"
CHECKPOINT = Checkpoint(ORIGIN, 7, b"\x01" * 32)


def signer(name=ORIGIN, algorithm=Algorithm.ED25519):
    return NoteSigner(name, SigningKey.generate(algorithm))


def test_the_example_of_the_signed_note_specification():
    key = VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = (
        "This is an example message.\n\n\u2014 example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    text, (signature,) = split_note(note)
    assert key.verify(text, signature.signature) is None
    assert str(key) == "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    with pytest.raises(BrokenLog, match="not valid"):
        key.verify(text + b" ", signature.signature)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_every_kind_of_key_signs_and_is_verified(algorithm):
    one = signer(algorithm=algorithm)
    note = sign_checkpoint(CHECKPOINT, [one], at_seconds=1_700_000_000)
    opened = open_checkpoint(note, [VerifierKey.parse(str(one.verifier_key))])
    assert opened.checkpoint == CHECKPOINT
    time = None if algorithm is Algorithm.ED25519 else 1_700_000_000
    assert opened.signatures == ((one.verifier_key, time),)
    with pytest.raises(BrokenLog, match="not valid"):
        open_checkpoint(note.replace("\n7\n", "\n8\n"), [one.verifier_key])


def test_a_wrong_signature_by_a_known_key_spoils_the_note_though_another_is_right():
    one, other = signer(), signer()
    note = sign_checkpoint(CHECKPOINT, [one, other], at_seconds=0)
    lines = note.split("\n")
    forged = lines[-2].rsplit(" ", 1)
    raw = bytearray(from_base64(forged[1]))
    raw[-1] ^= 1
    lines[-2] = forged[0] + " " + base64.b64encode(raw).decode()
    with pytest.raises(BrokenLog, match="not valid"):
        open_checkpoint("\n".join(lines), [one.verifier_key, other.verifier_key])
    assert open_checkpoint("\n".join(lines), [one.verifier_key]).checkpoint == CHECKPOINT


def test_a_note_without_a_known_key_is_refused():
    with pytest.raises(BrokenLog, match="known key"):
        open_checkpoint(sign_checkpoint(CHECKPOINT, [signer()], at_seconds=0), [signer().verifier_key])


@pytest.mark.parametrize("text", ["", "01", "-1", "+1", "1 ", "٣", "9" * 20, "0x10"])
def test_decimals_have_one_form(text):
    with pytest.raises(BrokenLog):
        from_decimal(text)


@pytest.mark.parametrize("text", ["AA", "AB==", "A===", "AA==\n", "é"])
def test_base64_has_one_form(text):
    with pytest.raises(BrokenLog):
        from_base64(text)


@given(st.text(max_size=400))
def test_no_text_breaks_the_parser(text):
    for parse in (split_note, VerifierKey.parse, LogPolicy.parse, parse_proof):
        try:
            parse(text)
        except BrokenLog:
            pass


def test_a_proof_comes_back_as_it_was():
    note = sign_checkpoint(CHECKPOINT, [signer()], at_seconds=0)
    assert parse_proof(format_proof(3, [b"\x02" * 32], note)) == (3, [b"\x02" * 32], note)


def test_a_policy_asks_for_its_quorum_of_witnesses():
    log = signer()
    one = signer("witness.one", Algorithm.COSIGNATURE_ED25519)
    two = signer("witness.two", Algorithm.COSIGNATURE_ML_DSA_44)
    text = (
        f"# comment\nlog {log.verifier_key}\nwitness one {one.verifier_key}\nwitness two {two.verifier_key}\n"
        "group both all one two\nquorum both\n"
    )
    policy = LogPolicy.parse(text)

    def satisfied(signers):
        return policy.is_satisfied_by(open_checkpoint(sign_checkpoint(CHECKPOINT, signers, at_seconds=5), policy.keys))

    assert satisfied([log, one, two])
    assert not satisfied([log, one])
    assert not satisfied([one, two])


def test_a_policy_with_a_mistake_names_the_line():
    with pytest.raises(BrokenLog, match="line 2"):
        LogPolicy.parse(f"log {signer().verifier_key}\nquorum nobody\n")
    with pytest.raises(BrokenLog, match="at least one log"):
        LogPolicy.parse("quorum none\n")
