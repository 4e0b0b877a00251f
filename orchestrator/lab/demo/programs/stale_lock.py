"""Removes a PostgreSQL lock file that a power cut left: `stale-lock DATA_DIRECTORY`.

PostgreSQL itself refuses to start when the process number in the file is alive, whatever that process is; after a
reboot the number may belong to anyone.
"""

from pathlib import Path


def remove_if_stale(data: Path) -> bool:
    """True where a file was removed: its process is no PostgreSQL server over this directory."""
    lock = data / "postmaster.pid"
    try:
        number = int(lock.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return False
    try:
        words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    if words and Path(words[0].decode(errors="replace")).name == "postgres" and str(data).encode() in words:
        return False
    lock.unlink()
    return True


def main(words: list[str]) -> None:
    if remove_if_stale(Path(words[0])):
        print(f"{words[0]}: removed the lock file of a server that is gone")
