"""What a machine of the lab takes from its disk when it starts: units, and the files of services.

A lab host shares the machine's kernel and /usr, so "starting from a disk" means: the disk is there as /dev/xvda, units
that the disk enables are started, and /srv, /opt and /etc/skerry-image are the disk's. Read by debugfs of e2fsprogs,
which needs neither root nor a loop device; a disk that is no ext file system is a disk without units.
"""

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.foundation.errors import LabError
from orchestrator.foundation.limits import MIB
from orchestrator.lab.blueprint import Unit
from orchestrator.targets.host_programs.image_look.table import is_ext, partitions

UNITS = "/etc/systemd/system"
FOLDERS = ("/srv", "/opt")
FILES_BYTES_MAX = 64 * MIB  # of /srv and /opt; the data itself is on the disk
DEBUGFS_SECONDS_MAX = 120


@dataclass(frozen=True)
class BootDisk:
    units: tuple[Unit, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)


def boot_disk(disk: Path) -> BootDisk:
    """Units that are enabled on the disk, and its files below /srv and /opt."""
    with tempfile.TemporaryDirectory() as scratch, disk.open("rb") as stream:
        offset = next((each for each, _ in partitions(stream.fileno())[1] if is_ext(stream.fileno(), each)), 0)
        where = f"{disk}?offset={offset}" if offset else str(disk)
        for folder in (UNITS, *FOLDERS):
            place = Path(scratch) / folder.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                ["/sbin/debugfs", "-R", f"rdump {folder} {place.parent}", where],
                check=False,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=DEBUGFS_SECONDS_MAX,
            )
        root = Path(scratch)
        units = []
        wanted = root / "etc/systemd/system/multi-user.target.wants"
        for path in sorted((root / "etc/systemd/system").glob("*.service")):
            if not path.is_symlink():
                enabled = (wanted / path.name).is_symlink() or (wanted / path.name).exists()
                units.append(Unit(path.stem, path.read_text(), enabled=enabled))
        files: dict[str, bytes] = {}
        for folder in FOLDERS:
            for path in sorted((root / folder.lstrip("/")).rglob("*")):
                if path.is_file() and not path.is_symlink():
                    files["/" + str(path.relative_to(root))] = path.read_bytes()
        if sum(map(len, files.values())) > FILES_BYTES_MAX:
            raise LabError(
                f"{disk.name}: /srv and /opt hold more than {FILES_BYTES_MAX} bytes, too much for a lab host"
            )
        return BootDisk(tuple(units), files)
