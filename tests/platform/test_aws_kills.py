"""The same run twice: killed at every boundary and made again, and made on two machines at once.

kill -9 at every boundary: before each call to the cloud took effect, and after it did and nobody heard. The
cloud holds one call of a run, the run and its program on the host are killed, and the same run is made again. Then
the next call is held, until a run ends without any call being held: so every call of it has been a boundary.

After each kill what is left without use is named by `skerry cloud orphans`; after the same run again nothing is left.
"""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.images import ImageFacts, SeededVolume
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.host import Host
from orchestrator.planning.orphans import find_orphans
from orchestrator.targets.aws.images import work_folder
from orchestrator.targets.aws.machines import AwsMachines
from orchestrator.targets.aws.things import AwsThings
from orchestrator.targets.aws.traffic import Route53Traffic
from orchestrator.targets.s3.store import S3Store
from tests.fakes.aws_cloud import AwsCloud
from tests.laws.front_laws import FRONT
from tests.laws.target_laws import HOST, SPEC, TAGS
from tests.platform.test_aws_images import DISK, MIB, Site
from tests.platform.test_aws_trouble import MAY_BE_LEFT, NEWER

pytestmark = [pytest.mark.platform("ssh"), pytest.mark.timeout(1200)]
BUCKET = "skerry-kills"
OLD, NEW = "10.30.1.11", "10.30.1.12"
Deed = Callable[[AwsCloud, Path], Any]
BOUNDARIES_MAX = 60


def a_seeding(cloud: AwsCloud, folder: Path) -> None:
    Site(cloud, folder).seed(key="killed")


def a_store(cloud: AwsCloud, folder: Path) -> None:
    host = Host(name="dr-a", site="dr", address="127.0.0.1", path_prefix=str(folder / "host"), become=False)
    store = S3Store(cloud.session(role="replicator"), LocalTransport, BUCKET, folder.name, tags=TAGS)
    store.store(host, str(folder / "documents"))


def a_machine(cloud: AwsCloud, folder: Path) -> str:
    tags = {**TAGS, "skerry:run": folder.name}
    return AwsMachines(cloud.session(role="cutover")).ensure(HOST, SPEC, key=folder.name, tags=tags).id


def an_image(cloud: AwsCloud, folder: Path) -> str:
    """Of the snapshot that `folder` names, called as the folder is."""
    site = Site(cloud, folder)
    seeded = SeededVolume.model_validate_json((folder / "seeded").read_text())
    facts = ImageFacts(architecture="x86_64", boot_mode="uefi", partitions="gpt", file_system="ext")
    tags = {**TAGS, "skerry:system": site.system}
    return site.images.register(seeded, facts, name=folder.name, tags=tags).id


def a_switch(cloud: AwsCloud, folder: Path) -> None:
    weighted = FRONT.model_copy(update={"routing": "weighted"})
    Route53Traffic(cloud.session(role="cutover")).switch(weighted, NEW, key=folder.name)


def orphans(cloud: AwsCloud, *, of: str) -> set[str]:
    """Why each thing is one whose id or system has `of` in it; the estate has HOST and the name of FRONT."""
    things = AwsThings(cloud.session(role="auditor"), buckets=[BUCKET], zones={FRONT.zone}).all()
    mine = [each for each in things if of in each.id or of in each.tags.get("skerry:system", "")]
    hosts, names = frozenset([HOST.name]), frozenset([FRONT.name])
    return {each.why for each in find_orphans(mine, hosts=hosts, images=frozenset(), names=names)}


def alone(deed: Deed, cloud_folder: Path, url: str, folder: Path) -> None:
    """In a process group of its own, so that it dies with all that it started."""
    os.setsid()
    deed(AwsCloud(cloud_folder, url), folder)


