"""The same run twice: killed at every boundary and made again, and made on two machines at once.

kill -9 at every boundary: before each call to the cloud took effect, and after it did and nobody heard. The
cloud holds one call of a run, the run and its program on the host are killed, and the same run is made again. Then
the next call is held, until a run ends without any call being held: so every call of it has been a boundary.
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

from orchestrator.hosts.local import LocalTransport
from orchestrator.model.host import Host
from orchestrator.targets.aws.images import work_folder
from orchestrator.targets.aws.machines import AwsMachines
from orchestrator.targets.aws.things import AwsThings
from orchestrator.targets.s3.store import S3Store
from tests.fakes.aws_cloud import AwsCloud
from tests.laws.target_laws import HOST, SPEC, TAGS
from tests.platform.test_aws_images import DISK, MIB, Site

pytestmark = pytest.mark.platform("ssh")
BUCKET = "skerry-kills"
Deed = Callable[[AwsCloud, Path], Any]
BOUNDARIES_MAX = 60


def a_seeding(cloud: AwsCloud, folder: Path) -> None:
    Site(cloud, folder).seed(key="killed")


def a_store(cloud: AwsCloud, folder: Path) -> None:
    host = Host(name="dr-a", site="dr", address="127.0.0.1", path_prefix=str(folder / "host"), become=False)
    store = S3Store(cloud.session(role="replicator"), LocalTransport, BUCKET, folder.name)
    store.store(host, str(folder / "documents"))


def a_machine(cloud: AwsCloud, folder: Path) -> str:
    tags = {**TAGS, "skerry:run": folder.name}
    return AwsMachines(cloud.session(role="cutover")).ensure(HOST, SPEC, key=folder.name, tags=tags).id


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
    made: list[Path] = []

    def folders(boundary: int) -> Path:
        made.append(tmp_path / f"seed-{held.replace('_', '-')}-{boundary}")
        made[-1].mkdir()
        Site(cloud, made[-1]).fill((0, os.urandom(MIB)), size=4 * MIB)
        return made[-1]

    boundaries = kill_everywhere(cloud, a_seeding, "e*", folders, held)
    assert boundaries >= 10  # a start, two blocks, a completion, their reading, and what surrounds them
    for folder in made:
        site = Site(cloud, folder)
        await_free(Path(work_folder(DISK, site.host)))
        seeded = site.seed(key="killed")
        assert seeded.digest == site.digest()
        assert site.content_of(seeded.snapshot) == site.path.read_bytes()
        assert len(site.snapshots()) == 1
        assert site.orphans() == {}


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

    boundaries = kill_everywhere(cloud, a_store, "s3", folders, held)
    assert boundaries >= 7  # a listing, a begin, two parts, a completion, a look, a file in one piece
    s3 = cloud.client("s3")
    for folder in made:
        await_free(folder / "host")
        a_store(cloud, folder)
        for name in ("large", "small"):
            found = s3.get_object(Bucket=BUCKET, Key=f"{folder.name}/{name}")["Body"].read()
            assert found == (folder / "documents" / name).read_bytes()
        assert s3.list_multipart_uploads(Bucket=BUCKET, Prefix=folder.name).get("Uploads", []) == []


@pytest.mark.parametrize("held", ["hold", "hold_after"])
def test_a_machine_whose_making_is_killed_at_every_call(cloud: AwsCloud, tmp_path: Path, held: str) -> None:
    """One machine at a time has the address, so each is looked at, and ended, before the next."""

    def folders(boundary: int) -> Path:
        if boundary:
            one_machine_of(boundary - 1)
        return tmp_path / f"{held}-{boundary}"

    def one_machine_of(boundary: int) -> None:
        machine = a_machine(cloud, tmp_path / f"{held}-{boundary}")
        assert cloud.live_machines() == [machine]
        cloud.end_all_machines()

    boundaries = kill_everywhere(cloud, a_machine, "ec2", folders, held)
    assert boundaries >= 6  # a look, image, subnet, group, the start, its state, its console
    one_machine_of(boundaries)


def test_the_same_run_on_two_machines_makes_one_machine(cloud: AwsCloud, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as machines:
        made = {each.result() for each in [machines.submit(a_machine, cloud, tmp_path) for _ in range(2)]}
    assert cloud.live_machines() == list(made)
    found = [each.id for each in AwsThings(cloud.session(role="auditor")).all() if each.kind == "machine"]
    assert found == list(made)
    cloud.end_all_machines()
