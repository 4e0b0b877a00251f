"""No test speaks to the world: a connection that leaves this machine fails loudly, with the address.

An audit hook sees what any library does, also where it opens sockets itself. 127/8, ::1 and 10/8 (the lab's own
networks) are let through; names that need a resolver are not. Python programs that a test starts are watched too.
"""

import ipaddress
import os
import sys
from pathlib import Path
from typing import Any

GUARDED = Path(__file__).parent / "guarded"  # what Python runs first, where it finds this folder

LETS_THROUGH = tuple(ipaddress.ip_network(each) for each in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "0.0.0.0/32"))


class LeavesThisMachine(BaseException):
    """A test tried to reach the world. Not an Exception: SDKs take those for trouble with the network."""


def is_ours(host: Any) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host))
    except ValueError:
        return False
    return any(address in network for network in LETS_THROUGH if network.version == address.version)


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple) and not is_ours(arguments[1][0]):
        raise LeavesThisMachine(f"a test connects to {arguments[1][0]}:{arguments[1][1]}")
    if event == "socket.getaddrinfo" and not is_ours(arguments[0]):
        raise LeavesThisMachine(f"a test asks for the address of {arguments[0]!r}")


def watch_this_process() -> None:
    """From now on, for the life of the process."""
    sys.addaudithook(watch)


def begin() -> None:
    """Watch this process and the Python programs that it starts with its own environment."""
    watch_this_process()
    there = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(GUARDED) not in there:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(GUARDED), *filter(None, there)])
