"""The vault on real hosts: restic at DR into a bucket under Object Lock of the strict cloud, proved by restoring."""

import configparser
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from orchestrator.foundation.clock import SystemClock, timestamp
from orchestrator.foundation.errors import DataError, DigestMismatch, OrchestratorError, TargetError, TargetForbidden
from orchestrator.hosts.ssh import open_transports
from orchestrator.lab.cloud import launch
from orchestrator.model.dataset import FileTree
from orchestrator.model.inventory import Inventory, ResidencyRule
from orchestrator.model.recovery_point import HeldDataset, RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import System
from orchestrator.model.vault import VaultSettings
from orchestrator.movers.postgres.mover import PostgresMover
from orchestrator.movers.tree_digests import tree_digest
from orchestrator.movers.vault.restic import ResticRepository
from orchestrator.operations.vault import Vault, copies, places_of, recovery_point
from orchestrator.snapshots.stores import HostPointStores
from orchestrator.targets.s3.vault_bucket import S3VaultBucket
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.recorder import FakeRecorder
from tests.platform.clusters import FOLDER, make_ground

pytestmark = pytest.mark.platform("hosts", "restic")
REGION = "eu-central-1"
TREE = FileTree(name="documents", path="/srv/vaulted/documents", changes="replaced")
PASSWORD = "correct horse: 'battery' \\ staple"
POINT = "rp-1"


@pytest.fixture(scope="module")
def transports(town, tmp_path_factory):
    with open_transports(town.ssh_config, tmp_path_factory.mktemp("run"), None) as opened:
        yield opened


@pytest.fixture(scope="module")
def keys(town):
    """The access key of the lab's cloud; the cloud runs, reached from here and from the hosts."""
    launch.start_in_town(town, region=REGION)
    written = configparser.ConfigParser()
    written.read(town.folder / "cloud" / "credentials")
    return {
        "access_key": written["default"]["aws_access_key_id"],
        "secret_key": written["default"]["aws_secret_access_key"],
        "password": PASSWORD,
    }


@pytest.fixture(scope="module")
def endpoint(town, keys):
    return (town.folder / "cloud" / "endpoint").read_text().strip()


@pytest.fixture(scope="module")
def s3(endpoint, keys):
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=keys["access_key"],
        aws_secret_access_key=keys["secret_key"],
        config=Config(s3={"addressing_style": "path"}),
    )


def make_bucket(s3, name, *, days=30, mode="COMPLIANCE", lock=True):
    where = {"LocationConstraint": REGION}
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=where, ObjectLockEnabledForBucket=lock)
    if lock and days:
        rule = {"DefaultRetention": {"Mode": mode, "Days": days}}
        wish = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=wish)


def system_of(host):
    placement = {"host": host}
    return System.model_validate(
        {
            "name": "archive",
            "owner": "ana",
            "data_classes": ["tax-records"],
            "objectives": {"rto": 60, "rpo": 60, "mtpd": 600},
            "placements": {"source": placement, "dr": placement, "cloud": placement},
            "datasets": [TREE.model_dump()],
            "front": {"kind": "route53", "name": "archive.skerry.test", "zone": "skerry.test"},
        }
    )


def write_tree(top: Path):
    """What trees hold beside plain files."""
    (top / "deep" / "er").mkdir(parents=True)
    (top / "empty").mkdir(mode=0o710)
    (top / "letter\nwith a line break").write_bytes(b"dear reader")
    (top / "-dash").write_bytes(b"x" * 300_000)
    (top / "deep" / "er" / b"\xff\xfe".decode("utf-8", "surrogateescape")).write_bytes(b"no text")
    (top / "hard").hardlink_to(top / "-dash")
    (top / "soft").symlink_to("no/where")
    (top / "tool").write_bytes(b"#!/bin/sh\n")
    (top / "tool").chmod(0o4755)
    for number in range(40):
        (top / "deep" / f"file-{number}").write_bytes(f"content {number}".encode() * 500)
    with (top / "holes").open("wb") as stream:
        stream.truncate(4 << 20)


