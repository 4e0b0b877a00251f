"""A command that cannot outlive its bound, its connection or its caller: the shell script that runs it on the host.

Rules:
  the command ends (TERM, five seconds later KILL) when its time is over, and when the caller's end of standard input
  closes, which a cut connection and the death of this program do as well;
  what the command started in its process group and left behind ends with it: it would hold the connection's streams;
  standard input arrives whole or the command does not start: it is spooled in memory first, its length is compared;
  an exit code of 255 is told apart from ssh's own 255 by a mark that only this run knows.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Words arrive as positional arguments, so nothing of them is ever read as shell text. `read` blocks until the
# caller's end of stdin closes: that is the lifeline. The shell's own messages go nowhere; fd 6 is stderr.
# timeout(1) leads a process group with the command in it. The lifeline ends that group and not timeout alone, which
# loses a signal that comes while it forks; once it has begun, it is not ended before it is done.
_SCRIPT = """\
limit=$1 size=$2 mark=$3; shift 3
cd /
exec 3<&0 6>&2 2>/dev/null
if [ "$size" -gt 0 ]; then
  spool=$(umask 077; mktemp /dev/shm/.skerry-XXXXXXXX || mktemp)
  [ -n "$spool" ] || { echo "no room to spool standard input" >&6; exit 74; }
  exec 4<"$spool" 5>"$spool"
  rm -f "$spool"
  head -c "$size" <&3 >&5 2>&6 || exit 74
  exec 5>&-
  [ "$(stat -L -c %s /proc/self/fd/4)" = "$size" ] || { echo "standard input broke off" >&6; exit 74; }
else
  exec 4</dev/null
fi
timeout -k 5 "$limit" "$@" <&4 2>&6 3<&- 4<&- 6>&- &
deed=$!
{
  read -r never <&3
  trap '' TERM
  kill "$deed"
  kill -s TERM -- "-$deed"
  tries=0
  while [ "$tries" -lt 50 ] && kill -s 0 -- "-$deed"; do sleep 0.1; tries=$((tries + 1)); done
  [ "$tries" -lt 50 ] || kill -s KILL -- "-$deed"
} >/dev/null 6>&- &
lifeline=$!
wait "$deed"
code=$?
kill "$lifeline"
kill -s KILL -- "-$deed"
[ "$code" -ne 255 ] || printf %s "$mark" >&6
exit "$code"
"""

KILL_AFTER_SECONDS = 5.0
_EXITS_WHEN_TIMED_OUT = (124, 137, 143)  # timeout(1) itself, its KILL, its TERM


@dataclass(frozen=True)
class BoundedCommand:
    """`words` wrapped; `mark` ends stderr when the command itself returned 255."""

    words: tuple[str, ...]
    mark: bytes


def bounded(
    words: Sequence[str],
    *,
    timeout_seconds: float,
    stdin_bytes: int,
    environment: Mapping[str, str] | None = None,
    sudo_user: str | None = None,
) -> BoundedCommand:
    """Wrap `words`. The whole script runs as `sudo_user`, because only that user may end the command."""
    mark = f"skerry-exit-255-{secrets.token_hex(8)}"
    settings = [f"{name}={value}" for name, value in (environment or {}).items()]
    deed = ["env", *settings, *words] if settings else list(words)
    script = ["/bin/sh", "-c", _SCRIPT, "sh", f"{timeout_seconds:.3f}", str(stdin_bytes), mark, *deed]
    return BoundedCommand(words=(*as_user(sudo_user), *script), mark=mark.encode())


def as_user(user: str | None) -> list[str]:
    """What stands before words that are run as `user`; nothing for the login user."""
    return ["sudo", "-n", "-u", user, "--"] if user else []


def ran_out_of_time(exit_code: int, seconds: float, timeout_seconds: float) -> bool:
    """Whether an exit code is the bound's doing. A command's own 124 before its time is its own."""
    return exit_code in _EXITS_WHEN_TIMED_OUT and seconds >= timeout_seconds - 0.05
