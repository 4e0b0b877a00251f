"""A client that nobody here wrote reads what we wrote: the AWS CLI lists it and gives it back byte for byte."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.images import ImageFacts
from orchestrator.hosts.local import LocalTransport
from orchestrator.targets.aws.machines import AwsMachines
from orchestrator.targets.aws.traffic import Route53Traffic
from orchestrator.targets.s3.store import S3Store
from tests.fakes.aws_cloud import REGION, AwsCloud
from tests.laws.front_laws import FRONT
from tests.laws.target_laws import HOST, SPEC, TAGS
from tests.platform.test_aws_images import Site

pytestmark = [pytest.mark.platform("ssh"), pytest.mark.platform("awscli"), pytest.mark.timeout(300)]

MIB = 1 << 20
BUCKET = "skerry-cli"


class Cli:
    def __init__(self, cloud: AwsCloud) -> None:
        self._words = ["aws", "--endpoint-url", cloud.url, "--region", REGION, "--output", "json"]
        credentials = str(cloud.folder / "credentials")
        self._environment = {**os.environ, "AWS_SHARED_CREDENTIALS_FILE": credentials, "AWS_PAGER": ""}

    def __call__(self, *words: str) -> Any:
        done = subprocess.run(
            [*self._words, *words], capture_output=True, check=False, env=self._environment, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout) if done.stdout.strip().startswith(b"{") else {}


def test_snapshots_and_images_are_listed_and_read_back(cloud: AwsCloud, tmp_path: Path) -> None:
    cli, site = Cli(cloud), Site(cloud, tmp_path)
    site.fill((0, os.urandom(MIB)), (3 * MIB, b"end"), size=4 * MIB)
    seeded = site.seed()
    facts = ImageFacts(architecture="x86_64", boot_mode="uefi", partitions="gpt", file_system="ext")
    tags = {**TAGS, "skerry:system": site.system}
    image = site.images.register(seeded, facts, name=f"{site.system}-disk", tags=tags)
    [shown] = cli("ec2", "describe-snapshots", "--snapshot-ids", seeded.snapshot)["Snapshots"]
    assert (shown["State"], shown["VolumeSize"]) == ("completed", 1)
    assert {"Key": "skerry:digest", "Value": seeded.digest} in shown["Tags"]
    [made] = cli("ec2", "describe-images", "--image-ids", image.id)["Images"]
    assert (made["BootMode"], made["Architecture"]) == ("uefi", "x86_64")
    listed = cli("ebs", "list-snapshot-blocks", "--snapshot-id", seeded.snapshot)["Blocks"]
    content = bytearray(4 * MIB)
    for block in listed:
        place = tmp_path / "block"
        number = ["--block-index", str(block["BlockIndex"]), "--block-token", block["BlockToken"]]
        cli("ebs", "get-snapshot-block", "--snapshot-id", seeded.snapshot, *number, str(place))
        read = place.read_bytes()
        content[block["BlockIndex"] * len(read) : (block["BlockIndex"] + 1) * len(read)] = read
    assert hashlib.sha256(content).digest() == hashlib.sha256(site.path.read_bytes()).digest()


def test_objects_are_listed_and_copied_back(cloud: AwsCloud, tmp_path: Path) -> None:
    cli = Cli(cloud)
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "small").write_bytes(b"small")
    (folder / "large").write_bytes(os.urandom(17 * MIB))
    host = Site(cloud, tmp_path).host
    store = S3Store(cloud.session(role="replicator"), LocalTransport, BUCKET, "kept", tags=TAGS)
    store.store(host, str(folder))
    found = cli("s3api", "list-objects-v2", "--bucket", BUCKET)["Contents"]
    assert {each["Key"]: each["Size"] for each in found} == {"kept/large": 17 * MIB, "kept/small": 5}
    cli("s3", "sync", "--quiet", f"s3://{BUCKET}/kept", str(tmp_path / "back"))
    for name in ("small", "large"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    # And the other way: what the CLI wrote is compared by us, by checksum where it left one.
    head = cli("s3api", "head-object", "--bucket", BUCKET, "--key", "kept/large", "--checksum-mode", "ENABLED")
    assert head["ChecksumSHA256"].endswith("-3")
    for name in ("small", "large"):
        told = cli("s3api", "get-object-tagging", "--bucket", BUCKET, "--key", f"kept/{name}")["TagSet"]
        assert {each["Key"]: each["Value"] for each in told} == TAGS


def test_machines_and_names_are_listed(cloud: AwsCloud) -> None:
    cli = Cli(cloud)
    machine = AwsMachines(cloud.session(role="cutover")).ensure(HOST, SPEC, key="k", tags=TAGS)
    ours = cli("ec2", "describe-instances", "--filters", "Name=tag-key,Values=skerry:run")["Reservations"]
    [instance] = [each for reservation in ours for each in reservation["Instances"]]
    assert instance["InstanceId"] == machine.id
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    Route53Traffic(cloud.session(role="cutover")).switch(FRONT, "10.30.1.11", key="k")
    [zone] = cli("route53", "list-hosted-zones")["HostedZones"]
    records = cli("route53", "list-resource-record-sets", "--hosted-zone-id", zone["Id"])["ResourceRecordSets"]
    [record] = [each for each in records if each["Type"] == "A"]
    assert record["ResourceRecords"] == [{"Value": "10.30.1.11"}]
