"""The numbered records that clients send. Content follows from the number, so that a repeat is equal."""

import base64
import hashlib
import json
from typing import NamedTuple


class Request(NamedTuple):
    """One record as HTTP carries it; `sha256` is what the service must hold afterwards."""

    method: str
    path: str
    body: bytes
    sha256: str


def content(system: str, number: int, size_bytes: int) -> bytes:
    """Incompressible bytes that belong to this system and number alone."""
    return hashlib.shake_128(f"{system}/{number}".encode()).digest(size_bytes)


def filing_amount(number: int) -> int:
    return number * 7919 % 100_003


def filing_taxpayer(number: int) -> str:
    return f"TP-{number % 9973:05d}"


def filing_request(number: int, size_bytes: int) -> Request:
    attachment = content("filing", number, size_bytes)
    body = {
        "id": number,
        "taxpayer": filing_taxpayer(number),
        "amount": filing_amount(number),
        "attachment": base64.b64encode(attachment).decode(),
    }
    return Request("POST", "/filings", json.dumps(body).encode(), hashlib.sha256(attachment).hexdigest())


def archive_request(number: int, size_bytes: int) -> Request:
    document = content("archive", number, size_bytes)
    return Request("PUT", f"/documents/{number}", document, hashlib.sha256(document).hexdigest())


REQUESTS = {"filing": filing_request, "archive": archive_request}
# Both digest what they hold: a row whose file is gone is no record that was kept.
LISTINGS = {"filing": "/filings?verify=1&", "archive": "/documents?verify=1&"}
