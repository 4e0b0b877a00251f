"""JSON with one form only, so that a digest over it means something.

Keys sorted, no white space, UTF-8, no NaN, no floats beyond what `repr` gives. It is what plans, facts and
policies are digested over; evidence is hashed as stored and never re-encoded.
"""

import hashlib
import json
from math import isfinite
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value. Fails with ValueError on NaN, TypeError on what JSON cannot hold."""
    return _ENCODER.encode(value).encode()


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:40]} is no number")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_twice, parse_float=_finite, parse_constant=_finite)


def read_json(content: bytes | str) -> Any:
    """A JSON value that `canonical_json` can write again. ValueError for anything else, however deep or large.

    So no key stands twice, every number is finite, and every text can be encoded.
    """
    text = content.decode() if isinstance(content, bytes) else content
    text.encode()
    try:
        value = _DECODER.decode(text)
        if "\\ud" in text or "\\uD" in text:
            canonical_json(value)  # escapes may make half a character, which no file can hold
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def digest_of(value: Any) -> str:
    """`sha256:` and the hex digest of the canonical form."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()
