"""Targets: signed notes and checkpoints, verifier keys, stand-alone proofs, log policies, witness requests."""

import tempfile
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.anchoring import _own_line
from orchestrator.evidence.anchors import parse_consistency
from orchestrator.evidence.note import (
    Checkpoint,
    LogPolicy,
    NoteSigner,
    SignedCheckpoint,
    VerifierKey,
    format_proof,
    from_base64,
    from_decimal,
    open_checkpoint,
    parse_proof,
    sign_checkpoint,
    split_note,
    to_base64,
)
from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey
from orchestrator.evidence.verify_log import read_held
from orchestrator.evidence.witness import Witness
from orchestrator.foundation.errors import BrokenLog
from tests.fakes.clock import SetClock
from tests.fuzz.target import Target, must

ORIGIN = "evidence.example/prod"
AT_SECONDS = 1_700_000_000
SIGNERS = [
    NoteSigner(name, SigningKey.from_seed(algorithm, bytes([number]) * 32))
    for number, (name, algorithm) in enumerate(
        [
            (ORIGIN, Algorithm.ED25519),
            (ORIGIN, Algorithm.COSIGNATURE_ML_DSA_44),
            ("witness.example/w1", Algorithm.COSIGNATURE_ED25519),
        ]
    )
]
KEYS = [signer.verifier_key for signer in SIGNERS]
ENTRIES = [b"entry %d" % number for number in range(9)]
TILE = b"".join(map(merkle.leaf_hash, ENTRIES))


def checkpoint(size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, reader(size).root())


def reader(size: int) -> merkle.TileReader:
    return merkle.TileReader(size, lambda _: TILE)


def _notes() -> list[bytes]:
    plain = sign_checkpoint(checkpoint(7), SIGNERS[:1], at_seconds=AT_SECONDS)
    all_of_them = sign_checkpoint(checkpoint(9), SIGNERS, at_seconds=AT_SECONDS)
    extended = sign_checkpoint(Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT, ("more", "lines")), SIGNERS[:1], at_seconds=0)
    huge = sign_checkpoint(Checkpoint(ORIGIN, 10**19 - 1, bytes(32)), SIGNERS[:1], at_seconds=0)
    answer = SIGNERS[2].signature_line(checkpoint(7).text(), at_seconds=AT_SECONDS)
    return [note.encode() for note in (plain, all_of_them, extended, huge, answer)]


def check_note(content: bytes) -> None:
    note = content.decode(errors="replace")
    try:
        text, signatures = split_note(note)
        must(note.startswith(text.decode()), "a note's text is its beginning")
        must(0 < len(signatures) <= 100, "a note has one to a hundred signatures")
    except BrokenLog:
        pass
    try:
        found = Checkpoint.parse(content)
        must(found.text() == content, "a checkpoint has one form")
    except BrokenLog:
        pass
    try:
        signed = open_checkpoint(note, KEYS)
        must(bool(signed.signatures), "an opened checkpoint was signed")
        must(signed.checkpoint.text() in {checkpoint(size).text() for size in range(10)} | _SIGNED, "forged")
    except BrokenLog:
        pass
    plain = _notes()[0].decode()
    try:
        line = _own_line(KEYS[2], plain, note)
        must(len(open_checkpoint(plain + line, KEYS).signatures) == 2, "only a signature is kept of an answer")
    except BrokenLog:
        pass


_SIGNED = {split_note(note.decode())[0] for note in _notes()[:4]}


def check_key(content: bytes) -> None:
    text = content.decode(errors="surrogateescape")
    try:
        key = VerifierKey.parse(text)
    except BrokenLog:
        return
    must(str(key) == text.strip(), "a verifier key has one form")
    for signature in (b"", bytes(8), bytes(72)):
        try:
            key.verify(b"a text\n", signature)
        except BrokenLog:
            continue
        must(False, "a signature of zeros is valid")


