"""Every trouble on the way to the cloud, by name, and every deed that meets it: seeding, storing, starting a machine.

Each time: it passes, or ends with a clean error; what it left is what `skerry cloud orphans` names, and nothing else;
the same deed again, once all is well, goes on and leaves nothing; and the last verified copy is as it was.
"""

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.foundation.errors import (
    DataError,
    OrchestratorError,
    RunInProgress,
    TargetError,
    TargetForbidden,
    TargetThrottled,
    TargetUnreachable,
)
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.host import Host
from orchestrator.planning.orphans import find_orphans
from orchestrator.targets.aws.machines import AwsMachines
from orchestrator.targets.aws.session import ATTEMPTS_MAX
from orchestrator.targets.aws.things import AwsThings
from orchestrator.targets.s3.store import S3Store
from tests.fakes.aws_cloud import AwsCloud
from tests.fakes.disk_images import a_disk
from tests.laws.target_laws import HOST, SPEC, TAGS
from tests.platform.test_aws_images import DISK, MIB, Site

pytestmark = [pytest.mark.platform("ssh"), pytest.mark.timeout(300)]
BUCKET = "skerry-trouble"
MAY_BE_LEFT = {
    "never completed: pending",
    "never completed: error",
    "completed and never proved",
    "begun and not completed: the same store goes on with it",
}
NEWER = "a newer one was proved"
PASSES_OR_COMES_AGAIN = (
    type(None),
    TargetThrottled,
    TargetUnreachable,
)  # half of all calls: now and then eight in a row


class Deed(ABC):
    """One deed, with a copy that was verified before it."""

    services: str  # whose calls meet trouble
    sending: str  # the call that carries what is sent

    def __init__(self, cloud: AwsCloud, folder: Path) -> None:
        self.cloud = cloud

    @abstractmethod
    def do(self, *, impatient: bool = False) -> None: ...

    @abstractmethod
    def is_right(self) -> None:
        """What the deed was to bring is there."""

    @abstractmethod
    def kept(self) -> None:
        """The copy that was verified before the deed is as it was."""

    @abstractmethod
    def orphans(self) -> dict[str, str]:
        """Of this deed alone, as `skerry cloud orphans` finds them."""

    def end(self) -> None:
        self.cloud.heal()


class Seeding(Deed):
    services, sending = "e*", "PutSnapshotBlock"

    def __init__(self, cloud: AwsCloud, folder: Path) -> None:
        super().__init__(cloud, folder)
        self.site = Site(cloud, folder)
        self.site.fill((0, os.urandom(4 * MIB)), size=6 * MIB)
        self.before, self.held = self.site.seed(key="before").snapshot, self.site.path.read_bytes()
        self.site.fill((MIB, os.urandom(2 * MIB)), size=6 * MIB)

    def do(self, *, impatient: bool = False) -> None:
        images = self.site.images_as("replicator", pending_seconds_max=0.0) if impatient else None
        self.newest = self.site.seed(key="now", images=images)

    def is_right(self) -> None:
        assert self.newest.parent == self.before
        assert self.newest.blocks_written in (0, 4)  # none where an earlier try had brought them all
        assert self.site.content_of(self.newest.snapshot) == self.site.path.read_bytes()

    def kept(self) -> None:
        assert self.site.content_of(self.before) == self.held

    def orphans(self) -> dict[str, str]:
        return {thing: why for thing, why in self.site.orphans().items() if (thing, why) != (self.before, NEWER)}


class Storing(Deed):
    services, sending = "s3", "PutObject"

    def __init__(self, cloud: AwsCloud, folder: Path) -> None:
        super().__init__(cloud, folder)
        self.folder, self.prefix = folder / "documents", folder.name
        self.folder.mkdir()
        self.host = Host(name="dr-a", site="dr", address="127.0.0.1", path_prefix=str(folder / "host"), become=False)
        self.write("small", b"first")
        self.store("before")
        self.write("large", os.urandom(17 * MIB))

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def store(self, below: str) -> None:
        session = self.cloud.session(role="replicator")
        place = f"{self.prefix}/{below}"
        S3Store(session, LocalTransport, BUCKET, place, tags=TAGS).store(self.host, str(self.folder))

    def do(self, *, impatient: bool = False) -> None:
        self.store("now")

    def is_right(self) -> None:
        s3 = self.cloud.client("s3")
        for name in ("small", "large"):
            found = s3.get_object(Bucket=BUCKET, Key=f"{self.prefix}/now/{name}")["Body"].read()
            assert found == (self.folder / name).read_bytes()

    def kept(self) -> None:
        found = self.cloud.client("s3").get_object(Bucket=BUCKET, Key=f"{self.prefix}/before/small")
        assert found["Body"].read() == b"first"

    def orphans(self) -> dict[str, str]:
        things = AwsThings(self.cloud.session(role="auditor"), buckets=[BUCKET]).all()
        found = find_orphans(things, hosts=frozenset(), images=frozenset())
        return {each.thing.id: each.why for each in found if f"/{self.prefix}/" in each.thing.id}


