"""Machines that start from an image in a drill: up by what they say, on record with console and picture."""

import struct
from dataclasses import replace

import pytest

from orchestrator.contracts.bubble_machines import BubbleMachine
from orchestrator.contracts.observer import Attachment, with_references
from orchestrator.foundation.errors import UsageError
from orchestrator.hosts.host_programs.bubble.disks import EFI_PARTITION, firmware_for, in_order
from orchestrator.hosts.host_programs.bubble.machines import hardware, network
from orchestrator.hosts.host_programs.bubble.namespaces import Refused
from orchestrator.model.action import DrillInBubble, Replicate, TakeRecoveryPoint
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.machine_boot import MachineBoot, MachinePort
from orchestrator.model.outcome import Outcome
from orchestrator.model.site import Side
from orchestrator.steps.handlers import handlers_over
from orchestrator.steps.injects import Inject
from orchestrator.steps.machine_shown import last_lines
from tests.fakes.bubble_machines import PNG, FakeMachines
from tests.fakes.bubbles import FakeBubbles
from tests.fakes.drivers import DR, SOURCE, SYSTEM, FakeWorld, a_deed, the_plan
from tests.fakes.recorder import FakeRecorder
from tests.laws.bubble_machines_laws import BubbleMachinesLaws, Ground

BOOT = MachineBoot(console="login:", ports=(MachinePort(port=8080),))
DISK = BlockVolume(name="disk", path="/srv/machine/disk.img", boot=BOOT)
DATA = BlockVolume(name="data", path="/srv/machine/data.img")
MACHINE = SYSTEM.model_copy(update={"datasets": (DISK,), "services": (), "quiesce": None})


class TestFake(BubbleMachinesLaws):
    @pytest.fixture
    def ground(self) -> Ground:
        bubbles = FakeBubbles()
        bubbles.open(DR, "one", [], [], seconds_max=60)
        machines = FakeMachines(bubbles, nothing_starts_from="zeros", greets={22: "welcome"})
        return Ground(
            machines=machines,
            host=DR,
            bubble="one",
            machine=BubbleMachine(name="machine.disk", disks=("/held/disk",), boot=BOOT),
            unfit=BubbleMachine(name="machine.unfit", disks=("/held/zeros",), boot=BOOT),
            words="login:",
            greeting_port=22,
            close=lambda: bubbles.close(DR, "one"),
        )


class Drilled:
    """A system of one image, held at DR, and drilled as a step."""

    def __init__(self, *volumes: BlockVolume) -> None:
        self.system = MACHINE.model_copy(update={"datasets": volumes or (DISK,)})
        self.world = FakeWorld()
        for number, volume in enumerate(self.system.datasets):
            self.world.volumes.volumes.content[SOURCE.name, volume.path] = bytes([number + 1]) * 200_000
        self.act(Replicate(source=Side.SOURCE, replica=Side.DR))
        self.act(TakeRecoveryPoint())

    def act(self, action) -> Outcome:
        deed = a_deed(action, step=action.verb, plan=the_plan(self.system))
        return handlers_over(self.world.drivers)(action.verb).act(deed, lambda _: None, self.world.tell)

    def drill(self) -> Outcome:
        return self.act(DrillInBubble())

    @property
    def seen(self):
        return next(data for kind, data in self.world.events if kind == "machine.seen")


def test_a_machine_is_up_by_what_it_says_and_console_and_picture_are_kept():
    drilled = Drilled()
    outcome = drilled.drill()
    assert outcome.passed, outcome.message
    assert outcome.observed["machines_up"] == {"disk": True}
    assert outcome.observed["clones"] == {"disk": "blocks"}
    assert outcome.observed["carried_back"] == {}
    [machine] = drilled.world.bubble_machines.asked
    [given] = drilled.world.bubbles.given
    assert machine.disks == (given.held,)
    assert (given.image, given.places) == (True, (("", "/run/skerry-machines/filing.disk"),))
    assert "check" in drilled.world.bubbles.asked  # services answer
    seen = drilled.seen
    assert (seen["up"], seen["firmware"]) == (True, "kernel")
    assert seen["last_lines"] == ["Linux version 6.1", "filing login:"]
    assert seen["console"]["mediaType"] == "text/plain"
    assert seen["picture"] == FakeRecorder().keep(PNG, "image/png")
    assert drilled.world.bubbles.open_on == {}


def test_further_disks_come_after_the_one_that_boots():
    first = DISK.model_copy(update={"boot": BOOT.model_copy(update={"disks": ("data",)})})
    drilled = Drilled(DATA, first)
    assert drilled.drill().passed
    [machine] = drilled.world.bubble_machines.asked
    held = {each.name: each.held for each in drilled.world.bubbles.given}
    assert machine.disks == (held["disk"], held["data"])


def test_a_volume_that_no_machine_starts_with_is_refused_before_anything():
    drilled = Drilled(DISK, DATA)
    outcome = drilled.drill()
    assert "data: nothing says how a machine is started from it" in outcome.message
    assert "open" not in drilled.world.bubbles.asked


