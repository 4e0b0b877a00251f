"""Makes a system's folders at boot, as its package would: `folders OWNER DIRECTORY…`. What is there stays as it is."""

import contextlib
import os
import pwd
from pathlib import Path


def make(owner: str, directories: list[Path]) -> None:
    """Each directory belongs to `owner` where this host has more than one user; where not, everybody is that user."""
    entry = pwd.getpwnam(owner)
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # one user id is all there is: the folder is the owner's already
            os.chown(directory, entry.pw_uid, entry.pw_gid)


def main(words: list[str]) -> None:
    make(words[0], [Path(word) for word in words[1:]])
