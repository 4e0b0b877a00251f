"""Signed calls of one service: a kept connection for each thread, tried again a bounded number of times."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import re
import ssl
import threading
import time
import urllib.parse

from orchestrator.targets.host_programs.cloud_data.signing import Signer, query_string

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any

ATTEMPTS_MAX = 10  # half of all calls throttled lets all but one of a thousand blocks pass, and that is asked again
CALL_SECONDS_MAX = 60.0
WAIT_SECONDS_FIRST, WAIT_SECONDS_MAX = 0.05, 5.0
AGAIN = {
    "RequestThrottledException",
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
    "RequestTimeout",
}


class Refused(Exception):
    """The service says no for good, or the way to it is broken: `code` in AWS's words, `status` 0 without an answer."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Service:
    """One service of one region. `endpoint` is an URL. Any number of threads may call."""

    def __init__(self, endpoint: str, signer: Signer) -> None:
        parts = urllib.parse.urlsplit(endpoint)
        self.secure = parts.scheme == "https"
        self.host = parts.netloc
        self.signer = signer
        self.tls = ssl.create_default_context() if self.secure else None
        self.own = threading.local()
        self.chance = random.Random()
        self.calls = 0
        self.again = 0  # calls that were made once more

    def call(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str] | None = None,
        body: bytes | memoryview = b"",
        digest: str = "",
    ) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a good answer. Refused when there is none."""
        wait_seconds = WAIT_SECONDS_FIRST
        for attempt in range(1, ATTEMPTS_MAX + 1):
            self.calls += 1
            try:
                status, told, answer = self.once(method, path, query, headers or {}, body, digest)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                refusal = Refused("Unreachable", f"{self.host} broke off: {error or type(error).__name__}", 0)
            else:
                if status < 300:
                    return answer, told
                refusal = refused(status, told, answer)
                if refusal.code not in AGAIN and status < 500:
                    raise refusal
                if told.get("retry-after", "").isdigit():
                    wait_seconds = max(wait_seconds, float(told["retry-after"]))
            if attempt == ATTEMPTS_MAX:
                raise refusal
            self.again += 1
            time.sleep(wait_seconds * (0.5 + self.chance.random() / 2))
            wait_seconds = min(wait_seconds * 2, WAIT_SECONDS_MAX)
        raise AssertionError("the last attempt returns or raises")

    def once(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes | memoryview,
        digest: str,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = getattr(self.own, "connection", None)
        if connection is None:
            connection = self.own.connection = self.connect()
        hashed = digest or hashlib.sha256(body).hexdigest()
        signed = self.signer.headers(method, self.host, path, query, headers, hashed)
        url = path + ("?" + query_string(query) if query else "")
        connection.request(method, url, body if len(body) else None, signed)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def connect(self) -> Any:
        if self.secure:
            return http.client.HTTPSConnection(self.host, timeout=CALL_SECONDS_MAX, context=self.tls)
        return http.client.HTTPConnection(self.host, timeout=CALL_SECONDS_MAX)

    def close(self) -> None:
        connection = getattr(self.own, "connection", None)
        if connection is not None:
            connection.close()
            self.own.connection = None


def refused(status: int, headers: dict[str, str], body: bytes) -> Refused:
    """The service's refusal, in its own words: JSON of the direct APIs, XML of S3."""
    if body.lstrip()[:1] == b"<":
        found = {
            name: re.search(f"<{name}>(.*?)</{name}>", body.decode("utf-8", "replace"), re.DOTALL)
            for name in ("Code", "Message")
        }
        words = {name: match[1] if match else "" for name, match in found.items()}
        return Refused(words["Code"] or f"HTTP {status}", words["Message"], status)
    try:
        told = json.loads(body or b"{}")
    except ValueError:
        told = {}
    code = headers.get("x-amzn-errortype") or str(told.get("__type", ""))
    code = code.partition(":")[0].rpartition("#")[2] or f"HTTP {status}"
    said = str(told.get("message") or told.get("Message") or "")
    reason = str(told.get("Reason", ""))
    return Refused(code, f"{said} ({reason})" if reason else said, status)
