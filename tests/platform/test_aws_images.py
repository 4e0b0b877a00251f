"""Disks seeded into EBS through the direct APIs, in the role that the shipped policy is for; and trouble on the way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.images import SeededVolume, SeedWish
from orchestrator.foundation.errors import (
    DataError,
    DigestMismatch,
    OrchestratorError,
    RunInProgress,
    TargetError,
    TargetForbidden,
    TargetUnreachable,
)
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.movers.host_programs.block_delta.leaves import Volume, leaf_size, root_digest
from orchestrator.planning.orphans import find_orphans
from orchestrator.targets.aws.images import BLOCK_BYTES, AwsImages, work_folder
from orchestrator.targets.aws.things import AwsThings
from tests.fakes.aws_cloud import AwsCloud
from tests.fakes.disk_images import a_disk

pytestmark = pytest.mark.platform("ssh")

DISK = BlockVolume(name="disk", path="/srv/machine/disk.img")
TAGS = {"skerry:system": "machine", "skerry:run": "run-1"}
MIB = 1 << 20


class Site:
    """The DR host with a disk of its own, and the cloud."""

    def __init__(self, cloud: AwsCloud, folder: Path) -> None:
        self.cloud = cloud
        self.host = Host(name="dr-a", site="dr", address="127.0.0.1", path_prefix=str(folder), become=False)
        self.path = folder / "disk.img"
        self.system = f"machine-{folder.name[-20:]}".replace("_", "-")
        self.images = self.images_as("replicator")
        self.tries = 0

    def images_as(self, role: str, **settings: Any) -> AwsImages:
        return AwsImages(self.cloud.session(role=role), LocalTransport, **settings)

    def fill(self, *pieces: tuple[int, bytes], size: int = 20 * MIB) -> None:
        with self.path.open("r+b" if self.path.exists() else "wb") as stream:
            stream.truncate(size)
            for offset, content in pieces:
                stream.seek(offset)
                stream.write(content)

    def digest(self) -> str:
        """block/v1 as the mover makes it: by other code than the seeding's."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            volume = Volume(descriptor, os.fstat(descriptor).st_size)
            digests = b"".join(
                b"".join(volume.digests(volume.read(leaf, 1))) for leaf in range(-(-volume.size // volume.leaf))
            )
            return root_digest(volume.size, leaf_size(volume.size), digests)
        finally:
            os.close(descriptor)

    def seed(self, *, key: str = "", images: AwsImages | None = None, expected: str = "") -> SeededVolume:
        self.tries += 1
        wish = SeedWish(
            volume=DISK,
            host=self.host,
            path=str(self.path),
            expected=expected or self.digest(),
            key=f"{self.system}/{key or self.tries}",
            tags={**TAGS, "skerry:system": self.system},
        )
        return (images or self.images).seed(wish)

    def snapshots(self) -> list[dict[str, Any]]:
        mine = [{"Name": "tag:skerry:system", "Values": [self.system]}]
        found: list[dict[str, Any]] = self.cloud.client("ec2").describe_snapshots(Filters=mine)["Snapshots"]
        return found

    def orphans(self) -> dict[str, str]:
        """What is left without use of this test's system, as `skerry cloud orphans` finds it."""
        things = [
            each
            for each in AwsThings(self.cloud.session(role="auditor")).all()
            if each.tags["skerry:system"] == self.system
        ]
        found = find_orphans(things, hosts=frozenset(), images=frozenset())
        return {each.thing.id: each.why for each in found}

    def content_of(self, snapshot: str) -> bytes:
        """What a client that nobody here wrote reads from the snapshot."""
        ebs = self.cloud.client("ebs")
        content = bytearray(self.path.stat().st_size)
        for block in ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]:
            start = block["BlockIndex"] * BLOCK_BYTES
            read = ebs.get_snapshot_block(SnapshotId=snapshot, **block)["BlockData"].read()
            content[start : start + BLOCK_BYTES] = read[: len(content) - start]
        return bytes(content)


@pytest.fixture
def site(cloud: AwsCloud, tmp_path: Path) -> Iterator[Site]:
    yield Site(cloud, tmp_path)
    cloud.heal()


class TestSeeding:
    def test_a_disk_is_in_the_cloud_as_it_is_here_and_holes_and_zeros_cost_nothing(self, site: Site) -> None:
        site.fill((0, os.urandom(3 * MIB)), (8 * MIB, bytes(4 * MIB)), (15 * MIB + 7, b"tail"), size=20 * MIB + 4097)
        seeded = site.seed()
        assert seeded.digest == site.digest()
        assert site.content_of(seeded.snapshot) == site.path.read_bytes()
        assert (seeded.blocks_sent, seeded.blocks_written, seeded.parent) == (7, 7, "")
        assert seeded.volume_bytes == 20 * MIB + 4097

    def test_the_next_one_moves_what_changed_alone(self, site: Site) -> None:
        site.fill((0, os.urandom(16 * MIB)))
        first = site.seed()
        site.fill((5 * MIB, b"changed"), (9 * MIB, bytes(BLOCK_BYTES)))  # one block with data, one that is empty now
        second = site.seed()
        assert (second.parent, second.blocks_sent, second.blocks_read) == (first.snapshot, 2, 2)
        assert (first.blocks_with_data, second.blocks_with_data) == (32, 31)
        assert second.bytes_wire <= 1.2 * 2 * BLOCK_BYTES
        assert site.content_of(second.snapshot) == site.path.read_bytes()
        third = site.seed()  # nothing changed
        assert (third.parent, third.blocks_sent, third.blocks_read) == (second.snapshot, 0, 0)
        assert third.digest == site.digest()
        [leaves] = Path(work_folder(DISK, site.host)).glob("*.leaves")
        leaves.unlink()
        fourth = site.seed()  # what was read back of the parent is forgotten: all of it is read
        assert (fourth.blocks_sent, fourth.blocks_read, fourth.digest) == (0, 32, site.digest())

    def test_a_difference_is_proved_by_what_the_cloud_says_differs(self, site: Site) -> None:
        """What was remembered of the parent is no proof of a child that the cloud holds otherwise."""
        site.fill((0, os.urandom(4 * MIB)))
        first = site.seed()
        site.fill((MIB, b"changed"))
        wrong = {"kind": "wrong_digest", "service": "ebs", "action": "GetSnapshotBlock"}
        site.cloud.put_faults(wrong)
        with pytest.raises(DataError, match="does not match the checksum"):
            site.seed(key="second")
        site.cloud.heal()
        with pytest.raises(DigestMismatch):
            site.seed(key="second", expected=first.digest)
        second = site.seed(key="second")
        assert (second.blocks_read, second.digest) == (1, site.digest())
        assert site.content_of(second.snapshot) == site.path.read_bytes()

    def test_a_disk_that_grew_and_one_that_became_shorter(self, site: Site) -> None:
        site.fill((0, os.urandom(6 * MIB)), size=8 * MIB)
        site.seed()
        site.fill((11 * MIB, os.urandom(MIB)), size=12 * MIB)
        grown = site.seed()
        assert (grown.blocks_sent, grown.digest) == (2, site.digest())
        site.fill(size=3 * MIB)
        shorter = site.seed()  # what the parent has beyond the end is overwritten with zeros
        assert shorter.digest == site.digest()

    def test_what_the_host_forgot_is_sent_whole(self, site: Site) -> None:
        site.fill((0, os.urandom(2 * MIB)))
        site.seed()
        for path in Path(work_folder(DISK, site.host)).glob("snap-*"):
            path.unlink()
        assert (site.seed().parent, site.tries) == ("", 2)

    def test_snapshots_are_encrypted_with_the_key_that_was_given(self, site: Site) -> None:
        key = site.cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
        images = site.images_as("replicator", kms_key=key)
        site.fill((0, os.urandom(MIB)))
        first = site.seed(images=images)
        site.fill((0, b"more"))
        second = site.seed(images=images)
        shown = site.cloud.client("ec2").describe_snapshots(SnapshotIds=[first.snapshot, second.snapshot])["Snapshots"]
        assert [(each["Encrypted"], each["KmsKeyId"]) for each in shown] == [(True, key), (True, key)]
        assert (first.kms_key, second.parent) == (key, first.snapshot)
        # Under another key there is no parent to build upon.
        other = site.cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
        assert site.seed(images=site.images_as("replicator", kms_key=other)).parent == ""

    def test_everything_carries_our_tags_and_the_proof(self, site: Site) -> None:
        site.fill((0, os.urandom(MIB)))
        seeded = site.seed()
        [snapshot] = site.snapshots()
        tags = {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}
        assert tags["skerry:run"] == "run-1"
        assert tags["skerry:dataset"] == "disk"
        assert tags["skerry:digest"] == seeded.digest
        assert tags["skerry:aggregate"] == seeded.aggregate


class TestTrouble:
    @pytest.mark.parametrize(
        "rule",
        [
            {"kind": "throttle", "service": "ebs", "probability": 0.5, "seed": 3},
            {"kind": "error", "service": "ebs", "probability": 0.4, "seed": 4},
            {"kind": "drop_before", "service": "ebs", "probability": 0.3, "seed": 5},
            {"kind": "drop_after", "service": "ebs", "probability": 0.3, "seed": 6},
        ],
        ids=lambda rule: rule["kind"],
    )
    def test_what_passes_is_passed_over(self, site: Site, rule: dict[str, Any]) -> None:
        site.fill((0, os.urandom(4 * MIB)))
        site.cloud.put_faults(rule)
        seeded = site.seed()
        site.cloud.heal()
        assert site.content_of(seeded.snapshot) == site.path.read_bytes()
        assert len(site.snapshots()) == 1
        assert site.orphans() == {}

    def test_what_does_not_pass_is_a_clean_error_and_the_next_try_goes_on(self, site: Site) -> None:
        site.fill((0, os.urandom(4 * MIB)))
        refuse = {"kind": "refuse", "service": "ebs", "action": "PutSnapshotBlock", "status": 403}
        site.cloud.put_faults({**refuse, "code": "AccessDeniedException", "probability": 0.3, "seed": 1})
        with pytest.raises(TargetForbidden, match="AccessDeniedException"):
            site.seed(key="k1")
        site.cloud.heal()
        assert list(site.orphans().values()) == ["never completed: pending"]
        again = site.seed(key="k1")
        assert site.orphans() == {}
        assert len(site.snapshots()) == 1
        assert again.blocks_written == 8
        assert again.blocks_sent < 8
        assert again.digest == site.digest()

    def test_a_pending_child_of_a_parent_that_the_host_forgot_is_sent_whole(self, site: Site) -> None:
        """Also what the parent holds and the disk no more."""
        site.fill((0, os.urandom(4 * MIB)), size=8 * MIB)
        parent = site.seed().snapshot
        site.fill((MIB, bytes(2 * MIB)), (5 * MIB, os.urandom(MIB)), size=8 * MIB)
        refuse = {"kind": "refuse", "service": "ebs", "action": "PutSnapshotBlock", "status": 403, "skip": 2}
        site.cloud.put_faults({**refuse, "code": "AccessDeniedException"})
        with pytest.raises(TargetForbidden):
            site.seed(key="k1")
        site.cloud.heal()
        (Path(work_folder(DISK, site.host)) / f"{parent}.blocks").unlink()
        again = site.seed(key="k1")
        assert (again.parent, again.digest) == (parent, site.digest())
        assert site.content_of(again.snapshot) == site.path.read_bytes()

    def test_keys_that_end_meanwhile_are_replaced(self, site: Site) -> None:
        site.fill((0, os.urandom(4 * MIB)))
        site.cloud.put_faults(
            {"kind": "refuse", "service": "ebs", "action": "PutSnapshotBlock", "code": "ExpiredTokenException"}
            | {"status": 403, "count": 1}
        )
        assert site.seed().digest == site.digest()
        assert site.orphans() == {}

    def test_a_snapshot_that_stays_pending_is_said_and_gone_on_with(self, site: Site) -> None:
        site.fill((0, os.urandom(MIB)))
        before = site.seed()
        site.fill((0, os.urandom(MIB)))
        impatient = site.images_as("replicator", pending_seconds_max=0.0)
        with pytest.raises(TargetError, match="is pending, not completed") as caught:
            site.seed(key="k1", images=impatient)
        assert "goes on" in caught.value.hint
        after = site.seed(key="k1")
        assert after.parent == before.snapshot
        assert len(site.snapshots()) == 2
        assert site.orphans() == {before.snapshot: "a newer one was proved"}

    def test_a_wrong_checksum_in_the_answer_is_no_proof(self, site: Site) -> None:
        site.fill((0, os.urandom(MIB)))
        site.cloud.put_faults({"kind": "wrong_digest", "service": "ebs", "action": "GetSnapshotBlock"})
        with pytest.raises(DataError, match="does not match the checksum"):
            site.seed(key="k1")
        site.cloud.heal()
        assert site.seed(key="k1").digest == site.digest()
        assert site.orphans() == {}

    def test_content_that_is_not_what_was_expected_is_used_by_nobody(self, site: Site) -> None:
        site.fill((0, os.urandom(MIB)))
        first = site.seed()
        kept = site.content_of(first.snapshot)
        site.fill((0, os.urandom(MIB)))
        with pytest.raises(DigestMismatch, match="reads back as"):
            site.seed(key="wrong", expected=first.digest)
        unproved = next(each for each in site.snapshots() if each["SnapshotId"] != first.snapshot)
        assert "skerry:digest" not in {tag["Key"] for tag in unproved["Tags"]}
        assert site.orphans() == {unproved["SnapshotId"]: "completed and never proved"}
        assert site.content_of(first.snapshot) == kept
        assert site.seed().parent == first.snapshot

    def test_a_host_that_cannot_reach_the_cloud(self, site: Site) -> None:
        site.fill((0, os.urandom(MIB)))
        session = site.cloud.session(role="replicator")
        session.settings = session.settings.model_copy(update={"endpoint_at_hosts": "http://127.0.0.1:9"})
        with pytest.raises(TargetUnreachable, match="Unreachable"):
            site.seed(key="k1", images=AwsImages(session, LocalTransport))
        assert site.seed(key="k1").digest == site.digest()
        assert site.orphans() == {}

    def test_killed_anywhere_it_goes_on_and_sends_little_twice(self, site: Site) -> None:
        site.fill((0, os.urandom(18 * MIB)))
        delay = {"kind": "delay", "service": "ebs", "action": "PutSnapshotBlock", "seconds": 2.0}
        site.cloud.put_faults(delay)
        with subprocess.Popen([sys.executable, "-c", SEEDING, *_words(site)], start_new_session=True) as process:
            journal = Path(work_folder(DISK, site.host))
            until = time.monotonic() + 60
            while not any(path.stat().st_size >= 8 * 36 for path in journal.glob("*.put")):
                assert time.monotonic() < until
                assert process.poll() is None
                time.sleep(0.05)
            with pytest.raises(RunInProgress):  # the same run, from a second machine
                site.seed(key="killed")
            os.killpg(process.pid, signal.SIGKILL)
        _await_free(site)
        site.cloud.heal()
        seeded = site.seed(key="killed")
        assert seeded.blocks_written == 36
        assert seeded.blocks_sent <= 36 - 8
        assert len(site.snapshots()) == 1
        assert site.content_of(seeded.snapshot) == site.path.read_bytes()


class TestImages:
    def test_a_disk_is_looked_into_and_becomes_an_image(self, site: Site) -> None:
        a_disk(site.path)
        facts = site.images.look(DISK, site.host, path=str(site.path))
        assert (facts.architecture, facts.boot_mode, facts.partitions) == ("x86_64", "legacy-bios", "mbr")
        assert {each.id: each.holds for each in facts.findings} == {
            "partitions": True,
            "fstab": True,
            "drivers": True,
            "initramfs": True,
            "cloud_init": True,
            "network": True,
        }
        seeded = site.seed()
        name = f"{site.system}-disk"
        image = site.images.register(seeded, facts, name=name, tags={**TAGS, "skerry:system": site.system})
        again = site.images.register(seeded, facts, name=name, tags={**TAGS, "skerry:system": site.system})
        assert again == image
        [shown] = site.cloud.client("ec2").describe_images(ImageIds=[image.id])["Images"]
        assert (shown["Architecture"], shown["BootMode"], shown["EnaSupport"]) == ("x86_64", "legacy-bios", True)
        assert {"Key": "skerry:run", "Value": "run-1"} in shown["Tags"]
        assert shown["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] == seeded.snapshot
        with pytest.raises(TargetForbidden, match="carry our tags"):
            site.images.register(seeded, facts, name="plain", tags=TAGS)

    def test_nothing_is_guessed_of_a_disk_that_does_not_tell(self, site: Site) -> None:
        site.fill((0, os.urandom(MIB)))
        facts = site.images.look(DISK, site.host, path=str(site.path))
        assert facts.architecture == ""
        assert {each.holds for each in facts.findings} == {None}
        with pytest.raises(DataError, match="architecture"):
            site.images.register(site.seed(), facts, name=f"{site.system}-x", tags=TAGS)

    def test_what_a_disk_lacks_is_named(self, site: Site) -> None:
        files = {
            "etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n",
            "etc/network/interfaces": "iface ens3 inet static\n address 10.1.1.1\n",
            "lib/modules/5.10.0/modules.dep": "kernel/nvme.ko:\n",
        }
        a_disk(site.path, files, partitioned=False)
        found = {each.id: each for each in site.images.look(DISK, site.host, path=str(site.path)).findings}
        assert found["fstab"].holds is False
        assert "/dev/sda1" in found["fstab"].said
        assert (found["drivers"].holds, "lacks ena" in found["drivers"].said) == (False, True)
        assert (found["cloud_init"].holds, found["network"].holds, found["partitions"].holds) == (False, False, None)


def test_a_drills_role_may_not_seed(site: Site) -> None:
    site.fill((0, os.urandom(MIB)))
    with pytest.raises(OrchestratorError, match="not authorized to perform: e"):
        site.seed(images=site.images_as("drill"))
    assert site.snapshots() == []


SEEDING = """
import sys
from pathlib import Path
from tests.fakes.aws_cloud import AwsCloud
from tests.platform.test_aws_images import Site
site = Site(AwsCloud(Path(sys.argv[1]), sys.argv[2]), Path(sys.argv[3]))
site.seed(key="killed")
"""


def _words(site: Site) -> list[str]:
    return [str(site.cloud.folder), site.cloud.url, site.host.path_prefix]


def _await_free(site: Site) -> None:
    """A killed controller leaves its program behind for as long as its host needs to see that."""
    lock = Path(work_folder(DISK, site.host)) / "lock"
    subprocess.run(["flock", "-w", "60", str(lock), "true"], check=True, stdin=subprocess.DEVNULL)
