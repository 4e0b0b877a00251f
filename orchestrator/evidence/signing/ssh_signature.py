"""OpenSSH signatures (PROTOCOL.sshsig) judged in Python: Ed25519, ECDSA, RSA with SHA-2, and both FIDO kinds.

Rules: RSA with SHA-1 or under 2048 bits is refused; a FIDO signature without user presence is refused (ssh-keygen
takes it); a signature made for another namespace is refused.
"""

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

NAMESPACE = "evidence@skerry"
_MAGIC = b"SSHSIG"
_ARMOR_BEGIN, _ARMOR_END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_RSA_BITS_MIN = 2048
_CURVES: dict[bytes, tuple[type[ec.EllipticCurve], type[hashes.HashAlgorithm]]] = {
    b"nistp256": (ec.SECP256R1, hashes.SHA256),
    b"nistp384": (ec.SECP384R1, hashes.SHA384),
    b"nistp521": (ec.SECP521R1, hashes.SHA512),
}
_RSA_HASHES: dict[bytes, type[hashes.HashAlgorithm]] = {b"rsa-sha2-256": hashes.SHA256, b"rsa-sha2-512": hashes.SHA512}
_MESSAGE_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}


class BadSignature(ValueError):
    """Says why a signature is not valid. Callers turn it into an error of the tree, naming whose it was."""


@dataclass(frozen=True)
class Touch:
    """What a FIDO token said about the person at it."""

    user_verified: bool
    counter: int


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def raw(self, count: int) -> bytes:
        taken = self._content[self._at : self._at + count]
        if len(taken) != count:
            raise BadSignature("it is cut off")
        self._at += count
        return taken

    def number(self) -> int:
        return int.from_bytes(self.raw(4), "big")

    def string(self) -> bytes:
        return self.raw(self.number())

    def integer(self) -> int:
        return int.from_bytes(self.string(), "big")

    def end(self) -> None:
        if self._at != len(self._content):
            raise BadSignature("bytes follow its end")


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def public_key_blob(line: str) -> bytes:
    """The key of an OpenSSH public key line; BadSignature when it is not one."""
    parts = line.split()
    try:
        blob = base64.b64decode(parts[1], validate=True)
        if _Reader(blob).string() != parts[0].encode():
            raise BadSignature("it names another kind of key than it holds")
    except (IndexError, ValueError) as error:
        raise BadSignature(f"not an OpenSSH public key: {line[:40]!r}") from error
    return blob


def public_key_line(blob: bytes) -> str:
    """The line of a key; BadSignature when it is not one."""
    try:
        return f"{_Reader(blob).string().decode()} {base64.b64encode(blob).decode()}"
    except UnicodeDecodeError as error:
        raise BadSignature("it names a kind of key that is not text") from error


def fingerprint(blob: bytes) -> str:
    """As `ssh-keygen -l` prints it: SHA256:…"""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def armor(signature: bytes) -> str:
    text = base64.b64encode(signature).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join([_ARMOR_BEGIN, *lines, _ARMOR_END]) + "\n"


def unarmor(text: str) -> bytes:
    lines = text.strip().split("\n")
    if lines[0].strip() != _ARMOR_BEGIN or lines[-1].strip() != _ARMOR_END:
        raise BadSignature("it is not an armored SSH signature")
    try:
        return base64.b64decode("".join(line.strip() for line in lines[1:-1]), validate=True)
    except ValueError as error:
        raise BadSignature("its armor holds no base64") from error


def signing_key(signature: bytes) -> bytes:
    """The public key that a signature says it was made with."""
    if not signature.startswith(_MAGIC):
        raise BadSignature("it is not an SSH signature")
    reader = _Reader(signature[len(_MAGIC) :])
    reader.number()
    return reader.string()


