"""A machine's disk goes from DR into the cloud, and the cloud starts a host with it: real hosts, the strict cloud."""

import hashlib
from dataclasses import replace

import pytest

from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.host_keys import LearnedHostKeys
from orchestrator.hosts.ssh import open_transports
from orchestrator.lab.blueprint import LabHost
from orchestrator.lab.cloud import landing_zone, launch
from orchestrator.lab.town import open_town
from orchestrator.model import action as actions
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.model.inventory import CloudSettings
from orchestrator.model.site import Side
from orchestrator.model.system import HttpCheck, MachineSpec, Placement
from orchestrator.movers.block_volume import BlockVolumeMover
from orchestrator.snapshots.stores import HostPointStores
from orchestrator.steps.handlers import handlers_over
from orchestrator.targets.aws.console import AwsConsole
from orchestrator.targets.aws.images import AwsImages
from orchestrator.targets.aws.isolation import AwsIsolation
from orchestrator.targets.aws.machines import AwsMachines
from orchestrator.targets.aws.session import AwsSession
from tests.fakes.disk_images import SERVING, WILLING, a_disk
from tests.fakes.drivers import SYSTEM, FakeWorld, a_deed, the_plan

pytestmark = [pytest.mark.platform("hosts"), pytest.mark.platform("namespaces"), pytest.mark.timeout(600)]

REGION = "eu-central-1"
DISK = BlockVolume(name="disk", path="/srv/machine/disk.img")
NAMES = {Side.SOURCE: "onprem-a", Side.DR: "dr-a", Side.CLOUD: "cloud-m"}
MACHINE = SYSTEM.model_copy(
    update={
        "name": "machine",
        "datasets": (DISK,),
        "services": (),
        "checks": (
            HttpCheck(name="register", port=8099, path="/state.json", expected={"letters": 1}, level="business"),
        ),
        "quiesce": None,
        "placements": {side: Placement(host=name) for side, name in NAMES.items()},
    }
)
TOWN = (LabHost("onprem-a", "onprem", "10.10.1.11"), LabHost("dr-a", "dr", "10.20.1.11"))
CLOUD_HOST = Host(name="cloud-m", site="cloud", address="10.30.1.11")
LETTER = "the register as it stood at the point\n"
COUNTER = """[Unit]
Description=Tells what the disk holds
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sha256sum </dev/xvda >/srv/app/told; cat /srv/app/letter >>/srv/app/told'
RemainAfterExit=yes
[Install]
WantedBy=multi-user.target
"""
ON_THE_DISK = {
    **WILLING,
    **SERVING,
    "srv/app/letter": LETTER,
    "etc/systemd/system/counter.service": COUNTER,
    "etc/systemd/system/multi-user.target.wants/counter.service": COUNTER,
}
SPEC = MachineSpec(
    image="dataset:disk",
    subnet=landing_zone.NAME,
    security_group=landing_zone.NAME,
    drill_subnet=landing_zone.DRILL_NAME,
    drill_security_group=landing_zone.DRILL_NAME,
)


@pytest.fixture
def town(tmp_path):
    town = open_town(tmp_path / "lab")
    town.up(TOWN)
    try:
        url = launch.start_in_town(town, region=REGION)
        landing_zone.lay_out(
            url,
            town.folder / "cloud" / "credentials",
            region=REGION,
            network="10.30.0.0/16",
            subnet="10.30.1.0/24",
            zone="skerry.test",
            names={},
        )
        yield town
    finally:
        town.down()


def test_a_disk_becomes_a_machine_of_the_cloud_that_really_starts_with_it(town, tmp_path):
    settings = CloudSettings(
        region=REGION,
        endpoint=f"file:{town.folder / 'cloud' / 'endpoint'}",
        endpoint_at_hosts=f"file:{town.folder / 'cloud' / 'endpoint_at_hosts'}",
        credentials_file=str(town.folder / "cloud" / "credentials"),
    )
    user_ca = town.user_ca.with_suffix(".pub").read_text().strip()
    session = AwsSession(settings, allowed_regions=frozenset({REGION}), clock=SystemClock(), ssh_user_ca=user_ca)
    learned = LearnedHostKeys(tmp_path / "learned")
    with open_transports(town.ssh_config, tmp_path / "run", learned.file) as transports:
        mover = BlockVolumeMover(
            transports, CertifiedAccess(transports, town.user_ca), HostPointStores(transports, SystemClock())
        )
        world = FakeWorld()
        drivers = replace(
            world.drivers,
            transports=transports,
            volumes=mover,
            target=AwsMachines(session),
            images=AwsImages(session, transports),
            isolation=AwsIsolation(session),
            machine_console=AwsConsole(session),
            host_keys=learned,
            clock=SystemClock(),
        )
        hosts = {**town.hosts(), CLOUD_HOST.name: CLOUD_HOST}
        plan = the_plan(MACHINE).model_copy(update={"hosts": hosts, "machines": {CLOUD_HOST.name: SPEC}})

        def passed(action):
            deed = a_deed(action, step=action.verb, plan=plan)
            outcome = handlers_over(drivers)(action.verb).act(deed, lambda _: None, world.emit)
            assert outcome.passed, outcome.message
            return outcome.observed

        image = town.path_on_machine("onprem-a", DISK.path)
        for name in ("onprem-a", "dr-a"):
            town.path_on_machine(name, DISK.path).parent.mkdir(parents=True)
        a_disk(image, ON_THE_DISK)
        passed(actions.Replicate(source=Side.SOURCE, replica=Side.DR))
        point = passed(actions.TakeRecoveryPoint())
        seeded = passed(actions.SeedImage())["images"]["disk"]
        assert seeded["digest"] == point["datasets"]["disk"]

        tested = passed(actions.StartTestMachine())["machines"]["cloud-m-drill"]
        assert "has no route but the local one" in " ".join(tested["isolated_after"])
        # It asked itself at its first boot, as a real host, and what the strict cloud gives as its console told us.
        assert tested["checks"] == [{"name": "register", "level": "business", "passed": True, "wrong": []}]
        assert told_by(town, "cloud-m-drill") == as_told(image)
        passed(actions.EndTestMachine())
        assert "cloud-m-drill" not in town.hosts()

        passed(actions.ProvisionTarget())  # it answers SSH with a certificate of our CA
        assert told_by(town, "cloud-m") == as_told(image)


def told_by(town, name):
    """What the unit on the disk has written once it ran."""
    words = ["sh", "-c", "for i in $(seq 300); do grep -q register /srv/app/told && break; sleep 0.1; done"]
    town.run_inside(name, words, timeout_seconds=60)
    return town.run_inside(name, ["cat", "/srv/app/told"]).stdout.decode()


def as_told(image):
    """The whole volume is the disk and zeros up to its size in GiB."""
    volume = hashlib.sha256(image.read_bytes())
    zeros = bytes(1 << 20)
    for _ in range((1 << 30) - image.stat().st_size >> 20):
        volume.update(zeros)
    return f"{volume.hexdigest()}  -\n{LETTER}"
