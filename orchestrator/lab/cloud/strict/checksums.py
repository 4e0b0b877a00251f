"""The checksums that S3 knows. CRC32C and CRC64NVME in plain Python: slow, and right.

Parameters: RFC 3720 (CRC32C, Castagnoli, reflected 0x82F63B78) and the NVM Express base specification (CRC64NVME,
reflected 0x9A6C9329AC4BC9B5); check values over "123456789" are E3069283 and AE8B14860A799888.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable
from functools import cache


@cache
def _table(polynomial: int) -> tuple[int, ...]:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)  # noqa: PLW2901 - the register of the division
        rows.append(value)
    return tuple(rows)


def _reflected_crc(content: bytes, polynomial: int, bits: int) -> bytes:
    table, ones = _table(polynomial), (1 << bits) - 1
    register = ones
    for byte in content:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return (register ^ ones).to_bytes(bits // 8, "big")


ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda content: zlib.crc32(content).to_bytes(4, "big"),
    "crc32c": lambda content: _reflected_crc(content, 0x82F63B78, 32),
    "crc64nvme": lambda content: _reflected_crc(content, 0x9A6C9329AC4BC9B5, 64),
    "sha1": lambda content: hashlib.sha1(content).digest(),  # noqa: S324 - what the API calls for
    "sha256": lambda content: hashlib.sha256(content).digest(),
}


def checksum(algorithm: str, content: bytes) -> str:
    """Base64, as the API writes it. KeyError for an algorithm S3 does not know."""
    return base64.b64encode(ALGORITHMS[algorithm](content)).decode()
