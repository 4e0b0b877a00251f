"""Takes known secrets out of whatever is about to be recorded, before it is hashed.

Secrets enter skerry as references; a program on a host may still print one. Every value that a secret reference
resolved to is registered here, and is looked for as it is and in the forms in which tools print it.
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from orchestrator.foundation.limits import SCRUBBED_SECRET_CHARACTERS_MIN

REMOVED = "[secret removed]"


def _forms(secret: str) -> Iterator[str]:
    """The secret as it may be printed: plain, in URLs, JSON, shell words, base64 at each of its three offsets."""
    yield secret
    yield secret.strip()
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield secret.replace("'", "'\"'\"'")
    yield secret.replace("'", "''")
    yield secret.encode().hex()
    for line in secret.splitlines():
        yield line.strip()
    if len(secret) >= 8:  # a shorter one leaves too little in base64 to be told from chance
        for offset in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                encoded = encode(b"\0" * offset + secret.encode()).decode().rstrip("=")
                # The characters that also depend on what stands before and after are left out.
                yield encoded[(0, 2, 3)[offset] : len(encoded) - 1]


class Scrubber:
    """Replaces registered secrets. Without any it costs nothing."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._text: re.Pattern[str] | None = None
        self._bytes: re.Pattern[bytes] | None = None

    def register(self, value: str) -> None:
        """Never let `value` through from now on. One of under four characters would blot out ordinary text: refused."""
        self._forms |= {form for form in _forms(value) if len(form) >= SCRUBBED_SECRET_CHARACTERS_MIN}
        if self._forms:
            longest_first = sorted(self._forms, key=len, reverse=True)
            pattern = "|".join(re.escape(form) for form in longest_first)
            self._text, self._bytes = re.compile(pattern), re.compile(pattern.encode())

    def clean_bytes(self, content: bytes) -> bytes:
        return self._bytes.sub(REMOVED.encode(), content) if self._bytes else content

    def clean(self, value: Any) -> Any:
        """`value`, a JSON value, with every string in it cleaned, keys included."""
        if self._text is None:
            return value
        if isinstance(value, str):
            return self._text.sub(REMOVED, value)
        if isinstance(value, dict):
            return {self.clean(key): self.clean(member) for key, member in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean(member) for member in value]
        return value
