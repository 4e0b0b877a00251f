"""Tells what a host is, as one JSON object. Sent to the host; needs its python3 alone, changes nothing.

Usage: python3 - REQUEST, a JSON object:
  datasets         {name: {kind: file_tree | postgresql | block_volume, path, binaries?}}
  tools            [program names]
  count_seconds    how long counting one dataset may take; a longer one is told as counted in part
"""

import json
import os
import platform
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from typing import Any, Dict, List, Tuple

TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOL_SECONDS_MAX = 5
ESTABLISHED, LISTENING = "01", "0A"
# Where asking for --version does something else.
VERSION_WORDS = {"ssh": ["-V"], "sshd": None, "ssh-keygen": None}  # type: Dict[str, Any]


def main() -> int:
    asked = json.loads(sys.argv[1])
    tcp = [line for name in ("tcp", "tcp6") for line in lines_of("/proc/net/" + name)[1:]]
    memory = re.search(r"MemTotal:\s+(\d+) kB", text_of("/proc/meminfo"))
    answer = {
        "hostname": socket.gethostname(),
        "operating_system": operating_system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory.group(1)) * 1024 if memory else 0,
        "python": platform.python_version(),
        "tools": {name: tool_version(name) for name in asked["tools"]},
        "listening": sorted({port for state, _, port, _ in connections(tcp) if state == LISTENING}),
        "peers": peers(tcp),
        "datasets": {name: dataset(wanted, asked["count_seconds"]) for name, wanted in asked["datasets"].items()},
        "time": time.time(),
    }
    print(json.dumps(answer))
    return 0


def text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def lines_of(path: str) -> List[str]:
    return text_of(path).splitlines()


def operating_system() -> str:
    """PRETTY_NAME, or the two parts of it that every distribution has."""
    values = dict(line.split("=", 1) for line in lines_of("/etc/os-release") if "=" in line)
    return (values.get("PRETTY_NAME") or values.get("ID") or platform.system()).strip("\"'")


def tool_version(name: str) -> str:
    """The first line a program says of itself, its path where it says nothing, empty where it is missing."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":" + TOOL_PATH)
    if path is None:
        return ""
    words = VERSION_WORDS.get(os.path.basename(name), ["--version"])
    if words is None:
        return path
    try:
        done = subprocess.run(
            [path, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=TOOL_SECONDS_MAX
        )
    except (OSError, subprocess.TimeoutExpired):
        return path
    said = (done.stdout or done.stderr).decode(errors="replace").strip()
    return said.splitlines()[0][:200] if said else path


def connections(tcp: List[str]) -> List[Tuple[str, str, int, str]]:
    """(state, local address, local port, remote address) of each line of /proc/net/tcp."""
    found = []
    for line in tcp:
        fields = line.split()
        local, port = fields[1].split(":")
        found.append((fields[3], address(local), int(port, 16), address(fields[2].split(":")[0])))
    return found


def address(text: str) -> str:
    """The kernel prints addresses as words of the machine's own byte order."""
    words = [int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8)]
    raw = b"".join(words)
    if len(raw) == 16 and raw.startswith(b"\0" * 10 + b"\xff\xff"):
        raw = raw[12:]
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def peers(tcp: List[str]) -> Dict[str, List[int]]:
    """Remote address → the listening ports of ours that it is connected to."""
    all_of_them = connections(tcp)
    own = {port for state, _, port, _ in all_of_them if state == LISTENING}
    found = {}  # type: Dict[str, List[int]]
    for state, _, port, remote in all_of_them:
        if state == ESTABLISHED and port in own and port not in found.setdefault(remote, []):
            found[remote].append(port)
    return {remote: sorted(ports) for remote, ports in sorted(found.items())}


def dataset(wanted: Dict[str, Any], count_seconds: float) -> Dict[str, Any]:
    path, kind = wanted["path"], wanted["kind"]
    detail = {}  # type: Dict[str, str]
    answer = {"exists": os.path.lexists(path), "bytes_used": 0, "files": 0, "version": "", "detail": detail}
    answer["file_system"], answer["bytes_free"] = file_system(path)
    if kind == "postgresql":
        answer["exists"] = os.path.exists(os.path.join(path, "PG_VERSION"))
        answer["version"] = server_version(wanted["binaries"])
        if answer["exists"]:
            detail["cluster_version"] = text_of(os.path.join(path, "PG_VERSION")).strip()
            standby = os.path.exists(os.path.join(path, "standby.signal"))
            detail["configured_as"] = "standby" if standby else "primary"
    if kind == "block_volume":
        answer["bytes_used"] = volume_bytes(path) if answer["exists"] else 0
    elif answer["exists"]:
        bytes_used, files, whole = count(path, time.monotonic() + count_seconds)
        answer["bytes_used"], answer["files"] = bytes_used, files
        if not os.path.isdir(path):
            detail["not_a_folder"] = "yes"
        if not whole:
            detail["counted"] = "in part"
    return answer


def file_system(path: str) -> Tuple[str, int]:
    """Type and free bytes of where `path` is, or would be made."""
    place = os.path.realpath(path)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    held = os.statvfs(place)
    kind, longest = "", -1
    for line in lines_of("/proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        mounted = left.split()[4].encode().decode("unicode_escape")
        inside = place == mounted or place.startswith(mounted.rstrip("/") + "/")
        # Of several mounts at one place the last one counts.
        if inside and len(mounted) >= longest:
            kind, longest = right.split()[0], len(mounted)
    return kind, held.f_bavail * held.f_frsize


def count(path: str, deadline: float) -> Tuple[int, int, bool]:
    """(bytes of all regular files, number of them, whether all were seen); files with several names count once."""
    bytes_used, files, seen = 0, 0, set()
    folders = [path]
    while folders:
        if time.monotonic() > deadline:
            return bytes_used, files, False
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                held = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(held.st_mode):
                folders.append(entry.path)
            elif stat.S_ISREG(held.st_mode):
                if held.st_nlink > 1:
                    if (held.st_dev, held.st_ino) in seen:
                        continue
                    seen.add((held.st_dev, held.st_ino))
                bytes_used += held.st_size
                files += 1
    return bytes_used, files, True


def volume_bytes(path: str) -> int:
    with open(path, "rb") as stream:
        return stream.seek(0, os.SEEK_END)


def server_version(binaries: str) -> str:
    """server_version_num, such as 150018; empty where there is no server."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", tool_version(os.path.join(binaries, "postgres")))
    if not found:
        return ""
    major, minor, patch = int(found.group(1)), int(found.group(2)), int(found.group(3) or 0)
    return str(major * 10000 + minor if major >= 10 else major * 10000 + minor * 100 + patch)


if __name__ == "__main__":
    sys.exit(main())