@pytest.fixture
def vault(town, transports, keys, endpoint, s3, request):
    """A vault of its own for each test, and a recovery point that DR holds."""
    host = town.hosts()["dr-a"]
    name = "vault-" + str(abs(hash(request.node.name)) % 10**9)
    make_bucket(s3, name)
    settings = VaultSettings(
        bucket=name, region=REGION, access_key="env:A", secret_key="env:S", password="env:P", locked_days=30
    )
    top = town.path_on_machine("dr-a", TREE.path)
    top.mkdir(parents=True)
    write_tree(top)
    points = HostPointStores(transports, SystemClock())
    held = points(TREE, host).take(POINT)
    digest = tree_digest(transports(host), held.path, TREE.name).digest
    catalogue = MemoryCatalogue()
    point = RecoveryPoint(
        id=POINT,
        system="archive",
        at=timestamp(SystemClock().now()),
        consistency="group_app",
        datasets=(HeldDataset(dataset=TREE.name, digest=digest, mark=POINT),),
        sides=(Side.SOURCE, Side.DR),
    )
    catalogue.put("recovery_point", f"archive/{POINT}", point.model_dump(mode="json"))
    made = Vault(
        inventory=Inventory(
            sites={},
            hosts={host.name: host},
            systems={"archive": system_of(host.name)},
            residency=(ResidencyRule(data_class="tax-records", regions=(REGION,)),),
            digest="sha256:" + "0" * 64,
        ),
        settings=settings,
        repository=repository(town, transports, name, keys.__getitem__),
        bucket=S3VaultBucket(name, "skerry", region=REGION, endpoint=endpoint, secrets=keys.__getitem__),
        points=points,
        digest_of_tree=lambda host, path, dataset: tree_digest(transports(host), path, dataset),
        databases=PostgresMover(transports, lambda reference: ""),
        catalogue=catalogue,
        clock=SystemClock(),
        recorder=FakeRecorder(),
        by="ben",
    )
    yield made
    words = ["sh", "-c", 'chmod -R u+w "$1" 2>/dev/null; rm -rf -- "$1"', "clear", host.path("/srv/vaulted")]
    transports(host).run(words, user="root" if host.become else None)


def repository(town, transports, bucket, secrets):
    inside = f"http://{town.controller_address}:{launch.API_PORT}"
    return ResticRepository(transports, endpoint=inside, bucket=bucket, prefix="skerry", region=REGION, secrets=secrets)


def told(vault, kind):
    return [event for event in vault.recorder.recorded if event.type == kind]


def objects(s3, vault):
    versions = s3.list_object_versions(Bucket=vault.settings.bucket).get("Versions", [])
    return [each for each in versions if each["IsLatest"]]


def test_a_copy_is_locked_listed_verified_by_restoring_and_restored(town, vault, s3, transports):
    copy = vault.copy("archive")
    assert copy.removal_refused.startswith("AccessDenied")
    assert (copy.verified_at, copies(vault.catalogue)) == ("", [copy])
    point = recovery_point(vault.catalogue, "archive", None)
    assert places_of(point, copies(vault.catalogue)) == ["source", "dr", f"vault:{copy.id}"]

    kept = [each for each in objects(s3, vault) if not each["Key"].startswith("skerry/locks/")]
    assert copy.objects_locked == len([each for each in kept if each["Key"].startswith("skerry/")])
    for each in kept:
        version = {"Bucket": vault.settings.bucket, "Key": each["Key"], "VersionId": each["VersionId"]}
        lock = s3.get_object_retention(**version)["Retention"]
        assert (lock["Mode"], timestamp(lock["RetainUntilDate"])[:16] >= copy.locked_until[:16]) == ("COMPLIANCE", True)
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(**version)

    verified = vault.verify(copy.id)
    assert verified.verified_at
    assert verified.verified_on == "dr-a"
    assert copies(vault.catalogue) == [verified]
    assert told(vault, "vault.verify_finished")[0].data["digests"] == {"documents": copy.datasets[0].digest}
    # The scratch folder is gone, and the point is held by nobody.
    beside = town.path_on_machine("dr-a", "/srv/vaulted")
    assert [path.name for path in beside.iterdir() if "vault-" in path.name] == []
    assert vault.points(TREE, vault.inventory.hosts["dr-a"]).find(POINT).holds == ()

    paths = vault.restore(copy.id, "/srv/vaulted/back")
    restored = tree_digest(transports(vault.inventory.hosts["dr-a"]), paths["documents"], "documents")
    assert restored.digest == copy.datasets[0].digest
    with pytest.raises(OrchestratorError, match="is not empty"):
        vault.restore(copy.id, "/srv/vaulted/back")


def test_nothing_of_the_content_and_no_name_lies_in_the_bucket_as_it_is(vault, s3):
    vault.copy("archive")
    bodies = [
        s3.get_object(Bucket=vault.settings.bucket, Key=each["Key"])["Body"].read() for each in objects(s3, vault)
    ]
    for plain in (b"dear reader", b"content 7content 7", b"letter", b"documents"):
        assert not any(plain in body for body in bodies)
    assert not any("documents" in each["Key"] for each in objects(s3, vault))


