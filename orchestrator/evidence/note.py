"""Signed notes and checkpoints: C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof, tlog-policy.

Rules: a known key whose signature is wrong spoils the note; unknown keys are passed over; base64 and decimals have
one form only. Whatever is malformed or wrongly signed raises BrokenLog.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey, signature_is_valid
from orchestrator.foundation.errors import BrokenLog

DASH = "\u2014"
SIGNATURES_MAX = 100
DECIMAL_DIGITS_MAX = 19
_TIME_BYTES = 8


def to_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def from_base64(text: str) -> bytes:
    """Strict: what would not be written the same way again is refused."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BrokenLog(f"not base64: {text[:40]!r}") from None
    if to_base64(content) != text:
        raise BrokenLog(f"base64 in another than its one form: {text[:40]!r}")
    return content


def from_decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > DECIMAL_DIGITS_MAX or (len(text) > 1 and text[0] == "0"):
        raise BrokenLog(f"not a decimal number: {text[:40]!r}")
    return int(text)


@dataclass(frozen=True)
class VerifierKey:
    """`<name>+<key id>+<base64 of algorithm and public key>`."""

    name: str
    algorithm: Algorithm
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        content = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key
        return hashlib.sha256(content).digest()[:4]

    @property
    def is_cosigner(self) -> bool:
        """Whether its signatures carry a time."""
        return self.algorithm is not Algorithm.ED25519

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{to_base64(bytes([self.algorithm]) + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not parts[0] or any(letter.isspace() for letter in parts[0]):
            raise BrokenLog(f"not a verifier key: {text[:60]!r}")
        raw = from_base64(parts[2])
        try:
            key = cls(parts[0], Algorithm(raw[0]), raw[1:])
            key_id = key.key_id.hex()
        except (IndexError, ValueError):
            raise BrokenLog(f"verifier key {parts[0]!r} is of an unknown kind") from None
        if key_id != parts[1]:
            raise BrokenLog(f"verifier key {parts[0]!r}: key id does not match the key")
        return key

    def verify(self, text: bytes, signature: bytes) -> int | None:
        """The time of a cosignature, None for a plain one; BrokenLog when it is wrong."""
        signed_at = None
        message = text
        if self.is_cosigner:
            if len(signature) <= _TIME_BYTES:
                raise BrokenLog(f"signature by {self.name} is too short")
            signed_at = int.from_bytes(signature[:_TIME_BYTES], "big")
            signature = signature[_TIME_BYTES:]
            message = _cosigned_message(self, signed_at, text)
        if not signature_is_valid(self.algorithm, self.public_key, signature, message):
            raise BrokenLog(f"the signature by {self.name} is not valid")
        return signed_at


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: so many entries, this root. `root` is 32 bytes."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> bytes:
        lines = (self.origin, str(self.size), to_base64(self.root), *self.extensions)
        return "".join(line + "\n" for line in lines).encode()

    @classmethod
    def parse(cls, text: bytes) -> "Checkpoint":
        try:
            lines = text.decode().split("\n")
        except UnicodeDecodeError:
            raise BrokenLog("checkpoint is not UTF-8") from None
        if lines.pop() != "" or len(lines) < 3 or not all(lines):
            raise BrokenLog("malformed checkpoint")
        root = from_base64(lines[2])
        if len(root) != 32:
            raise BrokenLog("the checkpoint's root is not 32 bytes long")
        return cls(lines[0], from_decimal(lines[1]), root, tuple(lines[3:]))


def _cosigned_message(key: VerifierKey, signed_at: int, text: bytes) -> bytes:
    if key.algorithm is Algorithm.COSIGNATURE_ED25519:
        return b"cosignature/v1\ntime %d\n" % signed_at + text
    checkpoint = Checkpoint.parse(text)
    name, origin = key.name.encode(), checkpoint.origin.encode()
    if len(name) > 255 or len(origin) > 255:
        raise BrokenLog("a name is longer than 255 bytes")
    return (
        b"subtree/v1\n\0"
        + bytes([len(name)])
        + name
        + signed_at.to_bytes(8, "big")
        + bytes([len(origin)])
        + origin
        + (0).to_bytes(8, "big")
        + checkpoint.size.to_bytes(8, "big")
        + checkpoint.root
    )


class NoteSigner:
    """Signs notes under a name."""

    def __init__(self, name: str, key: SigningKey) -> None:
        self._key = key
        self.verifier_key = VerifierKey(name, key.algorithm, key.public_key)

    def signature_line(self, text: bytes, *, at_seconds: int) -> str:
        """The line to put under a note; `at_seconds` (Unix time) goes into cosignatures."""
        key = self.verifier_key
        if key.is_cosigner:
            time = at_seconds.to_bytes(_TIME_BYTES, "big")
            signature = time + self._key.sign(_cosigned_message(key, at_seconds, text))
        else:
            signature = self._key.sign(text)
        return f"{DASH} {key.name} {to_base64(key.key_id + signature)}\n"


@dataclass(frozen=True)
class NoteSignature:
    name: str
    key_id: bytes
    signature: bytes


def split_note(note: str) -> tuple[bytes, list[NoteSignature]]:
    """The signed text and the signatures of a note, nothing verified yet."""
    if any(ord(letter) < 0x20 and letter != "\n" for letter in note):
        raise BrokenLog("control character in a note")
    text, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise BrokenLog("malformed note")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise BrokenLog(f"more than {SIGNATURES_MAX} signatures")
    signatures = []
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != DASH or not parts[1]:
            raise BrokenLog("malformed signature line")
        raw = from_base64(parts[2])
        if len(raw) < 5:
            raise BrokenLog("signature too short")
        signatures.append(NoteSignature(parts[1], raw[:4], raw[4:]))
    return (text + "\n").encode(), signatures


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint with those of its signatures that were verified: key and, for cosigners, Unix time."""

    checkpoint: Checkpoint
    note: str
    signatures: tuple[tuple[VerifierKey, int | None], ...]


def open_checkpoint(note: str, keys: Sequence[VerifierKey]) -> SignedCheckpoint:
    """The checkpoint of a note that at least one of `keys` signed; BrokenLog when one signed wrongly, or none did."""
    text, signatures = split_note(note)
    known = {(key.name, key.key_id): key for key in keys}
    verified = []
    for signature in signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            verified.append((key, key.verify(text, signature.signature)))
    if not verified:
        raise BrokenLog("no signature by a known key")
    return SignedCheckpoint(Checkpoint.parse(text), note, tuple(verified))


def sign_checkpoint(checkpoint: Checkpoint, signers: Sequence[NoteSigner], *, at_seconds: int) -> str:
    text = checkpoint.text()
    return text.decode() + "\n" + "".join(signer.signature_line(text, at_seconds=at_seconds) for signer in signers)


_PROOF_HEADER = "c2sp.org/tlog-proof@v1"


def format_proof(index: int, proof: Sequence[bytes], note: str) -> str:
    """A stand-alone inclusion proof."""
    return f"{_PROOF_HEADER}\nindex {index}\n" + "".join(to_base64(step) + "\n" for step in proof) + "\n" + note


def parse_proof(text: str) -> tuple[int, list[bytes], str]:
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != _PROOF_HEADER or not separator:
        raise BrokenLog("not a tlog-proof")
    if len(lines) > 1 and lines[1].startswith("extra "):
        del lines[1]
    if len(lines) < 2 or not lines[1].startswith("index "):
        raise BrokenLog("a tlog-proof without index")
    return from_decimal(lines[1][len("index ") :]), [from_base64(line) for line in lines[2:]], note


@dataclass(frozen=True)
class LogPolicy:
    """Whom to believe about a log: its keys, witnesses, and how many of them (c2sp.org/tlog-policy)."""

    logs: tuple[VerifierKey, ...]
    witnesses: dict[str, VerifierKey] = field(default_factory=dict)
    groups: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    quorum: str = "none"

    @property
    def keys(self) -> list[VerifierKey]:
        return [*self.logs, *self.witnesses.values()]

    @classmethod
    def parse(cls, text: str) -> "LogPolicy":
        logs: list[VerifierKey] = []
        witnesses: dict[str, VerifierKey] = {}
        groups: dict[str, tuple[int, tuple[str, ...]]] = {}
        quorum = ""
        for number, line in enumerate(text.split("\n"), start=1):
            match line.split():
                case []:
                    continue
                case [first, *_] if first.startswith("#"):
                    continue
                case ["log", key, *_]:
                    logs.append(VerifierKey.parse(key))
                case ["witness", name, key, *_] if name not in witnesses and name not in groups and name != "none":
                    witnesses[name] = VerifierKey.parse(key)
                    if len({each.public_key for each in witnesses.values()}) != len(witnesses):
                        raise BrokenLog(
                            f"log policy line {number}: the key of another witness, which would count twice"
                        )
                case ["group", name, threshold, *members] if name not in witnesses and name not in groups and members:
                    unknown = [member for member in members if member not in witnesses and member not in groups]
                    if unknown:
                        raise BrokenLog(f"log policy line {number}: {unknown[0]!r} is not known before this line")
                    if len(set(members)) != len(members):
                        raise BrokenLog(f"log policy line {number}: a member stands twice, and would count twice")
                    needed = {"any": 1, "all": len(members)}.get(threshold) or from_decimal(threshold)
                    if not 1 <= needed <= len(members):
                        raise BrokenLog(
                            f"log policy line {number}: {needed} of {len(members)} can not be met or mean nothing"
                        )
                    groups[name] = (needed, tuple(members))
                case ["quorum", name] if not quorum and (name == "none" or name in witnesses or name in groups):
                    quorum = name
                case _:
                    raise BrokenLog(f"log policy line {number}: {line[:60]!r} is not understood")
        if not logs:
            raise BrokenLog("a log policy must name at least one log")
        return cls(tuple(logs), witnesses, groups, quorum or "none")

    def is_satisfied_by(self, signed: SignedCheckpoint) -> bool:
        """Signed by a log key of this policy, in the log's own name, and by its quorum of witnesses."""
        keys = {key for key, _ in signed.signatures}
        if not any(key in keys and key.name == signed.checkpoint.origin for key in self.logs):
            return False
        if self.quorum == "none":
            return True
        met = {name: key in keys for name, key in self.witnesses.items()}
        for name, (needed, members) in self.groups.items():  # members stand before their group
            met[name] = sum(met[member] for member in members) >= needed
        return met[self.quorum]
