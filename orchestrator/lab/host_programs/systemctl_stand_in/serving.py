"""A host's first process: it starts what is enabled, does what systemctl asks of it, and reaps whom nobody waits for.

As systemd does, and for the same reason: what is asked costs no start of an interpreter. systemctl comes through a
socket that root alone may use, says its words split by NUL, and hears `CODE BYTES`, so many bytes of standard output,
and behind them those of standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from orchestrator.lab.host_programs.systemctl_stand_in.unit_files import PREFIX
from orchestrator.lab.host_programs.systemctl_stand_in.verbs import boot

MYPY = False  # true for the type checker alone
if MYPY:
    import socket

MANAGER = f"{PREFIX}/run/systemd/lab-manager"


def serve(do: Callable[[list[str]], int]) -> None:
    import gc  # what only asks does not wait for these; nor do children, who have them from here
    import io  # noqa: F401
    import shlex  # noqa: F401
    import signal
    import socket
    import traceback  # noqa: F401

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGCHLD, reap)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(MANAGER)
    os.chmod(MANAGER, 0o600)
    listener.listen(64)
    if fork_alone() == 0:
        boot()
        os._exit(0)
    gc.freeze()  # or children would make all of it their own by looking at it
    while True:
        asked, _ = listener.accept()
        if fork_alone() == 0:
            listener.close()
            try:
                answer(asked, do)
            finally:
                os._exit(0)
        asked.close()


def reap(_number: int, _frame: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # there is none


def fork_alone() -> int:
    """As fork; the child waits for its own children, and ends when it is told to."""
    import signal

    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return pid


def answer(asked: socket.socket, do: Callable[[list[str]], int]) -> None:
    import io
    import traceback

    said = b""
    while piece := asked.recv(65536):
        said += piece
    sys.stdout, sys.stderr = out, complaints = io.StringIO(), io.StringIO()
    try:
        code = do(said.decode(errors="surrogateescape").split("\0") if said else [])
    except Exception:  # as an interpreter of its own would end
        code = 1
        complaints.write(traceback.format_exc())
    text = out.getvalue().encode(errors="surrogateescape")
    asked.sendall(b"%d %d\n" % (code, len(text)) + text + complaints.getvalue().encode(errors="surrogateescape"))
    asked.shutdown(2)  # both ways: what was started may have inherited it, and is not waited for
