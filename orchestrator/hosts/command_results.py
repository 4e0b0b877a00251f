"""What a pumped command means: a result, or the error that says what went wrong on which host."""

from collections.abc import Sequence

from orchestrator.contracts.transport import CommandResult
from orchestrator.foundation.errors import AccessDenied, CommandFailed, CommandTimedOut
from orchestrator.hosts.bounded_command import BoundedCommand, ran_out_of_time
from orchestrator.hosts.process_pump import Pumped
from orchestrator.hosts.shell_words import shown

STDERR_LINES_SHOWN = 5


def last_lines(stderr: bytes) -> str:
    """The last lines of what a command complained, for a message."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-STDERR_LINES_SHOWN:])


def without_mark(pumped: Pumped, command: BoundedCommand) -> Pumped:
    """`pumped` as the command itself ended; the mark of an honest 255 is taken off."""
    if not pumped.stderr.endswith(command.mark):
        return pumped
    return Pumped(
        exit_code=pumped.exit_code,
        stdout=pumped.stdout,
        stderr=pumped.stderr.removesuffix(command.mark),
        seconds=pumped.seconds,
        overran=pumped.overran,
        overflowed=pumped.overflowed,
    )


def judged(
    host: str, words: Sequence[str], pumped: Pumped, *, timeout_seconds: float, check: bool, user: str | None
) -> CommandResult:
    """The result of a command that ran; CommandTimedOut, AccessDenied (sudo) or, with `check`, CommandFailed."""
    if pumped.overflowed:
        raise CommandFailed(f"{host}: `{shown(words)}` printed without end and was stopped")
    if pumped.overran or ran_out_of_time(pumped.exit_code, pumped.seconds, timeout_seconds):
        raise CommandTimedOut(
            f"{host}: `{shown(words)}` did not end within {timeout_seconds:g}s and was stopped:"
            f" {last_lines(pumped.stderr) or 'it said nothing'}",
            hint="Whether it took effect is unknown. Look at the host before it is tried again.",
        )
    if user is not None and pumped.exit_code == 1 and pumped.stderr.startswith(b"sudo: "):
        raise AccessDenied(
            f"{host}: the login user may not become {user}: {last_lines(pumped.stderr)}",
            hint=f"Allow it in sudoers without a password: LOGIN ALL=({user}) NOPASSWD: ALL",
        )
    if check and pumped.exit_code != 0:
        said = last_lines(pumped.stderr) or last_lines(pumped.stdout) or "it said nothing"
        raise CommandFailed(f"{host}: `{shown(words)}` ended with {pumped.exit_code}: {said}")
    return CommandResult(
        exit_code=pumped.exit_code, stdout=pumped.stdout, stderr=pumped.stderr, seconds=round(pumped.seconds, 6)
    )
