"""What a fuzz target is: a parser of the evidence, inputs to start from, and a way to change them that keeps the form.

The law of every target: whatever the bytes, `check` comes back, or the parser raised one of the errors it documents and
`check` took it. Anything else that leaves `check`, more than SECONDS_MAX, or more than MEMORY_BYTES_MAX, is a finding.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SECONDS_MAX = 5
MEMORY_BYTES_MAX = 2 * 1024**3

Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """`check` raises for findings only. `mutate` may be None where any change of bytes is as good as another."""

    name: str
    about: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutate | None = None
    input_bytes_max: int = 8192


class Broken(AssertionError):
    """A law of a parser that is about its answer, not about its errors."""


def must(claim: bool, what: str) -> None:
    if not claim:
        raise Broken(what)
