"""Limits of bandwidth: transfers share one by turns, and what cannot be stopped is told of the next as it goes on."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from orchestrator.contracts.bandwidth import Bandwidth
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import HostError

LOOK_SECONDS_MAX = 5.0


class Turns:
    """A limit is for all transfers together, of whatever kind: while one holds, they go one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def turn(self, *, limited: bool) -> AbstractContextManager[object]:
        return self._lock if limited else nullcontext()


def may_be_limited(bandwidth: Bandwidth) -> bool:
    """Whether a limit holds now, or may hold before a long copy has ended."""
    now = bandwidth()
    return now.bytes_per_second is not None or now.seconds_left is not None


@contextmanager
def limit_kept_at(transport: Transport, file: str, bandwidth: Bandwidth, *, user: str | None) -> Iterator[None]:
    """Meanwhile the file says, in digits, how many bytes per second the hour allows; 0 is no limit."""

    def put() -> int:
        limit = bandwidth().bytes_per_second or 0
        transport.write_file(file, str(limit).encode(), mode=0o600, user=user)
        return limit

    present = put()
    ended = threading.Event()

    def follow() -> None:
        known = present
        while not ended.wait(min(LOOK_SECONDS_MAX, bandwidth().seconds_left or LOOK_SECONDS_MAX)):
            if (bandwidth().bytes_per_second or 0) != known:
                try:
                    known = put()
                except HostError:
                    continue  # tried again at the next look; a host that stays away ends what is limited itself

    follower = threading.Thread(target=follow, name=f"limit-{transport.host.name}", daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()
        transport.run(["rm", "-f", "--", file], user=user, check=False)
