"""The words of rsync, put together and taken apart: what a copy says on the replica, and what the source is asked."""

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from orchestrator.contracts.access import Access


def partial_folder(target_path: str) -> str:
    target = PurePosixPath(target_path)
    return str(target.parent / ".skerry-points" / f"{target.name}.partial")


def pull_request(target_path: str, words: Sequence[str]) -> dict[str, Any]:
    return {"words": list(words), "target": target_path, "partial": partial_folder(target_path)}


def named_entries(words: Sequence[str]) -> list[str]:
    """The words of a copy as those of one that brings, or removes, the entries named in {list} alone."""
    named = ["--files-from={list}", "--from0", "--delete-missing-args", "--force"]
    place = words.index("--delete")
    return [*words[:place], *named, *words[place + 1 :]]


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


def asks_for(command: str, path: str) -> bool:
    """Whether a command, as a shell will read it, is a reading rsync server of exactly this path."""
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    server = words[words.index("rsync") : words.index("rsync") + 3] if "rsync" in words else []
    return server == ["rsync", "--server", "--sender"] and words[-2:] == [".", path + "/"]
