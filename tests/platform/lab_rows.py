"""What tests of the lab share: its hosts, ways to ask them, and a count of everything a lab may leave behind."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator.lab.blueprint import LabHost
from orchestrator.lab.town import Town

ONPREM = LabHost("onprem-a", "onprem", "10.10.1.11")
CLOUD = LabHost("cloud-a", "cloud", "10.30.1.11")


def ssh(town: Town, host: str, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Plain ssh from outside the lab, as any program would use it."""
    return subprocess.run(
        ["ssh", "-F", str(town.ssh_config), "-o", "BatchMode=yes", *options, host, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass(frozen=True)
class Traces:
    """Everything on this machine that names a folder, and the namespaces and interfaces there are."""

    processes: tuple[str, ...]
    mounts: tuple[str, ...]
    networks: frozenset[str]
    interfaces: frozenset[str]
    run_folder: frozenset[str]


def traces(folder: Path) -> Traces:
    processes, networks = [], set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            if str(folder) in words or f"={folder}" in environment:
                processes.append(f"{entry.name} {words}")
                networks.add(os.readlink(entry / "ns/net"))
        except OSError:
            continue
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]
    return Traces(
        tuple(processes),
        tuple(mounts),
        frozenset(networks),
        frozenset(path.name for path in Path("/sys/class/net").iterdir()),
        frozenset(path.name for path in Path("/run").iterdir()),
    )