class Starting(Deed):
    services, sending = "ec2", "RunInstances"

    def __init__(self, cloud: AwsCloud, folder: Path) -> None:
        super().__init__(cloud, folder)
        self.site = Site(cloud, folder)
        self.site.fill((0, b"a disk of its system"), size=MIB)
        self.before = self.site.seed(key="before")
        self.tags = {"skerry:system": self.site.system, "skerry:run": "run-1"}
        self.machines: list[str] = []

    def do(self, *, impatient: bool = False) -> None:
        session = self.cloud.session(role="cutover", attempts_max=2 if impatient else ATTEMPTS_MAX)
        self.machines.append(AwsMachines(session).ensure(HOST, SPEC, key=self.tags["skerry:system"], tags=self.tags).id)

    def is_right(self) -> None:
        assert self.cloud.live_machines() == list(dict.fromkeys(self.machines))
        assert len(set(self.machines)) == 1

    def kept(self) -> None:
        found = self.site.snapshots()
        assert [each["SnapshotId"] for each in found] == [self.before.snapshot]
        assert self.site.content_of(self.before.snapshot) == self.site.path.read_bytes()

    def orphans(self) -> dict[str, str]:
        """The estate names the host: anything besides its one machine is too much."""
        mine = [each for each in AwsThings(self.cloud.session(role="auditor")).all()
                if each.tags.get("skerry:system") == self.tags["skerry:system"]]  # fmt: skip
        assert len([each for each in mine if each.kind == "machine"]) <= 1
        return {
            each.thing.id: each.why for each in find_orphans(mine, hosts=frozenset([HOST.name]), images=frozenset())
        }

    def end(self) -> None:
        super().end()
        self.cloud.end_all_machines()


@dataclass(frozen=True)
class Trouble:
    """What the cloud does to a deed, and how that may end."""

    name: str
    deeds: tuple[type[Deed], ...] = (Seeding, Storing, Starting)
    rule: dict[str, Any] = field(default_factory=dict)
    ends: tuple[type[Any], ...] = (type(None),)
    impatient: bool = False

    def rules(self, deed: type[Deed]) -> dict[str, Any]:
        action = {"action": deed.sending} if self.rule.get("action") == "sending" else {}
        return {"service": deed.services, **self.rule, **action}


def refused(code: str, status: int, **more: Any) -> dict[str, Any]:
    return {"kind": "refuse", "action": "sending", "code": code, "status": status, **more}


TROUBLES = [
    Trouble("half_of_all_calls_throttled", rule={"kind": "throttle", "probability": 0.5}, ends=PASSES_OR_COMES_AGAIN),
    Trouble("a_burst_of_server_errors", rule={"kind": "error", "skip": 1, "count": 4}),
    Trouble("connections_break_before", rule={"kind": "drop_before", "probability": 0.3}, ends=PASSES_OR_COMES_AGAIN),
    Trouble("connections_break_after", rule={"kind": "drop_after", "probability": 0.3}, ends=PASSES_OR_COMES_AGAIN),
    Trouble("keys_end_meanwhile", (Seeding,), refused("ExpiredTokenException", 403, skip=1, count=1)),
    Trouble("keys_end_meanwhile", (Storing,), refused("ExpiredToken", 400, skip=1, count=1)),
    Trouble("keys_end_meanwhile", (Starting,), refused("RequestExpired", 400, count=1), (TargetForbidden,)),
    Trouble("a_wrong_checksum_is_answered", (Seeding,), {"kind": "wrong_digest", "action": "Get*"}, (DataError,)),
    Trouble("a_wrong_checksum_is_answered", (Storing,), {"kind": "wrong_digest", "action": "Get*"}, (DataError,)),
    Trouble("a_snapshot_stays_pending", (Seeding,), ends=(TargetError,), impatient=True),
    Trouble("no_capacity", (Starting,), refused("InsufficientInstanceCapacity", 500), (TargetError,), impatient=True),
    Trouble("a_quota_is_reached", (Starting,), refused("VcpuLimitExceeded", 400), (TargetForbidden,)),
    Trouble(
        "a_quota_is_reached",
        (Seeding,),
        {"kind": "refuse", "action": "StartSnapshot", "code": "ServiceQuotaExceededException", "status": 402},
        (TargetError,),
    ),
    Trouble("no_permission", (Seeding,), refused("AccessDeniedException", 403, skip=2), (TargetForbidden,)),
    Trouble("no_permission", (Storing,), refused("AccessDenied", 403, skip=2), (TargetForbidden,)),
    Trouble("no_permission", (Starting,), refused("UnauthorizedOperation", 403), (TargetForbidden,)),
]
MEETINGS = [(trouble, deed) for trouble in TROUBLES for deed in trouble.deeds]


