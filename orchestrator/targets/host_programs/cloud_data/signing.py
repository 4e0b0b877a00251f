"""Signature version 4, as every AWS API asks for it; "AWS Signature Version 4 for API requests" in the IAM guide."""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.parse

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Mapping


class Signer:
    """Signs calls of one service and region with one set of keys. Safe for many threads."""

    def __init__(self, keys: Mapping[str, str], region: str, service: str) -> None:
        self.access_key = keys["access_key"]
        self.secret_key = keys["secret_key"]
        self.token = keys.get("token", "")
        self.scope = (region, service)
        self.day_key: tuple[str, bytes] = ("", b"")

    def headers(
        self, method: str, host: str, path: str, query: Mapping[str, str], more: Mapping[str, str], body_sha256: str
    ) -> dict[str, str]:
        """All headers of the call: those of `more`, and what proves who asks. `path` is as it goes over the wire."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        signed = {name.lower(): value for name, value in more.items()}
        signed.update({"host": host, "x-amz-date": moment, "x-amz-content-sha256": body_sha256})
        if self.token:
            signed["x-amz-security-token"] = self.token
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name].strip()}\n" for name in sorted(signed))
        canonical = "\n".join([method, path, query_string(query), lines, names, body_sha256])
        scope = "/".join([moment[:8], *self.scope, "aws4_request"])
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashed}"
        signature = hmac.new(self.key_of(moment[:8]), to_sign.encode(), "sha256").hexdigest()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return signed

    def key_of(self, day: str) -> bytes:
        known, key = self.day_key
        if known != day:
            key = b"AWS4" + self.secret_key.encode()
            for word in (day, *self.scope, "aws4_request"):
                key = hmac.new(key, word.encode(), "sha256").digest()
            self.day_key = (day, key)
        return key


def query_string(query: Mapping[str, str]) -> str:
    """Names in order, everything escaped but unreserved characters: on the wire as it is signed."""
    quoted = [(urllib.parse.quote(name, safe="-_.~"), urllib.parse.quote(query[name], safe="-_.~")) for name in query]
    return "&".join(f"{name}={value}" for name, value in sorted(quoted))
