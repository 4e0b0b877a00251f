"""Secret references and what they point at. A value lives only in memory, from here to the place that needs it.

    env:NAME        a variable of this process
    file:PATH       a file that others on this machine cannot read; `${SKERRY_HOME}` stands for the folder of all state
    command:WORDS   what a program prints, run without a shell
    aws-kms:ARN     a ciphertext that AWS KMS opens; needs a resolver, which the aws extra brings

One line break at the end is no part of a secret.
"""

import os
import shlex
import stat
import subprocess
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.foundation.errors import SecretUnavailable
from orchestrator.foundation.limits import KIB, SECRET_BYTES_MAX, SECRET_COMMAND_SECONDS

HOME_VARIABLE = "${SKERRY_HOME}"


class SecretFileIsOpen(UserWarning):
    """A secret's file can be read by a group; the owner alone would do."""


def expand_home(text: str, home: Path) -> str:
    """`text` with `${SKERRY_HOME}` replaced; no other variable is known."""
    return text.replace(HOME_VARIABLE, str(home))


class SecretResolver:
    """Resolves references when they are needed, every time anew, and keeps nothing.

    Raises SecretUnavailable, whose message names the reference and never a value.
    """

    def __init__(
        self,
        home: Path,
        *,
        environment: Mapping[str, str] | None = None,
        open_kms: Callable[[str], str] | None = None,
    ) -> None:
        self._home = home
        self._environment = os.environ if environment is None else environment
        self._open_kms = open_kms

    def __call__(self, reference: str) -> str:
        scheme, _, rest = reference.partition(":")
        match scheme:
            case "env":
                value = self._from_environment(rest, reference)
            case "file":
                value = _from_file(Path(expand_home(rest, self._home)), reference)
            case "command":
                value = _from_command(expand_home(rest, self._home), reference)
            case "aws-kms":
                value = self._from_kms(rest, reference)
            case _:
                raise SecretUnavailable(
                    "a secret reference begins with env:, file:, command: or aws-kms:; this one does not"
                )
        value = value.removesuffix("\n").removesuffix("\r")
        if not value:
            raise SecretUnavailable(f"{reference}: the secret is empty")
        return value

    def _from_environment(self, name: str, reference: str) -> str:
        value = self._environment.get(name)
        if value is None:
            raise SecretUnavailable(
                f"{reference}: the environment has no variable {name}",
                hint=f"Set {name} for the account that runs this.",
            )
        return value

    def _from_kms(self, key: str, reference: str) -> str:
        if self._open_kms is None:
            raise SecretUnavailable(
                f"{reference}: nothing here can ask AWS KMS", hint="Install the aws extra: pip install 'skerry[aws]'"
            )
        return self._open_kms(key)


def _from_file(path: Path, reference: str) -> str:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise SecretUnavailable(f"{reference}: {path} cannot be read: {error.strerror or error}") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise SecretUnavailable(
            f"{reference}: {path} is open to everybody on this machine (mode {stat.S_IMODE(mode):04o})",
            hint=f"Change the secret, then: chmod 600 {shlex.quote(str(path))}",
        )
    if mode & (stat.S_IRGRP | stat.S_IWGRP):
        text = f"{path} is open to its group (mode {stat.S_IMODE(mode):04o}); chmod 600 would do"
        warnings.warn(text, SecretFileIsOpen, stacklevel=3)
    return _text(content, reference)


def _from_command(words: str, reference: str) -> str:
    try:
        split = shlex.split(words)
        finished = subprocess.run(split, capture_output=True, timeout=SECRET_COMMAND_SECONDS, check=False)
    except (OSError, ValueError, IndexError) as error:
        raise SecretUnavailable(f"{reference}: the command cannot be run: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise SecretUnavailable(f"{reference}: the command did not end within {SECRET_COMMAND_SECONDS} s") from error
    if finished.returncode != 0:
        # Not a word of its output: a program that fails half-way may have printed the secret already.
        raise SecretUnavailable(f"{reference}: the command ended with exit code {finished.returncode}")
    return _text(finished.stdout, reference)


def _text(content: bytes, reference: str) -> str:
    if len(content) > SECRET_BYTES_MAX:
        raise SecretUnavailable(f"{reference}: is longer than {SECRET_BYTES_MAX // KIB} KiB, so it is no secret")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SecretUnavailable(f"{reference}: is not UTF-8 text") from None
