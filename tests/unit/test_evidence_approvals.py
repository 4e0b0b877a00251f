"""Approvals: real ssh-keygen signs, our Python judges, and ssh-keygen agrees; FIDO tokens are simulated in software."""

import hashlib
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.evidence.approvals import SshApprovalJudge, SshApprovalSigner, approval_as_statement
from orchestrator.evidence.signing.ssh_signature import (
    NAMESPACE,
    BadSignature,
    armor,
    check_ssh_signature,
    fingerprint,
    public_key_blob,
    public_key_line,
    unarmor,
)
from orchestrator.evidence.statements import Envelope, bytes_to_sign
from orchestrator.foundation.errors import ApprovalInvalid, EvidenceError, EvidenceRejected
from orchestrator.model.approval import ApprovalStatement, SignedApproval
from orchestrator.model.inventory import Person

PLAN = "sha256:" + "ab" * 32
NOW = "2026-11-21T12:00:00.000Z"
KINDS = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa-256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa-384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa-521": ["-t", "ecdsa", "-b", "521"],
    "rsa": ["-t", "rsa", "-b", "2048"],
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name, words in KINDS.items():
        subprocess.run(["ssh-keygen", "-q", *words, "-N", "", "-C", name, "-f", str(folder / name)], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "other")], check=True)
    return folder


def public(keys, name):
    return (keys / f"{name}.pub").read_text()


def said(**changes):
    values = {
        "plan": PLAN,
        "person": "ana",
        "role": "system-owner",
        "decision": "approve",
        "at": "2026-11-21T11:00:00.000Z",
        "expires_at": "2026-11-22T11:00:00.000Z",
        "nonce": "n-1",
        "log_origin": "evidence.example/test",
        "log_size": 42,
        "log_root": "AAAA",
    }
    return ApprovalStatement(**(values | changes))


def judge(approval, people, *, plan=PLAN, now=NOW):
    SshApprovalJudge().check(approval, plan=plan, people=people, now=now)


@pytest.fixture
def ana(keys):
    return {"ana": Person(id="ana", roles=("system-owner",), keys=(public(keys, "other"), public(keys, "ed25519")))}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_key_signs_is_judged_and_ssh_keygen_agrees(keys, name, tmp_path):
    approval = SshApprovalSigner().sign(said(), str(keys / name))
    judge(approval, {"ana": Person(id="ana", roles=("system-owner",), keys=(public(keys, name),))})
    envelope = Envelope.parse(approval.envelope)
    assert ssh_keygen_accepts(tmp_path, envelope, public(keys, name))
    changed = Envelope(envelope.payload + b" ", envelope.signatures)
    assert not ssh_keygen_accepts(tmp_path, changed, public(keys, name))
    with pytest.raises(EvidenceRejected, match="does not fit"):
        changed.signed_by([public(keys, name)])


def ssh_keygen_accepts(folder, envelope, key_line):
    (folder / "signature").write_text(armor(envelope.signatures[0][1]))
    (folder / "allowed").write_text(f'ana@example namespaces="{NAMESPACE}" {key_line}')
    words = ["ssh-keygen", "-Y", "verify", "-f", folder / "allowed", "-I", "ana@example", "-n", NAMESPACE]
    done = subprocess.run(
        [*words, "-s", folder / "signature"], input=bytes_to_sign(envelope.payload), capture_output=True
    )
    return done.returncode == 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"plan": "sha256:" + "cd" * 32}, "another plan"),
        ({"person": "eve"}, "knows nobody"),
        ({"role": "auditor"}, "does not hold the role"),
        ({"at": "2026-11-21T13:00:00.000Z"}, "in the future"),
        ({"expires_at": "2026-11-21T11:59:59.000Z"}, "expired"),
        ({"expires_at": "yesterday"}, "not a time"),
        ({"expires_at": "2026-11-22T11:00:00"}, "without time zone"),
    ],
)
def test_a_signed_statement_that_says_the_wrong_thing_is_refused(keys, ana, changes, problem):
    approval = SshApprovalSigner().sign(said(**changes), str(keys / "ed25519"))
    with pytest.raises(ApprovalInvalid, match=problem):
        judge(approval, ana)


def test_a_signed_rejection_is_a_valid_word(keys, ana):
    judge(SshApprovalSigner().sign(said(decision="reject", comment="not this week"), str(keys / "ed25519")), ana)


def test_an_approval_by_somebody_elses_key_is_refused(keys, ana):
    approval = SshApprovalSigner().sign(said(), str(keys / "ecdsa-256"))
    with pytest.raises(ApprovalInvalid, match="made with another key"):
        judge(approval, ana)


