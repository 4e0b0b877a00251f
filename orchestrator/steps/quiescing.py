"""Holding an application still for one moment: bounded here, and bounded on its host, whoever of the two dies."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.programs import root_user, run_program
from orchestrator.foundation.errors import CommandFailed
from orchestrator.model.host import Host
from orchestrator.model.site import Side
from orchestrator.model.system import Quiesce
from orchestrator.steps.places import host_at

PROGRAM = Path(__file__).with_name("host_programs") / "quiesce_guard.py"
# Beyond the limit of the commands themselves: for the program to start, and to tell.
GRACE_SECONDS = 15.0


@dataclass
class Release:
    """Lets the application go on. It may be called often: only the first call does anything.

    It returns whether the application had been held until then, by the clock of its host. Without a quiesce hook there
    is nothing to let go, and nothing that could have been late.
    """

    let_go: Callable[[], bool] | None = None
    _in_time: list[bool] = field(default_factory=list)

    def __call__(self) -> bool:
        if not self._in_time:
            # Noted first: a let-go that fails is not tried again from here, the guard on the host does that.
            self._in_time.append(False)
            self._in_time[0] = self.let_go is None or self.let_go()
        return self._in_time[0]


@contextmanager
def quiesced(drivers: Drivers, deed: Deed, quiesce: Quiesce | None) -> Iterator[Release]:
    """The application holds its writers while inside, at most `seconds_max`; its host sees to that by itself.

    Raises CommandFailed where it refuses, and then it is not held.
    """
    if quiesce is None:
        yield Release()
        return
    host = deed.plan.hosts[quiesce.host] if quiesce.host else host_at(deed, Side.SOURCE)
    held = _ask(drivers, host, quiesce, do="hold", enter=_words(host, quiesce.enter, quiesce.seconds_max))
    release = Release(lambda: bool(_ask(drivers, host, quiesce, do="let_go", folder=held["folder"])["in_time"]))
    try:
        yield release
    finally:
        release()


def _words(host: Host, words: Sequence[str], seconds: float) -> list[str]:
    return [host.path(words[0]), *(word.replace("{seconds}", f"{seconds:g}") for word in words[1:])]


def _ask(drivers: Drivers, host: Host, quiesce: Quiesce, **more: Any) -> dict[str, Any]:
    request = {"leave": _words(host, quiesce.leave, quiesce.seconds_max), "seconds": quiesce.seconds_max, **more}
    result = run_program(
        drivers.transports(host),
        PROGRAM,
        request,
        user=root_user(host),
        # A refusing `enter` is followed by `leave`, each with the limit of its own.
        timeout_seconds=2 * quiesce.seconds_max + GRACE_SECONDS,
    )
    if "refused" in result:
        command = (quiesce.enter if more["do"] == "hold" else quiesce.leave)[0]
        raise CommandFailed(
            f"{host.name}: {command} ended with {result['exit_code']}: {result['refused']}",
            hint="Its host lets the application go at the limit. Mend the hook, then run the same command again.",
        )
    return result
