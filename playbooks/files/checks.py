"""Asks each check of a system from its own host and compares. Changes nothing. Sent to the host as it stands.

Usage: python3 - REQUEST, a JSON object:
  system   whose checks
  checks   [{name, url, expected_status, expected, notes, level}]; a key `a.b` of `expected` or `notes` goes deeper into
           the JSON answer; what is named in `notes` is observed, whatever it is, and must be there

Clients wait while it runs, so it imports little, and speaks HTTP/1.0 itself: the answer ends with the connection.
Prints one JSON object {changed, report}, report {checks: {<name>: {level, url, address, status, expected_status,
observed, expected, passed, wrong}}}. Exit 1: a check did not pass, and stderr names what was expected and what was
there.
"""

from __future__ import annotations

import json
import socket
import sys
import time

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any

ANSWER_SECONDS_MAX = 10
ANSWER_BYTES_MAX = 4 * 1024 * 1024


class NoAnswer(Exception):
    """Nothing that can be read as HTTP came back."""


def main() -> int:
    asked = json.loads(sys.argv[1])
    compared = {check["name"]: compare(check) for check in asked["checks"]}
    print(json.dumps({"changed": False, "report": {"checks": compared}}))
    failed = ["%s: %s" % (name, "; ".join(one["wrong"])) for name, one in compared.items() if not one["passed"]]
    if failed:
        print("%s: %s" % (asked["system"], ". ".join(failed)), file=sys.stderr)
        return 1
    return 0


def compare(check: dict[str, Any]) -> dict[str, Any]:
    body: Any = {}
    wrong = []
    address = ""
    try:
        status, content, address = ask(check["url"])
        body = json.loads(content) if content else {}
    except NoAnswer as error:
        status = -1
        wrong.append("no answer (%s), expected status %s" % (error, check["expected_status"]))
    except ValueError:
        body = {}  # no JSON: whatever is expected within it is missing
    if status not in (-1, check["expected_status"]):
        wrong.append("status %s, expected status %s" % (status, check["expected_status"]))
    notes = check.get("notes", [])
    observed = {key: found(body, key) for key in [*check["expected"], *notes]}
    if status == check["expected_status"]:
        wrong += ["%s is not there" % key for key in notes if observed[key] is None]
    for key, wanted in check["expected"].items():
        if observed[key] != wanted or isinstance(observed[key], bool) != isinstance(wanted, bool):
            wrong.append("%s is %s, expected %s" % (key, json.dumps(observed[key]), json.dumps(wanted)))
    return {
        "level": check["level"],
        "url": check["url"],
        "address": address,
        "status": status,
        "expected_status": check["expected_status"],
        "observed": observed,
        "expected": check["expected"],
        "passed": not wrong,
        "wrong": wrong,
    }


def ask(url: str) -> tuple[int, bytes, str]:
    """(status, body, address that was asked) of a GET; redirects are not followed."""
    place, _, path = url[len("http://") :].partition("/")
    host, _, port = place.rpartition(":")
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    answer = bytearray()
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS_MAX) as connection:
            address = connection.getpeername()[0]
            connection.sendall(("GET /%s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path, place)).encode())
            while len(answer) < ANSWER_BYTES_MAX and time.monotonic() < deadline:
                piece = connection.recv(65536)
                if not piece:
                    break
                answer += piece
            else:
                raise NoAnswer("it did not end within %s s and %s bytes" % (ANSWER_SECONDS_MAX, ANSWER_BYTES_MAX))
    except OSError as error:
        raise NoAnswer(str(error)) from None
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise NoAnswer("what answers speaks no HTTP")
    return int(words[1]), body, address


def found(body: Any, key: str) -> Any:
    for part in key.split("."):
        body = body.get(part) if isinstance(body, dict) else None
    return body


if __name__ == "__main__":
    sys.exit(main())
