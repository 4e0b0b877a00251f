"""Machines in a drill's bubble, by a real QEMU: a held image boots, serves what the point holds, is not written."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.bubble_machines import BubbleMachine, image_data, machine_name
from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.bubble_machines import HostBubbleMachines
from orchestrator.hosts.bubbles import HostBubbles
from orchestrator.hosts.host_programs.bubble.disks import EFI_PARTITION
from orchestrator.hosts.ssh import open_transports
from orchestrator.lab.town import open_town
from orchestrator.model.action import DrillInBubble, Replicate, TakeRecoveryPoint
from orchestrator.model.machine_boot import MachineBoot, MachinePort
from orchestrator.model.outcome import Outcome
from orchestrator.model.site import Side
from orchestrator.model.system import HttpCheck
from orchestrator.steps.handlers import handlers_over
from tests.fakes.bootable import GREETING_PORT, HTTP_PORT, UP, a_boot_sector, a_machine_image
from tests.fakes.drivers import a_deed, the_plan
from tests.laws.bubble_machines_laws import BubbleMachinesLaws, Ground
from tests.scenarios.test_volume_system import DISK, MACHINE, TOWN, Estate

pytestmark = [
    *(pytest.mark.platform(name) for name in ("hosts", "namespaces", "machines")),
    pytest.mark.timeout(900),
]

LETTER = "as it stood at the point"
PORTS = (MachinePort(port=HTTP_PORT), MachinePort(port=GREETING_PORT, banner="^welcome"))
BOOT = MachineBoot(console=UP, ports=PORTS, memory_mib=256, up_within=240.0)
BIOS = MachineBoot(console="welcome from the boot record", memory_mib=64, up_within=60.0)
SAYS_THE_LETTER = HttpCheck(name="letter", port=HTTP_PORT, expected={"letter": LETTER})


class MachineEstate(Estate):
    """With real bubbles and machines at DR, and the time as it is."""

    def __init__(self, town: Any, transports: Any) -> None:
        super().__init__(town, transports)
        self.bubbles, self.machines = HostBubbles(transports), HostBubbleMachines(transports)
        self.there = self.hosts["dr-a"]
        self.deeds = 0
        self.drivers = replace(
            self.drivers, bubbles=self.bubbles, bubble_machines=self.machines, clock=SystemClock()
        )

    def asked(self, action: Any, boot: MachineBoot) -> Outcome:
        """As a step, of a system whose image boots so; its check is asked where it has a port for it."""
        disk = DISK.model_copy(update={"boot": boot})
        checks = (SAYS_THE_LETTER,) if boot.ports else ()
        plan = the_plan(MACHINE.model_copy(update={"datasets": (disk,), "checks": checks}))
        self.deeds += 1
        step = f"step-{self.deeds}"  # each point is one of its own
        deed = a_deed(action, step=step, plan=plan.model_copy(update={"hosts": self.plan.hosts}))
        return handlers_over(self.drivers)(action.verb).act(deed, lambda _: None, self.world.emit)

    def drilled(self, boot: MachineBoot) -> tuple[Outcome, dict[str, Any]]:
        """What DR then holds is drilled; its outcome, and the event that tells of the machine."""
        for action in (Replicate(source=Side.SOURCE, replica=Side.DR), TakeRecoveryPoint()):
            assert (done := self.asked(action, boot)).passed, done.message
        self.world.events.clear()
        outcome = self.asked(DrillInBubble(), boot)
        return outcome, next((data for kind, data in self.world.events if kind == "machine.seen"), {})

    def held_digest(self) -> str:
        [path] = self.town.path_on_machine("dr-a", "/srv").rglob("volume")
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def machines_left(self) -> str:
        """Numbers of QEMUs of bubbles, as their host counts processes."""
        return self.drivers.transports(self.there).run(["pgrep", "-f", "unix:[q]mp,server=on"], check=False).text


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineEstate]:
    folder = tmp_path_factory.mktemp("machines")
    town = open_town(folder / "lab")
    town.up(TOWN)
    try:
        with open_transports(town.ssh_config, folder / "run", None) as transports:
            yield MachineEstate(town, transports)
    finally:
        town.down()


@pytest.fixture
def source(estate: MachineEstate) -> Iterator[Path]:
    """Where the source's image is; what was held of it goes with the test."""
    yield estate.image(Side.SOURCE)
    for side in (Side.SOURCE, Side.DR):
        folder = estate.image(side).parent
        subprocess.run(["find", str(folder), "-mindepth", "1", "-delete"], check=True)
    for name in estate.bubbles.listed(estate.there):
        estate.bubbles.close(estate.there, name)
    assert estate.machines_left() == ""


def test_a_held_image_boots_serves_what_the_point_holds_and_is_not_written(
    estate: MachineEstate, source: Path
) -> None:
    a_machine_image(source, LETTER)
    shown = estate.bubbles.shown(estate.there, [])
    outcome, seen = estate.drilled(BOOT)
    assert outcome.passed, outcome.message
    assert outcome.observed["machines_up"] == {"disk": True}
    assert outcome.observed["isolated"]
    assert not outcome.observed["left_behind"]
    assert (seen["firmware"], seen["accelerator"]) in (("kernel", "tcg"), ("kernel", "kvm"))
    assert seen["console"]["size"] > 1000
    assert seen["picture"]["mediaType"] == "image/png"
    assert estate.held_digest() == hashlib.sha256(source.read_bytes()).hexdigest()
    assert estate.bubbles.shown(estate.there, []) == shown


