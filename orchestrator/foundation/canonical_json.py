"""JSON with one form only, so that a digest over it means something.

Keys sorted, no white space, UTF-8, no NaN, no floats beyond what `repr` gives. It is what plans, facts and
policies are digested over; evidence is hashed as stored and never re-encoded.
"""

import hashlib
import json
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value. Fails with ValueError on NaN, TypeError on what JSON cannot hold."""
    return _ENCODER.encode(value).encode()


def digest_of(value: Any) -> str:
    """`sha256:` and the hex digest of the canonical form."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()