def kill_everywhere(cloud: AwsCloud, deed: Deed, service: str, folders: Callable[[int], Path], held: str) -> int:
    """Do `deed` in a folder of its own for each boundary, killed there, until it ends unheld. How many there were.

    What it left is for the caller to look at, folder by folder.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    for boundary in range(BOUNDARIES_MAX):
        words = (deed, cloud.folder, cloud.url, folders(boundary))
        cloud.put_faults({"kind": held, "service": service, "skip": boundary, "count": 1})
        process = processes.Process(target=alone, args=words)
        process.start()
        until = time.monotonic() + 240
        while not cloud.faults()[0]["hits"] and process.is_alive():
            assert time.monotonic() < until
            time.sleep(0.05)
        ended = not cloud.faults()[0]["hits"]
        if not ended:
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        cloud.heal()
        if ended:
            assert process.exitcode == 0
            return boundary
    pytest.fail(f"more than {BOUNDARIES_MAX} calls")


def await_free(place: Path) -> None:
    """A killed controller leaves its program behind for as long as its host needs to see that."""
    for lock in place.rglob("lock"):
        subprocess.run(["flock", "-w", "60", str(lock), "true"], check=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("held", ["hold", "hold_after"])
def test_a_seeding_killed_at_every_call(cloud: AwsCloud, tmp_path: Path, held: str) -> None:
    """Of a disk that was seeded before: what was proved then stays as it was."""
    made: list[Path] = []
    kept: dict[Path, tuple[str, bytes]] = {}

    def folders(boundary: int) -> Path:
        made.append(tmp_path / f"seed-{held.replace('_', '-')}-{boundary}")
        made[-1].mkdir()
        site = Site(cloud, made[-1])
        site.fill((0, os.urandom(2 * MIB)), size=4 * MIB)
        kept[made[-1]] = site.seed(key="before").snapshot, site.path.read_bytes()
        site.fill((MIB // 2, os.urandom(MIB)), size=4 * MIB)
        return made[-1]

    boundaries = kill_everywhere(cloud, a_seeding, "e*", folders, held)
    assert boundaries >= 10  # a start, two blocks, a completion, their reading, and what surrounds them
    for folder in made:
        site = Site(cloud, folder)
        before, held_before = kept[folder]
        await_free(Path(work_folder(DISK, site.host)))
        assert set(site.orphans().values()) <= {*MAY_BE_LEFT, NEWER}
        assert site.content_of(before) == held_before
        seeded = site.seed(key="killed")
        assert seeded.digest == site.digest()
        assert site.content_of(seeded.snapshot) == site.path.read_bytes()
        assert (seeded.parent, len(site.snapshots())) == (before, 2)
        assert site.orphans() == {before: NEWER}
        assert site.content_of(before) == held_before


@pytest.mark.parametrize("held", ["hold", "hold_after"])
def test_a_store_killed_at_every_call(cloud: AwsCloud, tmp_path: Path, held: str) -> None:
    made: list[Path] = []

    def folders(boundary: int) -> Path:
        made.append(tmp_path / f"{held}-{boundary}")
        documents = made[-1] / "documents"
        documents.mkdir(parents=True)
        (documents / "large").write_bytes(os.urandom(9 * MIB))
        (documents / "small").write_bytes(b"small")
        return made[-1]

    s3 = cloud.client("s3")
    verified = s3.put_object(Bucket=BUCKET, Key=f"{held}/verified-before", Body=b"kept")["ETag"]
    boundaries = kill_everywhere(cloud, a_store, "s3", folders, held)
    assert boundaries >= 7  # a listing, a begin, two parts, a completion, a look, a file in one piece
    for folder in made:
        await_free(folder / "host")
        assert orphans(cloud, of=f"/{folder.name}/") <= MAY_BE_LEFT
        a_store(cloud, folder)
        for name in ("large", "small"):
            found = s3.get_object(Bucket=BUCKET, Key=f"{folder.name}/{name}")["Body"].read()
            assert found == (folder / "documents" / name).read_bytes()
        assert s3.list_multipart_uploads(Bucket=BUCKET, Prefix=folder.name).get("Uploads", []) == []
        assert orphans(cloud, of=f"/{folder.name}/") == set()
    assert s3.head_object(Bucket=BUCKET, Key=f"{held}/verified-before")["ETag"] == verified


@pytest.mark.parametrize("held", ["hold", "hold_after"])
def test_a_machine_whose_making_is_killed_at_every_call(cloud: AwsCloud, tmp_path: Path, held: str) -> None:
    """One machine at a time has the address, so each is looked at, and ended, before the next."""

    def folders(boundary: int) -> Path:
        if boundary:
            one_machine_of(boundary - 1)
        return tmp_path / f"{held}-{boundary}"

    def one_machine_of(boundary: int) -> None:
        assert len(cloud.live_machines()) <= 1
        assert orphans(cloud, of=TAGS["skerry:system"]) == set()  # what was started is the host's, and found again
        machine = a_machine(cloud, tmp_path / f"{held}-{boundary}")
        assert cloud.live_machines() == [machine]
        assert orphans(cloud, of=TAGS["skerry:system"]) == set()
        cloud.end_all_machines()

    boundaries = kill_everywhere(cloud, a_machine, "ec2", folders, held)
    assert boundaries >= 6  # a look, image, subnet, group, the start, its state, its console
    one_machine_of(boundaries)


@pytest.mark.parametrize("held", ["hold", "hold_after"])
def test_an_image_whose_making_is_killed_at_every_call(cloud: AwsCloud, tmp_path: Path, held: str) -> None:
    """Of one proved snapshot, which stays as it is; an image that was made and not heard of is found by its name."""
    folder = tmp_path / f"image-{held.replace('_', '-')}"
    folder.mkdir()
    site = Site(cloud, folder)
    site.fill((0, os.urandom(MIB)), size=2 * MIB)
    (folder / "seeded").write_text(site.seed().model_dump_json())
    made: list[Path] = []

    def folders(boundary: int) -> Path:
        """Each has a name of its own for the image, and all the one snapshot."""
        made.append(folder / f"{folder.name}-{boundary}")
        made[-1].mkdir()
        for name in ("seeded", "disk.img"):
            (made[-1] / name).symlink_to(folder / name)
        return made[-1]

    boundaries = kill_everywhere(cloud, an_image, "ec2", folders, held)
    assert boundaries >= 3  # a look, the making, what is seen of it
    for each in made:
        images = cloud.client("ec2").describe_images(Filters=[{"Name": "name", "Values": [each.name]}])["Images"]
        there = [image["ImageId"] for image in images]
        assert orphans(cloud, of=Site(cloud, each).system) <= {"no machine starts from it now"}
        image = an_image(cloud, each)
        assert there in ([], [image])
        assert an_image(cloud, each) == image
    [snapshot] = site.snapshots()
    assert site.content_of(snapshot["SnapshotId"]) == site.path.read_bytes()


@pytest.mark.parametrize("held", ["hold", "hold_after"])
def test_a_switch_killed_at_every_call(cloud: AwsCloud, tmp_path: Path, held: str) -> None:
    """Clients are sent to the old side or to the new one, never to none, and the same switch ends it."""
    traffic, weighted = Route53Traffic(cloud.session()), FRONT.model_copy(update={"routing": "weighted"})
    traffic.switch(weighted, OLD, key="before")

    def folders(boundary: int) -> Path:
        if boundary:
            ended_by_the_same_switch(boundary - 1)
        return tmp_path / str(boundary)

    def ended_by_the_same_switch(boundary: int) -> None:
        found = traffic.current(weighted)
        assert found is not None
        assert found.address in (OLD, NEW)
        assert orphans(cloud, of=FRONT.name) == set()
        a_switch(cloud, tmp_path / str(boundary))
        assert cloud.answered_address(FRONT.name) == NEW
        assert cloud.weights(FRONT.name) == {OLD: 0, NEW: 100}
        traffic.switch(weighted, OLD, key=f"back-{boundary}")

    boundaries = kill_everywhere(cloud, a_switch, "route53", folders, held)
    assert boundaries >= 4  # the zone, the records, the change, whether it is in force
    assert cloud.answered_address(FRONT.name) == NEW
    cloud.forget_records()


def test_the_same_run_on_two_machines_makes_one_machine(cloud: AwsCloud, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as machines:
        made = {each.result() for each in [machines.submit(a_machine, cloud, tmp_path) for _ in range(2)]}
    assert cloud.live_machines() == list(made)
    found = [each.id for each in AwsThings(cloud.session(role="auditor")).all() if each.kind == "machine"]
    assert found == list(made)
    cloud.end_all_machines()
