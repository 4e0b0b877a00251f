"""Learned host keys in memory that obey the laws of contracts.host_keys.HostKeyRing."""

import base64
import binascii
import hashlib
from collections.abc import Sequence

from orchestrator.foundation.errors import AccessDenied
from orchestrator.model.host import Host

KEY_BYTES_MIN = 32


class MemoryHostKeys:
    """`kept` is what outlives the ring; hand it to another ring to reopen it."""

    def __init__(self, kept: dict[str, tuple[str, ...]] | None = None) -> None:
        self.kept = {} if kept is None else kept

    def learn(self, host: Host, keys: Sequence[str]) -> None:
        if not keys:
            raise AccessDenied(f"{host.name}: its provider reported no host key")
        self.kept[host.name] = tuple(_fingerprint(host, key) for key in keys)

    def fingerprints(self, host: Host) -> Sequence[str]:
        return self.kept.get(host.name, ())


def _fingerprint(host: Host, key: str) -> str:
    kind, _, rest = key.partition(" ")
    try:
        content = base64.b64decode(rest.split(" ")[0], validate=True)
    except (binascii.Error, ValueError) as error:
        raise AccessDenied(f"{host.name}: {key!r} is no public key") from error
    if len(content) < KEY_BYTES_MIN:
        raise AccessDenied(f"{host.name}: {key!r} is no public key")
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"SHA256:{digest} ({kind})"
