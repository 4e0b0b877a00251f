"""What a disk says of itself, read at its host: what an image is registered with, and what it lacks for the cloud."""

from pathlib import Path

from orchestrator.contracts.images import BootFinding, ImageFacts
from orchestrator.contracts.programs import root_user, run_program
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.errors import DataError
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host

PROGRAM = Path(__file__).parent.parent / "host_programs" / "image_look"
LOOK_SECONDS_MAX = 600.0


def look_into(transports: Transports, volume: BlockVolume, host: Host, path: str) -> ImageFacts:
    found = run_program(
        transports(host), PROGRAM, {"path": path}, user=root_user(host), timeout_seconds=LOOK_SECONDS_MAX
    )
    if "broken" in found:
        raise DataError(f"{host.name}: {volume.name} at {path} cannot be looked into: {found['broken']}")
    return ImageFacts(**{**found, "findings": tuple(BootFinding(**each) for each in found["findings"])})