def test_an_image_that_does_not_boot_fails_by_name_with_what_it_said_last(
    estate: MachineEstate, source: Path
) -> None:
    a_machine_image(source, LETTER, rotten=True)
    outcome, seen = estate.drilled(BOOT)
    assert not outcome.passed
    assert outcome.message.startswith("disk: the machine was not up after")
    assert "Kernel panic - not syncing: VFS: Unable to mount root fs" in outcome.message
    assert (seen["up"], seen["picture"]["mediaType"]) == (False, "image/png")
    assert list(estate.bubbles.listed(estate.there)) == []


def test_a_boot_record_is_started_by_a_bios_and_what_it_shows_is_on_the_console_too(
    estate: MachineEstate, source: Path
) -> None:
    a_boot_sector(source, "welcome from the boot record")
    outcome, seen = estate.drilled(BIOS)
    assert outcome.passed, outcome.message
    assert (seen["firmware"], seen["up"]) == ("bios", True)


def test_a_disk_with_an_efi_partition_is_started_by_uefi(estate: MachineEstate, source: Path) -> None:
    head = (bytes(510) + b"\x55\xaa", b"EFI PART".ljust(512, b"\0"), EFI_PARTITION)
    source.write_bytes(b"".join(head).ljust(4 * 1024 * 1024, b"\0"))
    outcome, seen = estate.drilled(BIOS.model_copy(update={"console": "UEFI|BdsDxe", "memory_mib": 256}))
    assert outcome.passed, outcome.message
    assert seen["firmware"] == "uefi"


def test_what_the_host_has_no_memory_for_is_refused(estate: MachineEstate, source: Path) -> None:
    a_boot_sector(source, "welcome from the boot record")
    outcome, seen = estate.drilled(BIOS.model_copy(update={"memory_mib": 1024 * 1024}))
    assert "machine.disk wants 1048576 MiB of memory, and" in outcome.message
    assert seen == {}


BOOTER = """
import sys
from pathlib import Path
from orchestrator.contracts.bubble_machines import BubbleMachine, image_data
from orchestrator.hosts.bubble_machines import HostBubbleMachines
from orchestrator.hosts.bubbles import HostBubbles
from orchestrator.hosts.ssh import open_transports
from orchestrator.model.host import Host
host, machine = Host.model_validate_json(sys.argv[1]), BubbleMachine.model_validate_json(sys.argv[2])
transports = open_transports(Path(sys.argv[3]), Path(sys.argv[4]))
HostBubbles(transports).open(host, "killed", [image_data("machine", "disk", machine.disks[0])], [], seconds_max=20)
HostBubbleMachines(transports).boot(host, "killed", machine)
print("up", flush=True)
sys.stdin.read()
"""


def test_killed_while_its_machine_runs_nothing_is_left_and_the_next_drill_works(
    estate: MachineEstate, source: Path, tmp_path: Path
) -> None:
    a_boot_sector(source, "welcome from the boot record")
    wish = BubbleMachine(name="machine.disk", disks=(DISK.path,), boot=BIOS)
    image = estate.image(Side.DR)
    image.write_bytes(source.read_bytes())
    words = [sys.executable, "-c", BOOTER, estate.there.model_dump_json(), wish.model_dump_json()]
    words += [str(estate.town.ssh_config), str(tmp_path / "child")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        child.send_signal(signal.SIGKILL)
    assert estate.machines_left() != ""
    # Nobody closes it: its own time ends it, and what it wrote is erased.
    deadline = time.monotonic() + 60
    while (estate.machines_left() or estate.bubbles.listed(estate.there)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert estate.machines_left() == ""
    assert list(estate.bubbles.listed(estate.there)) == []
    outcome, _ = estate.drilled(BIOS)
    assert outcome.passed, outcome.message


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return a_machine_image(tmp_path_factory.mktemp("image") / "disk.img", LETTER).read_bytes()


class TestHostBubbleMachines(BubbleMachinesLaws):
    @pytest.fixture
    def ground(self, estate: MachineEstate, source: Path, image: bytes) -> Ground:
        place = estate.image(Side.DR)
        place.write_bytes(image)
        place.with_name("zeros.img").write_bytes(bytes(1024 * 1024))
        held = {"disk": DISK.path, "unfit": DISK.path.replace("disk", "zeros")}
        data = [image_data("machine", name, path) for name, path in held.items()]
        estate.bubbles.open(estate.there, "one", data, [], seconds_max=300)
        machine, unfit = (
            BubbleMachine(name=machine_name("machine", name), disks=(path,), boot=BOOT) for name, path in held.items()
        )
        return Ground(
            machines=estate.machines,
            host=estate.there,
            bubble="one",
            machine=machine,
            unfit=unfit,
            words=UP,
            greeting_port=GREETING_PORT,
            close=lambda: estate.bubbles.close(estate.there, "one"),
        )

    def test_its_network_reaches_nobody(self, ground: Ground, estate: MachineEstate) -> None:
        ground.up()
        proved = estate.bubbles.prove(estate.there, "one", [])
        assert proved.isolated, [each for each in proved.attempts if each.reached]
        assert [each.outcome for each in proved.attempts if each.attempt == "interfaces"] == ["lo"]