@pytest.mark.parametrize(
    ("trouble", "kind"), MEETINGS, ids=[f"{trouble.name}-{deed.__name__}" for trouble, deed in MEETINGS]
)
def test_it_passes_or_ends_clean_and_goes_on(
    cloud: AwsCloud, tmp_path: Path, trouble: Trouble, kind: type[Deed]
) -> None:
    deed = kind(cloud, tmp_path)
    try:
        if trouble.rule:
            cloud.put_faults(trouble.rules(kind))
        ended: OrchestratorError | None = None
        try:
            deed.do(impatient=trouble.impatient)
        except OrchestratorError as error:
            ended = error
        met = sum(rule["hits"] for rule in cloud.faults())
        cloud.heal()
        assert isinstance(ended, trouble.ends)
        assert met or not trouble.rule
        assert set(deed.orphans().values()) <= (MAY_BE_LEFT if ended else set())
        deed.kept()
        deed.do()
        assert deed.orphans() == {}
        deed.is_right()
        deed.kept()
    finally:
        deed.end()


@pytest.mark.parametrize("kind", [Seeding, Storing, Starting])
def test_the_same_run_on_two_machines(cloud: AwsCloud, tmp_path: Path, kind: type[Deed]) -> None:
    deed = kind(cloud, tmp_path)
    try:
        with ThreadPoolExecutor(2) as machines:
            ends = [each.exception() for each in [machines.submit(deed.do) for _ in range(2)]]
        assert [each for each in ends if not isinstance(each, (type(None), RunInProgress, TargetError))] == []
        assert None in ends
        deed.do()
        assert deed.orphans() == {}
        deed.is_right()
        deed.kept()
    finally:
        deed.end()


def test_a_snapshot_that_aws_gives_up_is_followed_by_another(cloud: AwsCloud, tmp_path: Path) -> None:
    """What nothing came for in time is an error for good: it is named as left, and the next one takes its place."""
    deed = Seeding(cloud, tmp_path)
    cloud.put_faults({"service": "ebs", **refused("AccessDeniedException", 403, skip=2), "action": "PutSnapshotBlock"})
    with pytest.raises(TargetForbidden):
        deed.do()
    cloud.heal()
    cloud.give_up_pending()
    assert list(deed.orphans().values()) == ["never completed: error"]
    deed.kept()
    deed.do()
    deed.is_right()
    assert list(deed.orphans().values()) == ["never completed: error"]
    deed.kept()


def test_a_snapshot_with_our_name_and_without_our_tag_is_left_alone(cloud: AwsCloud, tmp_path: Path) -> None:
    deed = Seeding(cloud, tmp_path)
    ours = {tag["Key"]: tag["Value"] for tag in deed.site.snapshots()[0]["Tags"]}
    named = [{"Key": "Name", "Value": ours["Name"]}]
    foreign = cloud.client("ebs").start_snapshot(VolumeSize=1, Tags=named)["SnapshotId"]
    deed.do()
    deed.is_right()
    deed.kept()
    assert deed.orphans() == {}
    [found] = cloud.client("ec2").describe_snapshots(SnapshotIds=[foreign])["Snapshots"]
    assert (found["State"], found["Tags"]) == ("pending", named)


def test_an_object_with_our_name_and_other_content_is_not_replaced(cloud: AwsCloud, tmp_path: Path) -> None:
    deed = Storing(cloud, tmp_path)
    key = f"{deed.prefix}/now/large"
    cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"theirs")
    with pytest.raises(DataError, match="other content"):
        deed.do()
    assert cloud.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"theirs"
    assert deed.orphans() == {}
    deed.kept()


def test_a_machine_with_our_name_and_without_our_tag_is_left_alone(cloud: AwsCloud, tmp_path: Path) -> None:
    deed = Starting(cloud, tmp_path)
    foreign = cloud.foreign_machine(HOST.name, HOST.address)
    with pytest.raises(TargetError, match=r"InvalidIPAddress\.InUse"):
        deed.do()
    assert cloud.live_machines() == [foreign]
    assert deed.orphans() == {}
    deed.kept()
    deed.end()


def test_what_ec2_shows_late_is_waited_for(cloud: AwsCloud, tmp_path: Path) -> None:
    """A parent that was proved a moment ago is found, and a machine starts from an image of that moment."""
    site = Site(cloud, tmp_path)
    a_disk(site.path)
    cloud.new_for(0.7)
    try:
        first = site.seed()
        site.fill((0, b"changed"), size=site.path.stat().st_size)
        second = site.seed()
        assert (second.parent, second.blocks_sent) == (first.snapshot, 1)
        facts = site.images.look(DISK, site.host, path=str(site.path))
        tags = {"skerry:system": site.system, "skerry:run": "run-1"}
        image = site.images.register(second, facts, name=f"{site.system}-late", tags=tags)
        again = site.images.register(second, facts, name=f"{site.system}-late", tags=tags)
        assert again == image
        machines = AwsMachines(cloud.session(role="cutover"))
        wanted = SPEC.model_copy(update={"image": image.id})
        machine = machines.ensure(HOST, wanted, key=site.system, tags=tags)
        assert machines.ensure(HOST, wanted, key=site.system, tags=tags) == machine
        machines.terminate(machine.id)
    finally:
        cloud.new_for(0.1)
