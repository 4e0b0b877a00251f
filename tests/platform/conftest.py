"""A lab for tests that want real hosts: real SSH, real files, real processes, one per test session; and a cloud."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.hosts.ssh import open_transports
from orchestrator.lab.blueprint import LabHost
from orchestrator.lab.town import Town, open_town
from tests.fakes.aws_cloud import AwsCloud, running_cloud
from tests.platform.clusters import ClusterGround, make_ground

TOWN_HOSTS = (
    LabHost("onprem-a", "onprem", "10.10.1.11"),
    LabHost("dr-a", "dr", "10.20.1.11"),
    LabHost("cloud-a", "cloud", "10.30.1.11"),
)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """onprem-a, dr-a and cloud-a, up. Tests share them: leave a host as you found it, and use names of your own."""
    folder: Path = tmp_path_factory.mktemp("town") / "lab"
    lab = open_town(folder)
    lab.up(TOWN_HOSTS)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="module")
def cluster_on_hosts(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterGround]:
    """A PostgreSQL cluster's units and template on the hosts; `fresh` makes a primary of it, and clears the rest."""
    with open_transports(town.ssh_config, tmp_path_factory.mktemp("clusters"), None) as transports:
        made = make_ground(town, transports)
        made.prepare()
        yield made
        made.clear()


@pytest.fixture(scope="module")
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsCloud]:
    """A strict cloud without hosts; the bucket that the module calls BUCKET is there."""
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        if bucket := getattr(request.module, "BUCKET", ""):
            where = {"LocationConstraint": cloud.region}
            cloud.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        yield cloud
