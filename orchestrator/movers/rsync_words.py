"""The words of rsync, put together and taken apart: what a copy says on the replica, and what the source is asked."""

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from orchestrator.contracts.access import Access
from orchestrator.foundation.errors import AccessDenied
from orchestrator.model.host import Host

_SERVER = [[*become, "rsync", "--server", "--sender"] for become in ([], ["sudo", "-n"])]
# What our own words come to at the source, in any version of rsync. Not among them: what follows links out of the tree
# (L, k), removes what it sent, writes logs, or reads filters and lists from files of the source.
_READS_ONLY = [
    re.compile(pattern)
    for pattern in (
        r"-[nlWHogDtpAXrRSc]+(e\.?[A-Za-z.]*)?",  # after `e`: what the asking rsync can do
        r"-e\.?[A-Za-z.]*",
        r"--(timeout|bwlimit)=[0-9]+",
        r"--numeric-ids|--no-i?r",
        r"--info=[A-Za-z0-9,]+",
    )
]
_BY_NAME = [re.compile(r"--ignore-missing-args|--files-from=-|--from0")]
# A mount of the tree of its own, in which the kernel follows no link: neither a name that goes through one nor a folder
# that becomes one meanwhile leads out of the tree. An old `mount` ignores words it does not know, so we look.
_ENCLOSE = (
    'mount --rbind "$0" "$0" && mount -o remount,bind,nosymfollow "$0" || exit 1; '
    'case "$(echo $(findmnt -Rnro VFS-OPTIONS "$0"))" in '
    '*" "*) echo "other file systems are mounted below $0" >&2;; '
    '*nosymfollow*) exec "$@";; '
    '*) echo "links in $0 cannot be kept from being followed" >&2;; '
    "esac; exit 1"
)


def partial_folder(target_path: str) -> str:
    target = PurePosixPath(target_path)
    return str(target.parent / ".skerry-points" / f"{target.name}.partial")


def copying_words(
    source: Host,
    source_path: str,
    target_path: str,
    *,
    whole_file: bool,
    stall_seconds: int,
    limit: int | None,
    sparse: bool,
) -> tuple[str, ...]:
    """A copy of a whole tree, as rsync is asked for it on the replica; {shell} and {peer} stand for the line."""
    return (
        "rsync",
        "-aHAX",
        "--numeric-ids",
        *(["--sparse"] if sparse else []),
        "--whole-file" if whole_file else "--no-whole-file",
        "--delete",
        # Nanoseconds: by default rsync takes two times within one second for the same, and content with them.
        "--modify-window=-1",
        # Outside of the tree: what is left of a broken copy must not be taken for data.
        f"--partial-dir={partial_folder(target_path)}",
        f"--timeout={stall_seconds}",
        *([f"--bwlimit={max(1, limit // 1024)}"] if limit else []),
        "--stats",
        "--no-human-readable",
        "--info=progress2,flist0",
        "--outbuf=L",
        "--out-format=skerry-name %i %n",
        "--rsync-path=" + ("sudo -n rsync" if source.become else "rsync"),
        "-e",
        "{shell}",
        f"{{peer}}:{source_path}/",
        target_path + "/",
    )


def pull_request(target_path: str, words: Sequence[str]) -> dict[str, Any]:
    return {"words": list(words), "target": target_path, "partial": partial_folder(target_path)}


def named_entries(words: Sequence[str]) -> list[str]:
    """The words of a copy as those of one that brings the entries alone that it reads the names of, and removes what is
    gone from folders whose name there ends with `/`. What went since it was named is passed over.
    """
    named = ["--files-from=-", "--from0", "--ignore-missing-args", "--force"]
    place = words.index("--delete")
    return [*words[:place], *named, *words[place:]]


def with_access(words: Sequence[str], access: Access) -> list[str]:
    shell = " ".join(access.ssh_words)
    return [
        shell
        if word == "{shell}"
        else access.destination + word[len("{peer}") :]
        if word.startswith("{peer}:")
        else word
        for word in words
    ]


def enclosed(words: Sequence[str], path: str) -> list[str]:
    """`words` run where nothing below `path` leads out of it, or not at all. Needs the rights to mount."""
    return ["unshare", "--mount", "sh", "-c", _ENCLOSE, path, *words]


def reading_server(command: str, path: str, *, by_name: bool = False) -> list[str] | None:
    """The words of a reading rsync server of exactly this path; None where the command is that of anything else. One
    that reads `by_name` is enclosed in the path, for the asking host says the names.

    AccessDenied where it is one that also does more. A replica that somebody took over asks for whatever it likes, and
    what is asked becomes what the source runs, as root: so each word must be one that is known to read and no more.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    begin = next((front for front in _SERVER if words[: len(front)] == front), None)
    if begin is None or words[-2:] != [".", path + "/"]:
        return None
    known = [*_READS_ONLY, *_BY_NAME] if by_name else _READS_ONLY
    more = [word for word in words[len(begin) : -2] if not any(each.fullmatch(word) for each in known)]
    if more:
        raise AccessDenied(
            f"an rsync asks the source of {path} for more than to read it: {' '.join(more)[:200]!r}",
            hint="Nothing was run. Look at that host before you let it copy again: it is not what it should be.",
        )
    if not by_name:
        return words
    become = begin[: begin.index("rsync")]
    return [*become, *enclosed(words[len(become) :], path)]