def check_ssh_signature(signature: bytes, key_blob: bytes, message: bytes, namespace: str = NAMESPACE) -> Touch | None:
    """Return when `signature` over `message` was made with the key, for the namespace; BadSignature says why not."""
    try:
        if not signature.startswith(_MAGIC):
            raise BadSignature("it is not an SSH signature")
        reader = _Reader(signature[len(_MAGIC) :])
        if reader.number() != 1:
            raise BadSignature("it is of an unknown version")
        key, said_namespace, reserved, hash_name, inner = (reader.string() for _ in range(5))
        reader.end()
        if key != key_blob:
            raise BadSignature("it was made with another key")
        if said_namespace != namespace.encode():
            raise BadSignature(f"it was made for another purpose: {said_namespace[:60]!r}")
        if hash_name not in _MESSAGE_HASHES:
            raise BadSignature(f"it uses the hash {hash_name[:20]!r}")
        digest = _MESSAGE_HASHES[hash_name](message).digest()
        signed = _MAGIC + b"".join(map(_string, (said_namespace, reserved, hash_name, digest)))
        return _check_with_key(key, inner, signed)
    except InvalidSignature:
        raise BadSignature("it does not fit the message") from None
    except UnsupportedAlgorithm as error:
        raise BadSignature(f"it can not be checked here: {error}") from error
    except BadSignature:
        raise
    except ValueError as error:  # malformed numbers and curve points
        raise BadSignature(f"it is malformed: {error}") from error


def _check_with_key(key: bytes, inner: bytes, signed: bytes) -> Touch | None:
    """Check the signature proper; each kind of key has its own form (RFC 8709, 5656, 8332, PROTOCOL.u2f)."""
    key_reader, reader = _Reader(key), _Reader(inner)
    kind, signature_kind = key_reader.string(), reader.string()
    if kind == b"ssh-rsa":
        _check_rsa(key_reader, reader, signature_kind, signed)
        return None
    if signature_kind != kind:
        raise BadSignature("its kind does not match the key's")
    if kind in (b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com"):
        public = Ed25519PublicKey.from_public_bytes(key_reader.string())
        signature = reader.string()
        message, touch = _with_touch(kind, key_reader, reader, signed)
        public.verify(signature, message)
        return touch
    if kind == b"sk-ecdsa-sha2-nistp256@openssh.com" or kind.startswith(b"ecdsa-sha2-"):
        curve = key_reader.string()
        if curve not in _CURVES or (kind.startswith(b"ecdsa") and kind != b"ecdsa-sha2-" + curve):
            raise BadSignature(f"its curve {curve[:20]!r} is not accepted")
        make_curve, make_hash = _CURVES[curve]
        point = ec.EllipticCurvePublicKey.from_encoded_point(make_curve(), key_reader.string())
        numbers = _Reader(reader.string())
        der = encode_dss_signature(numbers.integer(), numbers.integer())
        numbers.end()
        message, touch = _with_touch(kind, key_reader, reader, signed)
        point.verify(der, message, ec.ECDSA(make_hash()))
        return touch
    raise BadSignature(f"keys of the kind {kind[:40]!r} are not accepted")


def _with_touch(kind: bytes, key_reader: _Reader, reader: _Reader, signed: bytes) -> tuple[bytes, Touch | None]:
    """What a FIDO token really signs: the application, its flags and counter, and the digest."""
    if not kind.startswith(b"sk-"):
        key_reader.end()
        reader.end()
        return signed, None
    application = key_reader.string()
    key_reader.end()
    flags, counter = reader.raw(1), reader.raw(4)
    reader.end()
    if not flags[0] & 0x01:
        raise BadSignature("nobody touched the token (user presence is missing)")
    message = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(signed).digest()
    return message, Touch(user_verified=bool(flags[0] & 0x04), counter=int.from_bytes(counter, "big"))


def _check_rsa(key_reader: _Reader, reader: _Reader, signature_kind: bytes, signed: bytes) -> None:
    exponent, modulus = key_reader.integer(), key_reader.integer()
    key_reader.end()
    signature = reader.string()
    reader.end()
    if signature_kind not in _RSA_HASHES:
        raise BadSignature(f"RSA signatures of the kind {signature_kind[:20]!r} are not accepted")
    if modulus.bit_length() < _RSA_BITS_MIN:
        raise BadSignature(f"its RSA key has under {_RSA_BITS_MIN} bits")
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    public.verify(signature, signed, padding.PKCS1v15(), _RSA_HASHES[signature_kind]())
