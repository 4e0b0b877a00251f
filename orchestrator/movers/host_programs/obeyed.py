"""What a host obeyed: orders that fenced a system there, lifted its fence or started its services.

A part of programs that are sent to hosts (Python 3.9 or newer, standard library only). playbooks/files/fence.py and
services.py keep these files. An order is {system, number, ticket}; higher ones are newer, the number first. `asked`
says the folder as well.
"""

from __future__ import annotations

import json

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any

OBEYED = ("json", "lifted", "started")  # the fence that stands, and the newest orders that lifted one and that started


def as_order(said: dict[str, Any]) -> tuple[int, int]:
    return int(said["number"]), int(said.get("ticket", 0))


def newest_of(asked: dict[str, Any]) -> tuple[int, int]:
    """Of the orders that this host has obeyed."""
    return max(as_order(told(asked, kind)) for kind in OBEYED)


def told(asked: dict[str, Any], kind: str) -> dict[str, Any]:
    """The newest order of one kind; number 0 where there was none."""
    try:
        with open(asked["folder"] + "/" + asked["system"] + "." + kind) as stream:
            said: dict[str, Any] = json.load(stream)
            as_order(said)
            return said
    except FileNotFoundError:
        return {"number": 0}
    except (PermissionError, ValueError, KeyError) as error:
        raise SystemExit("what this host obeyed cannot be read: %s" % error) from None


def why_open(asked: dict[str, Any] | None) -> str:
    """Why data of a system may not be written over here; "" where a fence stands, and by no newer order.

    Asked once nobody else can begin to write over them: whoever opens this side brought its data up to date before,
    so who was asked before that, and slept, finds a newer order. An order without a ticket is judged by its number.
    """
    if not asked:
        return ""  # a side that never serves
    newest, ours = newest_of(asked), as_order(asked)
    if newest[0] > ours[0] or (ours[1] and newest > ours):
        return "an order of number %d was obeyed there after this one of number %d was given" % (newest[0], ours[0])
    return "" if told(asked, "json")["number"] else "no fence of %s stands there" % asked["system"]
