"""Whether files of a tree have holes: only then is rsync told to make them, for it then writes a KiB at a time."""

from orchestrator.contracts.programs import root_user
from orchestrator.contracts.transport import Transports
from orchestrator.model.host import Host

LOOK_SECONDS_MAX = 24 * 3600.0
# %S is the room that a file takes, over its length; files that a file system keeps among its own notes are small.
_LOOK = """find "$1/" -type f -size +128 -printf '%S\\n' | grep -q -m 1 -e '^0' -e 'e-'"""
NO_HOLES = 1  # grep's word for it


def has_holes(transports: Transports, host: Host, path: str) -> bool:
    """Whether a file takes less room than it is long; also where that cannot be told."""
    words = ["sh", "-c", _LOOK, "look", path]
    done = transports(host).run(words, user=root_user(host), timeout_seconds=LOOK_SECONDS_MAX, check=False)
    return done.exit_code != NO_HOLES
