"""What is asked of a host, and how its answer becomes facts. No host is touched here."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.foundation.errors import CommandFailed
from orchestrator.foundation.limits import COUNT_DATASET_SECONDS_MAX
from orchestrator.model.dataset import Dataset, PostgresCluster
from orchestrator.model.facts import DatasetFacts, HostFacts
from orchestrator.model.host import Host
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import DatasetName
from orchestrator.model.site import Side

TOOLS = ("python3", "rsync", "ssh", "ssh-keygen", "sshd", "sudo", "systemctl", "timeout")
# A clock is called wrong only by more than the question took and than anybody notices.
CLOCK_NOTICED_SECONDS = 0.05

_PROGRAMS = Path(__file__).with_name("host_programs")


def program(name: str) -> bytes:
    """The text of a program that hosts run."""
    return (_PROGRAMS / f"{name}.py").read_bytes()


def datasets_of(inventory: Inventory, host: Host) -> dict[DatasetName, Dataset]:
    """Every dataset that lives, or is to live, on `host` at any side of any system."""
    return {
        dataset.name: dataset
        for system in inventory.systems.values()
        for side in Side
        for dataset in system.datasets
        if system.host_of(side, dataset.name) == host.name
    }


def request_for(host: Host, datasets: dict[DatasetName, Dataset]) -> str:
    """The probe's argument."""
    wanted: dict[str, dict[str, str]] = {}
    tools = list(TOOLS)
    for name, dataset in datasets.items():
        if isinstance(dataset, PostgresCluster):
            path = host.path(dataset.data_directory)
            wanted[name] = {"kind": dataset.kind, "path": path, "binaries": dataset.binaries}
            tools.append(f"{dataset.binaries}/postgres")
        else:
            wanted[name] = {"kind": dataset.kind, "path": host.path(dataset.path)}
    request = {"datasets": wanted, "tools": sorted(set(tools)), "count_seconds": COUNT_DATASET_SECONDS_MAX}
    return json.dumps(request, sort_keys=True)


def facts_from(host: Host, answer: bytes, *, asked_at: float, answered_at: float) -> HostFacts:
    """Facts from the probe's answer. CommandFailed when it is no answer: a login shell may print things of its own."""
    try:
        found: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
        tools = dict(found.pop("tools"))
        servers = [tools.pop(name) for name in list(tools) if name.endswith("/postgres")]
        if servers:
            # One of several missing is missing: each belongs to a dataset of this host.
            tools["postgres"] = min(servers, key=bool)
        offset = _clock_offset(float(found.pop("time")), asked_at, answered_at)
        datasets = {name: DatasetFacts(**dataset) for name, dataset in found.pop("datasets").items()}
        return HostFacts(
            host=host.name,
            reachable=True,
            tools=dict(sorted(tools.items())),
            clock_offset_seconds=offset,
            datasets=datasets,
            listening=tuple(found.pop("listening")),
            peers={address: tuple(ports) for address, ports in found.pop("peers").items()},
            **found,
        )
    except (ValueError, IndexError, KeyError, TypeError, ValidationError) as error:
        raise CommandFailed(
            f"{host.name}: the probe's answer cannot be read ({error}): {answer[-200:]!r}",
            hint="Look whether the login shell of this host prints something of its own.",
        ) from error


def _clock_offset(theirs: float, asked_at: float, answered_at: float) -> float:
    """How far the host's clock is from ours, 0 where it cannot be told apart. The probe reads it as its last deed."""
    if asked_at - CLOCK_NOTICED_SECONDS <= theirs <= answered_at + CLOCK_NOTICED_SECONDS:
        return 0.0
    return round(theirs - (asked_at if theirs < asked_at else answered_at), 1)
