"""Words on their way through a shell or an ssh configuration, arriving as they were."""

import glob
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from orchestrator.foundation.errors import UsageError


def shell_line(words: Sequence[str]) -> str:
    """One line that any POSIX shell splits into exactly `words`. UsageError for a word with a NUL."""
    for word in words:
        if "\0" in word:
            raise UsageError(f"a command word holds a NUL byte: {word!r}")
    return " ".join(shlex.quote(word) for word in words)


def shown(words: Sequence[str], *, characters_max: int = 120) -> str:
    """`words` for a message: one line, cut where it gets long; of a JSON request what is said in words and numbers."""
    line = " ".join(" ".join(_request_in_words(word) or shell_line([word]) for word in words).split())
    return line if len(line) <= characters_max else line[: characters_max - 1] + "…"


def _request_in_words(word: str) -> str:
    """What a program is asked: `do=drain system=filing`; "" for any other word."""
    try:
        request = json.loads(word) if word.startswith("{") else None
    except ValueError:
        return ""
    said = request.items() if isinstance(request, dict) else ()
    return " ".join(f"{key}={value}" for key, value in said if isinstance(value, str | int) and value != "")


def configuration_path(path: Path) -> str:
    """`path` as a value in an ssh configuration: quoted, its per cent signs not taken for tokens."""
    return '"' + _takeable(path).replace("%", "%%") + '"'


def included_path(path: Path) -> str:
    """`path` as the value of Include, which knows no tokens, but patterns."""
    return '"' + glob.escape(_takeable(path)) + '"'


def _takeable(path: Path) -> str:
    text = str(path)
    if '"' in text or "\\" in text or "\n" in text:
        raise UsageError(f"OpenSSH cannot take a quote, backslash or line break in a path: {text!r}")
    return text