def test_secrets_are_in_no_word_no_environment_and_no_file_of_any_process(town, vault, keys):
    seen: list[str] = []
    stop = threading.Event()

    def look():
        while not stop.is_set():
            text = ""
            for entry in Path("/proc").iterdir():
                for name in ("cmdline", "environ") if entry.name.isdigit() else ():
                    try:
                        text += (entry / name).read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    except OSError:
                        continue
            seen.append(text)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        copy = vault.copy("archive")
    finally:
        stop.set()
        watcher.join()
    assert any("RESTIC_PASSWORD_FILE=/proc/self/fd/" in text for text in seen)
    for secret in (PASSWORD, keys["secret_key"]):
        assert not any(secret in text for text in seen)
        assert secret not in copy.model_dump_json()
        assert secret not in json.dumps(vault.recorder.entries)


def test_a_second_copy_sends_only_what_is_new_and_locks_the_old_for_longer(vault, s3):
    first = vault.copy("archive")
    before = {each["Key"]: each["VersionId"] for each in objects(s3, vault)}
    longer = replace(vault, settings=vault.settings.model_copy(update={"locked_days": 60}))
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 60}}
    s3.put_object_lock_configuration(
        Bucket=vault.settings.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    second = longer.copy("archive")
    after = {each["Key"]: each["VersionId"] for each in objects(s3, vault)}
    assert {key: after[key] for key in before if "/locks/" not in key} == {
        key: version for key, version in before.items() if "/locks/" not in key
    }
    data = [key for key in before if key.startswith("skerry/data/")]
    assert data == [key for key in after if key.startswith("skerry/data/") and key in before]
    for key in data:
        lock = s3.get_object_retention(Bucket=vault.settings.bucket, Key=key, VersionId=before[key])["Retention"]
        assert timestamp(lock["RetainUntilDate"]) >= second.locked_until[:19] > first.locked_until


def test_a_bucket_that_does_not_lock_by_itself_is_refused_before_the_first_byte(vault, s3, keys, endpoint):
    make_bucket(s3, f"{vault.settings.bucket}-plain", lock=False)
    make_bucket(s3, f"{vault.settings.bucket}-idle", days=0)
    make_bucket(s3, f"{vault.settings.bucket}-short", days=29)
    make_bucket(s3, f"{vault.settings.bucket}-soft", mode="GOVERNANCE")
    for name, said in (
        ("plain", "has no Object Lock"),
        ("idle", "locks by default: nothing"),
        ("short", "COMPLIANCE for 29 days"),
        ("soft", "GOVERNANCE for 30 days"),
        ("missing", "NoSuchBucket"),
    ):
        bucket = f"{vault.settings.bucket}-{name}"
        other = S3VaultBucket(bucket, "skerry", region=REGION, endpoint=endpoint, secrets=keys.__getitem__)
        with pytest.raises(TargetError, match=said):
            replace(vault, bucket=other).copy("archive")
    assert objects(s3, vault) == []
    assert copies(vault.catalogue) == []
    assert len(told(vault, "vault.copy_failed")) == 5


def test_another_password_neither_reads_nor_makes_a_second_repository(town, transports, vault, keys, s3):
    vault.copy("archive")
    wrong = {**keys, "password": "wrong"}
    other = replace(vault, repository=repository(town, transports, vault.settings.bucket, wrong.__getitem__))
    with pytest.raises(TargetForbidden, match="password"):
        other.copy("archive")
    assert len([each for each in objects(s3, vault) if each["Key"].startswith("skerry/keys/")]) == 1


def test_a_copy_that_was_covered_with_other_bytes_does_not_verify(vault, s3):
    """Under the lock nothing is removed; somebody may still put a newer version over it."""
    copy = vault.copy("archive")
    packs = [each["Key"] for each in objects(s3, vault) if each["Key"].startswith("skerry/data/")]
    for key in packs:
        body = s3.get_object(Bucket=vault.settings.bucket, Key=key)["Body"].read()
        broken = body[:100] + bytes([body[100] ^ 1]) + body[101:]
        s3.put_object(Bucket=vault.settings.bucket, Key=key, Body=broken, ChecksumAlgorithm="SHA256")
    with pytest.raises(OrchestratorError):
        vault.verify(copy.id)
    assert copies(vault.catalogue)[0].verified_at == ""
    assert told(vault, "vault.verify_failed")


def test_a_copy_whose_digest_is_not_the_points_does_not_verify(vault):
    copy = vault.copy("archive")
    wrong = copy.datasets[0].model_copy(update={"digest": "sha256:" + "1" * 64})
    changed = copy.model_copy(update={"datasets": (wrong,)})
    vault.catalogue.put("vault_copy", f"archive/{POINT}/{copy.id}", changed.model_dump(mode="json"))
    with pytest.raises(DigestMismatch, match="sha256:1111.* was held"):
        vault.verify(copy.id)
    assert copies(vault.catalogue)[0].verified_at == ""


def test_a_point_that_changed_at_dr_is_not_copied(town, vault):
    point = town.path_on_machine("dr-a", "/srv/vaulted/.skerry-points/documents") / POINT / "tree"
    (point / "deep" / "file-3").chmod(0o600)
    (point / "deep" / "file-3").write_bytes(b"rotten")
    with pytest.raises(DigestMismatch, match="was held"):
        vault.copy("archive")
    assert copies(vault.catalogue) == []


def test_a_copy_that_was_killed_is_made_by_the_same_command(town, vault, transports):
    host = vault.inventory.hosts["dr-a"]
    big = town.path_on_machine("dr-a", "/srv/vaulted/.skerry-points/documents") / POINT
    assert big.is_dir()
    failures: list[OrchestratorError] = []

    def copy():
        try:
            vault.copy("archive")
        except OrchestratorError as error:
            failures.append(error)

    thread = threading.Thread(target=copy)
    thread.start()
    deadline = time.monotonic() + 60
    killed = ""
    while not killed and thread.is_alive() and time.monotonic() < deadline:
        words = ["sh", "-c", "pkill -9 -f '[b]ackup --host dr-a' && echo killed; true"]
        killed = transports(host).run(words, user="root" if host.become else None).text
    thread.join()
    assert killed
    assert failures
    assert copies(vault.catalogue) == []
    copy_made = vault.copy("archive")
    assert vault.verify(copy_made.id).verified_at


def test_data_does_not_go_where_residency_forbids(vault):
    inventory = vault.inventory.model_copy(
        update={"residency": (ResidencyRule(data_class="tax-records", regions=("eu-home-2",)),)}
    )
    with pytest.raises(TargetForbidden, match="may be in eu-home-2, and the vault is in eu-central-1"):
        replace(vault, inventory=inventory).copy("archive")


@pytest.mark.platform("postgresql")
def test_a_cluster_goes_into_the_vault_as_its_clone_and_is_verified_by_running_it(town, transports, vault, s3):
    ground = make_ground(town, transports)
    ground.prepare()
    ground.fresh()
    try:
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        ground.mover.prepare_moment(ground.cluster, ground.dr)
        lsn, digest = ground.mover.hold_moment(ground.cluster, ground.source, "rp-2", seconds_max=10)
        ground.write(ground.source, "after the moment")
        cluster = ground.cluster.model_copy(update={"replication_password": None})
        held = HeldDataset(dataset=cluster.name, digest=digest, mark=lsn)
        point = recovery_point(vault.catalogue, "archive", POINT).model_copy(update={"id": "rp-2", "datasets": (held,)})
        vault.catalogue.put("recovery_point", "archive/rp-2", point.model_dump(mode="json"))
        archive = vault.inventory.systems["archive"]

        def with_points(points):
            dataset = cluster.model_copy(update={"points": points})
            system = archive.model_copy(update={"datasets": (dataset,)})
            return replace(vault, inventory=vault.inventory.model_copy(update={"systems": {"archive": system}}))

        with pytest.raises(DataError, match="does not hold the files of register") as caught:
            with_points("moment").copy("archive")
        assert "points: clone" in caught.value.hint
        ground.mover.digest_at(ground.cluster, ground.dr, lsn, timeout_seconds=30, keep_as="rp-2")
        copy = with_points("clone").copy("archive")
        # The clone at DR may be gone by the time it is needed.
        ground.run(ground.dr, f"rm -rf {ground.dr.path(FOLDER)}/.skerry-movers-points")
        verified = with_points("clone").verify(copy.id)
        assert verified.verified_at
        checks = told(vault, "vault.verify_finished")[0].data["checks"]["register"]
        assert checks["amcheck"].startswith("passed")
        assert checks["pg_checksums"] == "passed: every page"
        assert not ground.run(ground.dr, f"ls -A {ground.dr.path(FOLDER)} | grep vault || true")
    finally:
        ground.clear()
