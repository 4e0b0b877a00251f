"""Keys that sign and verify the log's checkpoints: Ed25519 and ML-DSA-44."""

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import EvidenceError

_SEED_BYTES = 32


class Algorithm(IntEnum):
    """Signature types of C2SP signed-note; the number is part of a key's identity."""

    ED25519 = 0x01  # over the note's text
    COSIGNATURE_ED25519 = 0x04  # cosignature/v1, with a time
    COSIGNATURE_ML_DSA_44 = 0x06  # subtree/v1, with a time

    @property
    def title(self) -> str:
        """As people call it."""
        return "ML-DSA-44" if self is Algorithm.COSIGNATURE_ML_DSA_44 else "Ed25519"


def signature_is_valid(algorithm: Algorithm, public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` over `message` was made with the key. A key or signature of odd form is not valid."""
    try:
        if algorithm is Algorithm.COSIGNATURE_ML_DSA_44:
            MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class SigningKey:
    """A private key with the kind of signature it makes. `repr` shows no secret."""

    algorithm: Algorithm
    private: Ed25519PrivateKey | MLDSA44PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, algorithm: Algorithm) -> "SigningKey":
        if algorithm is Algorithm.COSIGNATURE_ML_DSA_44:
            return cls(algorithm, MLDSA44PrivateKey.generate())
        return cls(algorithm, Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, algorithm: Algorithm, seed: bytes) -> "SigningKey":
        if algorithm is Algorithm.COSIGNATURE_ML_DSA_44:
            return cls(algorithm, MLDSA44PrivateKey.from_seed_bytes(seed))
        return cls(algorithm, Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load_or_make(cls, path: Path, algorithm: Algorithm) -> "SigningKey":
        """The key in `path`, made there (readable by its owner alone) when there is none."""
        if not path.exists():
            key = cls.generate(algorithm)
            replace_file(path, key.private.private_bytes_raw(), mode=0o600)
            return key
        if path.stat().st_mode & 0o077:
            raise EvidenceError(f"{path}: the log's signing key may be read by others", hint=f"chmod 600 {path}")
        seed = path.read_bytes()
        if len(seed) != _SEED_BYTES:
            raise EvidenceError(f"{path}: not a signing key ({len(seed)} bytes instead of {_SEED_BYTES})")
        return cls.from_seed(algorithm, seed)

    @property
    def public_key(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)
