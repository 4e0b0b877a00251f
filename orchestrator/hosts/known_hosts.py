"""Reading OpenSSH's known_hosts files: which keys are trusted for a host, and their fingerprints."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.foundation.errors import AccessDenied
from orchestrator.foundation.limits import SSH_CONNECT_SECONDS_MAX


def lookup_name(address: str, port: int) -> str:
    """How OpenSSH writes a host in known_hosts: the port stands there only when it is another than 22."""
    return address if port == 22 else f"[{address}]:{port}"


def trusted_lines(name: str, files: Sequence[Path]) -> list[str]:
    """Lines that hold for `name`, hashed names included, as ssh-keygen finds them: `[marker] names keytype key`."""
    found: list[str] = []
    for file in files:
        if not file.is_file():
            continue
        answer = subprocess.run(
            ["ssh-keygen", "-F", name, "-f", str(file)],
            capture_output=True,
            text=True,
            timeout=SSH_CONNECT_SECONDS_MAX,
            check=False,
        )
        found += [line for line in answer.stdout.splitlines() if line.strip() and not line.startswith("#")]
    return found


def keys_of(lines: Sequence[str]) -> list[str]:
    """`[marker ]keytype key` of known_hosts lines, revoked ones left out."""
    keys: list[str] = []
    for line in lines:
        words = line.split()
        if words[0] == "@revoked":
            continue
        marker = [words.pop(0)] if words[0].startswith("@") else []
        key = " ".join([*marker, *words[1:3]])
        if key not in keys:
            keys.append(key)
    return keys


def fingerprint(key: str) -> str:
    """`SHA256:… (ED25519)` of one public key `keytype key`; AccessDenied when it is no key."""
    answer = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"],
        input=key + "\n",
        capture_output=True,
        text=True,
        timeout=SSH_CONNECT_SECONDS_MAX,
        check=False,
    )
    words = answer.stdout.split()
    if answer.returncode != 0 or len(words) < 3:
        raise AccessDenied(f"not an SSH public key: {key[:60]!r}")
    return f"{words[1]} {words[-1]}"


def fingerprints(keys: Sequence[str]) -> list[str]:
    """Fingerprints in words; a certificate authority is told as such."""
    told = []
    for key in keys:
        words = key.split()
        signed = words[0] == "@cert-authority"
        text = fingerprint(" ".join(words[1:] if signed else words))
        told.append(f"a host certificate signed by {text}" if signed else text)
    return told