@pytest.mark.parametrize(
    ("lines", "ends_after", "words"),
    [
        (["SeaBIOS", "No bootable device."], 0, "does not say 'login:'; its console said last: SeaBIOS / No bootable"),
        (["Linux", "\x1b[31mKernel panic - not syncing: VFS\x1b[0m"], 0, "Linux / Kernel panic - not syncing: VFS"),
        (["Linux"], 2, "it has ended: it switched itself off"),
        ([], 0, "its console said last: nothing"),
    ],
)
def test_a_machine_that_does_not_come_up_fails_the_drill_by_name(lines, ends_after, words):
    drilled = Drilled()
    drilled.world.bubble_machines.lines = lines
    drilled.world.bubble_machines.ends_after = ends_after
    outcome = drilled.drill()
    assert (outcome.passed, outcome.retryable) == (False, False)
    assert outcome.message.startswith("disk: the machine was not up after ")
    assert words in outcome.message
    assert ("picture" in drilled.seen and drilled.seen["picture"] == "") == bool(ends_after)
    assert drilled.world.bubbles.open_on == {}
    if "No bootable device." in lines or "VFS" in "".join(lines):
        assert drilled.seen["seconds"] < 10  # what cannot come any more is not waited for


def test_a_service_that_says_another_thing_is_not_up():
    ports = (MachinePort(port=22, banner="^SSH-2"),)
    drilled = Drilled(DISK.model_copy(update={"boot": BOOT.model_copy(update={"ports": ports, "up_within": 5.0})}))
    drilled.world.bubble_machines.greets[22] = "HTTP/1.0"
    assert "port 22 says 'HTTP/1.0', not '^SSH-2'" in drilled.drill().message
    drilled.world.bubble_machines.greets[22] = "SSH-2.0-OpenSSH_9.2"
    assert drilled.drill().passed


def test_an_image_that_is_not_what_was_proved_starts_nothing():
    drilled = Drilled()
    held = drilled.world.volumes.volumes.points[DR.name, "disk"]
    [(name, (point, content))] = held.items()
    held[name] = (point, content + b"tampered")
    outcome = drilled.drill()
    assert "it was proved to be sha256:" in outcome.message
    assert drilled.world.bubble_machines.asked == []


def test_an_image_that_a_drill_changed_fails_it():
    drilled = Drilled()
    held = drilled.world.volumes.volumes.points[DR.name, "disk"]

    class Writing(FakeMachines):
        def boot(self, host, bubble, machine):
            [(name, (point, content))] = held.items()
            held[name] = (point, b"written" + content)
            return super().boot(host, bubble, machine)

    machines = Writing(drilled.world.bubbles)
    drilled.world.drivers = replace(drilled.world.drivers, bubble_machines=machines)
    assert "a drill must not change what is held" in drilled.drill().message


def test_only_injects_that_fit_an_image_are_put_into_it():
    for inject in ("slow_disk", "quota_full", "tampered_file"):
        with pytest.raises(UsageError, match="has no file tree"):
            Inject(inject, MACHINE)
    assert Inject("missing_point", MACHINE).about == "disk"


def test_what_a_terminal_would_obey_is_not_told():
    assert last_lines("one\r\n\x1b[2J\x1b[1;31mtwo\x1b[0m\x07\r\n\n") == ("one", "two\\x07")


def test_attachments_are_kept_and_referred_to():
    recorder = FakeRecorder()
    console = Attachment(content=b"hello", media_type="text/plain")
    told = with_references({"up": True, "console": console}, recorder.keep)
    assert recorder.kept[told["console"]["digest"]] == b"hello"
    assert told["up"] is True


class TestWhatQemuIsAsked:
    def disk(self, tmp_path, pieces):
        path = tmp_path / "disk"
        with path.open("wb") as stream:
            for at, piece in pieces.items():
                stream.seek(at)
                stream.write(piece)
            stream.truncate(64 * 1024)
        return str(path)

    @pytest.mark.parametrize(
        ("pieces", "firmware"),
        [
            ({510: b"\x55\xaa", 512: b"EFI PART", 1024: EFI_PARTITION}, "uefi"),
            ({510: b"\x55\xaa", 512: b"EFI PART", 1024: b"\1" * 16}, "bios"),
            ({510: b"\x55\xaa"}, "bios"),
            ({1024 + 56: struct.pack("<H", 0xEF53)}, "kernel"),
        ],
    )
    def test_a_disk_says_how_it_starts(self, tmp_path, pieces, firmware):
        assert firmware_for(self.disk(tmp_path, pieces)) == firmware

    def test_zeros_start_nothing(self, tmp_path):
        with pytest.raises(Refused, match="no machine starts from it: no EFI partition, no boot record"):
            firmware_for(self.disk(tmp_path, {}))

    def test_the_newest_kernel_is_found_as_people_count(self):
        names = ["vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-10-amd64", "vmlinuz-5.10.0-30-amd64"]
        assert max(names, key=in_order) == "vmlinuz-6.1.0-10-amd64"

    def test_its_network_is_closed_and_its_address_is_its_own(self):
        rules = BOOT.model_copy(update={"address": "192.0.2.1/29"}).model_dump(mode="json")
        words = " ".join(network(rules))
        assert "restrict=on,net=192.0.2.0/29,host=192.0.2.2,dns=192.0.2.3,dhcpstart=192.0.2.1" in words
        assert "hostfwd=tcp:127.0.0.1:8080-192.0.2.1:8080" in words

    def test_no_image_is_opened_for_writing(self):
        words = hardware(BOOT.model_dump(mode="json"), ["/held/a,b", "/held/c"])
        drives = [words[at + 1] for at, word in enumerate(words) if word == "-drive"]
        assert len(drives) == 2
        assert all("snapshot=on" in each for each in drives)
        assert "file=/held/a,,b," in drives[0]


def test_what_cannot_be_a_pattern_or_a_network_is_refused():
    for wrong in ({"console": "("}, {"address": "10.0.2.15/32"}, {"address": "here"}, {"memory_mib": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MachineBoot(**wrong)
