"""Changes of inputs that keep enough of their form to reach what lies behind the first check."""

import json
import random
from typing import Any

# What other programs write and ours must bear: limits of numbers, of nesting, of times, of texts.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 255, 256, 2**31, 2**32 - 1, 2**53, 2**63, 2**64, 10**12, 10**18, 10**19, 10**400,
    0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"),
    "", "0", "-1", "x", "\x00", "\n", "\x1b[2J", "\ud800", "é", "\u2028", "<x-fuzz>'\"", "9" * 30, "9" * 5000,
    "a" * 300, "../../etc/passwd", "/", "a/b/c", "filing/drain/1", "filing/drain/x", "//", "none", "1e999", "nan",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-21T00:00:00Z", "2026-11-21", "20261121T000000Z",
    "sha256:" + "0" * 64, "sha256:", "0" * 64,
    [], {}, [None], [[]], [1, "x", {}], {"": None}, {"kept": {"digest": "x"}}, {"x": {"x": {"x": []}}},
    {"digest": "sha256:" + "0" * 64, "size": 0, "mediaType": "x"}, {"digest": 5, "size": "x", "mediaType": None},
)  # fmt: skip
FRAGMENTS = (
    b"\n", b"\n\n", b" ", b"\xe2\x80\x94 ", b"=", b"==", b"+", b"\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00",
    b"\r\n", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"9" * 20, b"0", b"-", b"[" * 3000, b'{"a":' * 3000, b"1e999", b"NaN",
    b"\\ud800", b'"', b"{}", b"[]", b"null", b"," , b"\xc2\x85", b"\xe2\x80\xa8", b"\x1c",
)  # fmt: skip


def change_bytes(content: bytes, chance: random.Random) -> bytes:
    """One to four changes without regard to the form."""
    work = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
        at = chance.randrange(len(work) + 1)
        end = min(len(work), at + chance.choice((1, 1, 2, 4, 8, 32, 200)))
        match chance.randrange(7):
            case 0 if at < len(work):
                work[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(work):
                work[at] = chance.randrange(256)
            case 2:
                del work[at:end]
            case 3:
                work[at:at] = chance.choice(FRAGMENTS)
            case 4:
                work[at:end] = chance.choice(FRAGMENTS)
            case 5:
                work[at:at] = work[at:end] * chance.choice((1, 1, 3, 50))
            case _:
                other = chance.randrange(len(work) + 1)
                work[at:end], work[other:other] = b"", work[at:end]
    return bytes(work)


def change_json(content: bytes, chance: random.Random) -> bytes:
    """One to three members of a JSON text replaced, dropped, doubled, renamed or swapped; else `change_bytes`."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return change_bytes(content, chance)
    if chance.random() < 0.1:
        return change_bytes(content, chance)
    holder = [value]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = _places(holder)
        if not places:
            break
        container, key = chance.choice(places)
        _change_member(container, key, chance, places)
    try:
        return json.dumps(holder[0], separators=(",", ":"), ensure_ascii=chance.random() < 0.5).encode(
            errors="surrogatepass"
        )
    except (ValueError, RecursionError):
        return content


def _places(holder: list[Any]) -> list[tuple[Any, Any]]:
    """Container and key of every value within; the values themselves in the order found."""
    found: list[tuple[Any, Any]] = []
    todo: list[Any] = [holder]
    while todo and len(found) < 3000:
        container = todo.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                todo.append(container[key])
    return found


def _change_member(container: Any, key: Any, chance: random.Random, places: list[tuple[Any, Any]]) -> None:
    try:
        value = container[key]
    except (KeyError, IndexError):
        return  # an earlier change took it away
    fresh = json.loads(json.dumps(chance.choice(VALUES)))
    match chance.randrange(8):
        case 0 if isinstance(container, dict):
            del container[key]
        case 1 if isinstance(container, dict):
            container[str(fresh)[:40]] = container.pop(key)
        case 1 | 0:
            container.append(json.loads(json.dumps(value)))
        case 2:
            other, name = chance.choice(places)
            try:
                container[key] = json.loads(json.dumps(other[name]))
            except (KeyError, IndexError, ValueError, RecursionError):
                container[key] = fresh
        case 3 if isinstance(value, str):
            container[key] = change_bytes(value.encode(errors="replace"), chance).decode(errors="replace")
        case 3 | 4 if isinstance(value, int | float):
            container[key] = chance.choice((value + 1, value - 1, -value, 0, str(value), 10**12, float("inf")))
        case 4 if isinstance(value, dict):
            value[str(fresh)[:20]] = fresh
        case 4 if isinstance(value, list):
            value.append(fresh)
        case _:
            container[key] = fresh
