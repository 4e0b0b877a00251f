"""The lab's keys: the CA whose certificates every host accepts, the operator's key, the hosts' own keys."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.foundation.errors import LabError
from orchestrator.lab.machine import bare_environment

# Longer than any lab lives; signed anew at each start.
OPERATOR_CERTIFICATE_VALIDITY = "-5m:+52w"


def make_lab_keys(folder: Path, principals: Sequence[str]) -> None:
    """Make what is missing of `folder`/{user_ca, operator}, and sign the operator's certificate for `principals`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_key(folder / "user_ca", "skerry lab user CA")
    make_key(folder / "operator", "skerry lab operator")
    _ssh_keygen(
        "-s", str(folder / "user_ca"), "-I", "skerry-lab-operator", "-n", ",".join(principals),
        "-V", OPERATOR_CERTIFICATE_VALIDITY, str(folder / "operator.pub"),
    )  # fmt: skip


def make_key(path: Path, comment: str) -> None:
    """An Ed25519 key pair at `path`; one that is there stays, one that was cut off half-way is made anew."""
    public = path.with_name(path.name + ".pub")
    if path.exists() and public.exists():
        return
    path.unlink(missing_ok=True)
    public.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    _ssh_keygen("-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def public_key(path: Path) -> str:
    """`type base64` of the key pair at `path`, without the comment."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def _ssh_keygen(*words: str) -> None:
    done = subprocess.run(
        ["ssh-keygen", "-q", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=bare_environment() | {"HOME": os.devnull},
        check=False,
    )
    if done.returncode:
        raise LabError(f"ssh-keygen {words[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
