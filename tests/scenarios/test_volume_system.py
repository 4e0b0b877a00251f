"""A system with a disk image, on real hosts: surveyed, planned, replicated over DR to the cloud, held, compared."""

import os
from dataclasses import replace

import pytest

from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import open_transports
from orchestrator.lab.blueprint import LabHost
from orchestrator.lab.town import open_town
from orchestrator.model import action as actions
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.outcome import Outcome
from orchestrator.model.site import Side
from orchestrator.model.system import Placement
from orchestrator.movers.block_volume import BlockVolumeMover
from orchestrator.snapshots.stores import HostPointStores
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import SYSTEM, FakeWorld, a_deed, the_plan

pytestmark = [pytest.mark.platform("hosts"), pytest.mark.timeout(600)]

MIB = 1 << 20
DISK = BlockVolume(name="disk", path="/srv/machine/disk.img")
NAMES = {Side.SOURCE: "onprem-a", Side.DR: "dr-a", Side.CLOUD: "cloud-a"}
MACHINE = SYSTEM.model_copy(
    update={
        "name": "machine",
        "datasets": (DISK,),
        "services": (),
        "quiesce": None,
        "placements": {side: Placement(host=name) for side, name in NAMES.items()},
    }
)
TOWN = (
    LabHost("onprem-a", "onprem", "10.10.1.11"),
    LabHost("dr-a", "dr", "10.20.1.11"),
    LabHost("cloud-a", "cloud", "10.30.1.11"),
)


class Estate:
    """The town's hosts with real transports and the real mover; what else handlers touch is in memory."""

    def __init__(self, town, transports):
        self.town = town
        self.hosts = town.hosts()
        stores = HostPointStores(transports, SystemClock())
        self.mover = BlockVolumeMover(transports, CertifiedAccess(transports, town.user_ca), stores)
        self.world = FakeWorld()
        self.drivers = replace(self.world.drivers, transports=transports, volumes=self.mover)
        self.plan = the_plan(MACHINE).model_copy(update={"hosts": {name: self.hosts[name] for name in NAMES.values()}})

    def image(self, side):
        path = self.town.path_on_machine(NAMES[side], DISK.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def act(self, action) -> Outcome:
        deed = a_deed(action, step=action.verb, plan=self.plan)
        return handlers_over(self.drivers)(action.verb).act(deed, lambda _: None, self.world.emit)

    def passed(self, action) -> Outcome:
        outcome = self.act(action)
        assert outcome.passed, outcome.message
        return outcome


@pytest.fixture
def estate(tmp_path):
    town = open_town(tmp_path / "lab")
    town.up(TOWN)
    try:
        with open_transports(town.ssh_config, tmp_path / "run", None) as transports:
            yield Estate(town, transports)
    finally:
        town.down()


def test_a_disk_goes_over_dr_to_the_cloud_and_is_equal_at_all_three(estate):
    image = estate.image(Side.SOURCE)
    with image.open("wb") as stream:
        stream.write(os.urandom(6 * MIB))
        stream.truncate(40 * MIB)
    estate.passed(actions.Preflight())
    first = estate.passed(actions.Replicate(source=Side.SOURCE, replica=Side.DR))
    assert first.observed["bytes_wire"] < 8 * MIB  # the holes cost nothing

    with image.open("r+b") as stream:
        stream.seek(2 * MIB)
        stream.write(b"changed")
    second = estate.passed(actions.Replicate(source=Side.SOURCE, replica=Side.DR))
    assert second.observed["bytes_wire"] < MIB

    point = estate.passed(actions.TakeRecoveryPoint())
    held = point.observed["datasets"]["disk"]
    for side in (Side.SOURCE, Side.DR):
        assert estate.mover.digest(DISK, estate.hosts[NAMES[side]], point=point.observed["point"]).digest == held

    # The cloud is seeded from what DR holds of the point, whatever DR's live image became meanwhile.
    with estate.image(Side.DR).open("r+b") as stream:
        stream.write(b"later")
    estate.image(Side.CLOUD)
    estate.passed(actions.Replicate(source=Side.DR, replica=Side.CLOUD, read="point"))
    assert estate.mover.digest(DISK, estate.hosts["cloud-a"]).digest == held
    told = estate.act(actions.VerifyDigests(sides=(Side.SOURCE, Side.DR, Side.CLOUD)))
    assert told.error == "DigestMismatch"
    assert "disk differs between source and dr: bytes 0 to 65535" in told.message

    estate.passed(actions.Replicate(source=Side.SOURCE, replica=Side.DR))
    estate.passed(actions.VerifyDigests(sides=(Side.SOURCE, Side.DR, Side.CLOUD)))