def test_an_approval_shown_differently_than_signed_is_refused(keys, ana):
    approval = SshApprovalSigner().sign(said(expires_at="2026-11-21T11:30:00.000Z"), str(keys / "ed25519"))
    longer = approval.model_copy(update={"statement": said()})
    with pytest.raises(ApprovalInvalid, match="not what is shown"):
        judge(longer, ana)


def test_a_self_made_envelope_is_refused(ana):
    payload = approval_as_statement(said()).payload()
    approval = SignedApproval(
        statement=said(), envelope=Envelope(payload, (("SHA256:x", b"SSHSIG"),)).text(), key_fingerprint="SHA256:x"
    )
    with pytest.raises(ApprovalInvalid, match="not valid"):
        judge(approval, ana)
    with pytest.raises(ApprovalInvalid, match="not a DSSE envelope"):
        judge(approval.model_copy(update={"envelope": "{}"}), ana)


def test_a_signature_for_another_purpose_is_refused(keys):
    message = bytes_to_sign(approval_as_statement(said()).payload())
    words = ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(keys / "ed25519")]
    signature = unarmor(subprocess.run(words, input=message, capture_output=True, check=True).stdout.decode())
    with pytest.raises(BadSignature, match="another purpose"):
        check_ssh_signature(signature, public_key_blob(public(keys, "ed25519")), message)


def test_a_key_that_does_not_sign_says_why(keys, tmp_path):
    with pytest.raises(EvidenceError, match="does not sign"):
        SshApprovalSigner().sign(said(), str(tmp_path / "missing"))


def string(content):
    return len(content).to_bytes(4, "big") + content


def mpint(number):
    return string(number.to_bytes((number.bit_length() + 8) // 8, "big"))


def fido_token(kind):
    """A token in software: its public key blob and what it answers with given flags."""
    if "ed25519" in kind:
        private = Ed25519PrivateKey.generate()
        blob = string(kind.encode()) + string(private.public_key().public_bytes_raw()) + string(b"ssh:")

        def raw(message):
            return string(private.sign(message))

    else:
        curve_key = ec.generate_private_key(ec.SECP256R1())
        point = curve_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        blob = string(kind.encode()) + string(b"nistp256") + string(point) + string(b"ssh:")

        def raw(message):
            one, other = decode_dss_signature(curve_key.sign(message, ec.ECDSA(hashes.SHA256())))
            return string(mpint(one) + mpint(other))

    def sign(payload, flags):
        digest = string(hashlib.sha512(bytes_to_sign(payload)).digest())
        header = string(NAMESPACE.encode()) + string(b"") + string(b"sha512")
        seen = bytes([flags]) + (42).to_bytes(4, "big")
        message = hashlib.sha256(b"ssh:").digest() + seen + hashlib.sha256(b"SSHSIG" + header + digest).digest()
        inner = string(kind.encode()) + raw(message) + seen
        return b"SSHSIG" + (1).to_bytes(4, "big") + string(blob) + header + string(inner)

    return blob, sign


@pytest.mark.parametrize("kind", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
def test_fido_tokens_need_a_touch_though_ssh_keygen_does_not_ask_for_it(kind, tmp_path):
    blob, sign = fido_token(kind)
    payload = b'{"_type":"https://in-toto.io/Statement/v1"}'
    line = public_key_line(blob)
    for flags, verified in ((0x01, False), (0x05, True)):
        envelope = Envelope(payload, ((fingerprint(blob), sign(payload, flags)),))
        _, touch = envelope.signed_by([line])
        assert touch is not None
        assert (touch.user_verified, touch.counter) == (verified, 42)
        assert ssh_keygen_accepts(tmp_path, envelope, line + "\n")
    untouched = Envelope(payload, ((fingerprint(blob), sign(payload, 0x00)),))
    assert ssh_keygen_accepts(tmp_path, untouched, line + "\n")
    with pytest.raises(EvidenceRejected, match="nobody touched"):
        untouched.signed_by([line])


@given(st.binary(max_size=300))
def test_no_bytes_break_the_signature_parser(content):
    blob, _ = fido_token("sk-ssh-ed25519@openssh.com")
    for candidate in (content, b"SSHSIG\x00\x00\x00\x01" + content, b"SSHSIG\x00\x00\x00\x01" + string(blob) + content):
        with pytest.raises(BadSignature):
            check_ssh_signature(candidate, blob, b"message")


@given(st.data())
def test_no_flipped_bit_of_a_signature_is_accepted(keys, data):
    approval = SshApprovalSigner().sign(said(), str(keys / "ed25519"))
    envelope = Envelope.parse(approval.envelope)
    signature = bytearray(envelope.signatures[0][1])
    at = data.draw(st.integers(0, len(signature) * 8 - 1))
    signature[at // 8] ^= 1 << at % 8
    with pytest.raises(EvidenceRejected):
        Envelope(envelope.payload, (("x", bytes(signature)),)).signed_by([public(keys, "ed25519")])
