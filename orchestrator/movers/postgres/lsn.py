"""Positions in the write-ahead log."""

import re

_FORM = re.compile(r"^([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})$")


def parse_lsn(text: str) -> int:
    """`16/B374D848` as bytes since the beginning of the log; ValueError when it is no position."""
    found = _FORM.match(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no position in a write-ahead log")
    return int(found[1], 16) << 32 | int(found[2], 16)


def format_lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