def check_proof(content: bytes) -> None:
    text = content.decode(errors="replace")
    try:
        index, proof, note = parse_proof(text)
        merkle.proves_inclusion(merkle.leaf_hash(b"entry 3"), index, 9, proof, checkpoint(9).root)
        if "\nextra " not in text:
            must(format_proof(index, proof, note) == text, "a proof has one form")
    except BrokenLog:
        pass
    try:
        size, proof = parse_consistency(text)
        merkle.proves_consistency(size, 9, proof, checkpoint(4).root, checkpoint(9).root)
    except BrokenLog:
        pass
    for read in (from_base64, from_decimal):
        try:
            read(text)
        except BrokenLog:
            continue
    read_held(text)


def _proofs() -> list[bytes]:
    note = _notes()[0].decode()
    inclusion = [format_proof(index, reader(9).inclusion(index), note) for index in (0, 3, 8)]
    inclusion.append(inclusion[0].replace("\nindex", "\nextra AAAA\nindex"))
    old = "".join(to_base64(step) + "\n" for step in reader(9).consistency(4))
    held = f"{ORIGIN}/000000000009-{checkpoint(9).root.hex()} 2026-11-21\n"
    return [text.encode() for text in (*inclusion, f"old 4\n{old}", held, "9" * 19, to_base64(bytes(33)))]


POLICY = f"""# whom to believe
log {KEYS[0]}
log {KEYS[1]} https://logs.example
witness w1 {KEYS[2]} https://w1.example
witness w2 {NoteSigner("w2", SigningKey.from_seed(Algorithm.COSIGNATURE_ED25519, bytes([7]) * 32)).verifier_key}
group both all w1 w2
group one any w1 w2
group some 1 one both
quorum some
"""


def check_log_policy(content: bytes) -> None:
    try:
        policy = LogPolicy.parse(content.decode(errors="surrogateescape"))
    except BrokenLog:
        return
    must(bool(policy.logs), "a policy names a log")
    bare = SignedCheckpoint(checkpoint(9), "", ())
    must(not policy.is_satisfied_by(bare), "nobody's signatures satisfy a policy")
    everybody = SignedCheckpoint(checkpoint(9), "", tuple((key, None) for key in policy.keys))
    policy.is_satisfied_by(everybody)


def check_witness(content: bytes) -> None:
    """One request to a witness that has seen four entries, and one to a witness that has seen nothing."""
    seen = sign_checkpoint(checkpoint(4), SIGNERS[:1], at_seconds=AT_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        for first in (f"old 0\n\n{seen}".encode(), b""):
            witness = Witness(Path(folder) / str(len(first)), SIGNERS[2], KEYS[:2], SetClock())
            if first:
                must(witness.add_checkpoint(first).status == 200, "an honest first head is cosigned")
            answer = witness.add_checkpoint(content)
            must(answer.status in {200, 400, 403, 404, 409, 422}, f"a status of the protocol, not {answer.status}")
            if answer.status == 200:
                must(witness.add_checkpoint(content).status in {200, 409}, "what was kept can be read again")


def _requests() -> list[bytes]:
    proof = "".join(to_base64(step) + "\n" for step in reader(9).consistency(4))
    notes = [note.decode() for note in _notes()]
    return [
        f"old {old}\n{between}\n{note}".encode()
        for old, between, note in (
            (0, "", notes[0]),
            (4, proof, notes[1]),
            (4, "", notes[1]),
            (4, proof, notes[3]),
            (0, "", notes[2]),
        )
    ]


TARGETS = (
    Target("note", "signed notes and checkpoints", check_note, _notes),
    Target("verifier_key", "verifier keys", check_key, lambda: [str(key).encode() for key in KEYS]),
    Target("proof", "proofs, decimals, base64, listings of locked copies", check_proof, _proofs),
    Target("log_policy", "log policies and their quorums", check_log_policy, lambda: [POLICY.encode()]),
    Target("witness", "requests to a witness", check_witness, _requests),
)
