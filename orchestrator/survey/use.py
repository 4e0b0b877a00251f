"""What a machine uses, measured on it: the busiest second of a look."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.contracts.programs import root_user, run_program
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import DataError
from orchestrator.foundation.limits import GIB, MIB
from orchestrator.model.price import ARCHITECTURES, MeasuredLoad

PROGRAM = Path(__file__).with_name("host_programs") / "use.py"
SPARE_SECONDS = 60.0


def measure_use(transport: Transport, seconds: float, paths: Sequence[str]) -> MeasuredLoad:
    """The highest of every second; `paths` are those whose file systems the machine needs."""
    host = transport.host
    request = {"seconds": seconds, "paths": [host.path(path) for path in paths]}
    found = run_program(transport, PROGRAM, request, user=root_user(host), timeout_seconds=seconds + SPARE_SECONDS)
    if found["architecture"] not in ARCHITECTURES:
        raise DataError(f"{host.name}: no machine of the cloud is {found['architecture']}")
    return MeasuredLoad(
        vcpus_busy=round(found["vcpus_busy"], 2),
        memory_gib=round(found["memory_bytes"] / GIB, 2),
        disk_mib_per_second=round(found["disk_bytes_per_second"] / MIB, 1),
        disk_gib=round(found["disk_bytes"] / GIB, 2),
        architecture=ARCHITECTURES[found["architecture"]],
        measured_on=host.name,
        seconds=seconds,
    )
