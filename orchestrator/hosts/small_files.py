"""Small files on a host, read and written by commands, so that every transport does it in one way."""

from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import CommandFailed

# Written beside its place, made durable, renamed: a reader sees the old file or the new one.
_WRITE = r"""
umask 077
folder=$(dirname -- "$1")
written=$(mktemp -- "$folder/.skerry-XXXXXXXX") || exit 1
cat >"$written" && chmod -- "$2" "$written" && sync -- "$written" \
  && mv -fT -- "$written" "$1" && sync -- "$folder" && exit 0
rm -f -- "$written"
exit 1
"""


def read_small_file(transport: Transport, path: str, *, user: str | None, bytes_max: int) -> bytes:
    """The content of `path`; CommandFailed when it is missing, cannot be read, or is larger than `bytes_max`."""
    result = transport.run(["head", "-c", str(bytes_max + 1), "--", path], user=user)
    if len(result.stdout) > bytes_max:
        raise CommandFailed(f"{transport.host.name}: {path} is larger than {bytes_max} bytes")
    return result.stdout


def write_small_file(transport: Transport, path: str, content: bytes, *, mode: int, user: str | None) -> None:
    """Put `content` at `path`, whole and durable. Its folder must exist; CommandFailed when it does not."""
    transport.run(["/bin/sh", "-c", _WRITE, "sh", path, f"{mode:04o}"], stdin=content, user=user)
