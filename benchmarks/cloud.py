"""Seeding a disk into EBS and storing a file in S3, against the strict cloud: beside a bare client, boto3, aws s3 cp.

What the server can take is measured in the same run by a client that computes nothing: one block, signed beforehand,
sent again and again over as many connections; of S3 with the begin and the end of the upload, which are the server's
work too. Server and client share this machine, so the figures are ratios.
Of one large file the lab's server is the limit of every client. As on AWS the way is the limit, where each call is
answered AWAY_SECONDS later and the files are small: a row of its own, boto3 with a loop over its upload_file.
coldsnap comes as source of crates.io alone: it is measured where somebody has built it, else its row says so.
"""

import base64
import hashlib
import http.client
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.row import BenchmarkFailed, row
from orchestrator.contracts.images import SeededVolume, SeedWish
from orchestrator.foundation.clock import SystemClock
from orchestrator.hosts.local import LocalTransport
from orchestrator.lab.cloud.launch import cloud_alone, control
from orchestrator.model.dataset import BlockVolume
from orchestrator.model.host import Host
from orchestrator.model.inventory import CloudSettings
from orchestrator.movers.host_programs.block_delta.leaves import Volume, leaf_size, root_digest
from orchestrator.targets.aws.images import STREAMS, AwsImages
from orchestrator.targets.aws.session import AwsSession
from orchestrator.targets.host_programs.cloud_data.signing import Signer
from orchestrator.targets.s3.store import S3Store

COMMAND = "make bench BENCH=cloud"
REGION = "eu-central-1"
MIB = 1024 * 1024
BLOCK = 512 * 1024
DISK_BYTES = 256 * MIB
FILE_BYTES = 96 * MIB
PART_BYTES = 8 * MIB
SMALL_FILES, SMALL_BYTES, AWAY_SECONDS = 200, 64 * 1024, 0.02
ROUNDS = 3
CHANGED_SHARE = 0.01
BUCKET = "skerry-bench"
DISK = BlockVolume(name="disk", path="/srv/disk.img")
TAGS = {"skerry:system": "bench", "skerry:run": "bench"}
# Run by another process, so that it takes what a client of its own would take.
BOTO3 = """
import os, sys, time, base64, hashlib, boto3
from botocore.config import Config
what, url, region, path = sys.argv[1:]
client = boto3.client('ebs' if what == 'ebs' else 's3', endpoint_url=url, region_name=region)
begin = time.perf_counter()
if what == 'ebs':
    snapshot = client.start_snapshot(VolumeSize=1)['SnapshotId']
    begin = time.perf_counter()
    with open(path, 'rb') as stream:
        for number in range(10 ** 6):
            block = stream.read(512 * 1024)
            if not block:
                break
            digest = base64.b64encode(hashlib.sha256(block).digest()).decode()
            client.put_snapshot_block(SnapshotId=snapshot, BlockIndex=number, BlockData=block, DataLength=len(block),
                                      Checksum=digest, ChecksumAlgorithm='SHA256')
else:
    names = [os.path.join(path, name) for name in sorted(os.listdir(path))] if os.path.isdir(path) else [path]
    for name in names:
        client.upload_file(name, 'skerry-bench', 'boto3-' + str(time.time_ns()))
print(time.perf_counter() - begin)
"""


class Bench:
    """A cloud of its own, one disk and one file."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        credentials = folder / "cloud" / "credentials"
        settings = CloudSettings(region=REGION, endpoint=url, credentials_file=str(credentials))
        self.session = AwsSession(settings, allowed_regions=frozenset({REGION}), clock=SystemClock())
        self.environment = {**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
        self.host = Host(name="dr-a", site="dr", address="127.0.0.1", path_prefix=str(folder / "host"), become=False)
        self.disk, self.file = folder / "disk.img", folder / "file"
        for path, size in ((self.disk, DISK_BYTES), (self.file, FILE_BYTES)):
            with path.open("wb") as stream:
                stream.writelines(os.urandom(MIB) for _ in range(size // MIB))
        self.small = folder / "small"
        self.small.mkdir()
        for number in range(SMALL_FILES):
            (self.small / str(number)).write_bytes(os.urandom(SMALL_BYTES))
        where: Any = {"LocationConstraint": REGION}
        self.session.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
        self.memory_bytes = 0

    def seed(self, key: str) -> SeededVolume:
        begin = time.perf_counter()
        wish = SeedWish(
            volume=DISK, host=self.host, path=str(self.disk), expected=digest_of(self.disk), key=key, tags=TAGS
        )
        seeded = AwsImages(self.session, LocalTransport).seed(wish)
        self.memory_bytes = max(self.memory_bytes, seeded.memory_bytes)
        if time.perf_counter() - begin < seeded.sending_seconds:
            raise BenchmarkFailed("the program measures more time than went by")
        return seeded

    def seed_whole(self) -> float:
        """Rate of the sending alone in MiB/s: reading back is no part of any peer's work."""
        for path in (self.folder / "host").rglob("snap-*"):
            path.unlink()  # without a parent: all of it goes
        seeded = self.seed(f"whole-{time.time_ns()}")
        return seeded.bytes_wire / MIB / seeded.sending_seconds

    def coldsnap(self, program: str) -> float:
        words = [program, "--endpoint", self.url, "--region", REGION, "upload", "--no-progress", str(self.disk)]
        begin = time.perf_counter()
        self._said(words)
        return DISK_BYTES / MIB / (time.perf_counter() - begin)

    def store(self, prefix: str, path: Path) -> float:
        stored = S3Store(self.session, LocalTransport, BUCKET, prefix, tags=TAGS).store(self.host, str(path))
        self.memory_bytes = max(self.memory_bytes, stored.memory_bytes)
        return stored.bytes_sent / MIB / stored.seconds

    def send_bare(
        self, service: str, count: int, size: int, path_of: Callable[[int], str], extra: dict[str, str]
    ) -> dict[int, dict[str, str]]:
        """One body sent `count` times over STREAMS connections, with headers that are made once; what S3 asks to be
        told of each part, by number.
        """
        body = os.urandom(size)
        digest = hashlib.sha256(body)
        encoded = base64.b64encode(digest.digest()).decode()
        signer = Signer(self.session.keys_for_host(), REGION, service)
        place = urlsplit(self.url)
        numbers = iter(range(count))
        lock = threading.Lock()
        wrong: list[str] = []
        told: dict[int, dict[str, str]] = {}
        name = {"ebs": "x-amz-checksum", "s3": "x-amz-checksum-sha256"}[service]
        headers = signer.headers("PUT", place.netloc, "/", {}, {**extra, name: encoded}, digest.hexdigest())

        def work() -> None:
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    break
                connection.request("PUT", path_of(number), body, headers)
                answer = connection.getresponse()
                answer.read()
                told[number] = {"ETag": answer.headers.get("ETag", ""), "ChecksumSHA256": encoded}
                if answer.status >= 300:
                    wrong.append(f"{answer.status} for {path_of(number)}")
            connection.close()

        threads = [threading.Thread(target=work) for _ in range(STREAMS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if wrong:
            raise BenchmarkFailed(f"the bare client was refused: {wrong[0]}")
        return told

    def bare_ebs(self) -> float:
        snapshot = self.session.client("ebs").start_snapshot(VolumeSize=1)["SnapshotId"]
        extra = {
            "x-amz-data-length": str(BLOCK),
            "x-amz-checksum-algorithm": "SHA256",
            "content-type": "application/octet-stream",
        }
        begin = time.perf_counter()
        self.send_bare("ebs", DISK_BYTES // BLOCK, BLOCK, lambda n: f"/snapshots/{snapshot}/blocks/{n}", extra)
        return DISK_BYTES / MIB / (time.perf_counter() - begin)

    def bare_s3(self) -> float:
        s3 = self.session.client("s3")
        key, count = f"bare-{time.time_ns()}", FILE_BYTES // PART_BYTES
        begin = time.perf_counter()
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
        told = self.send_bare(
            "s3", count, PART_BYTES, lambda n: f"/{BUCKET}/{key}?partNumber={n + 1}&uploadId={upload}", {}
        )
        parts: Any = {"Parts": [{"PartNumber": number + 1, **told[number]} for number in range(count)]}
        s3.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload=parts)
        return FILE_BYTES / MIB / (time.perf_counter() - begin)

    def bare_small(self) -> float:
        key = f"bare-{time.time_ns()}"
        begin = time.perf_counter()
        self.send_bare("s3", SMALL_FILES, SMALL_BYTES, lambda n: f"/{BUCKET}/{key}/{n}", {})
        return SMALL_FILES * SMALL_BYTES / MIB / (time.perf_counter() - begin)

    def boto3(self, what: str, path: Path) -> float:
        words = [sys.executable, "-c", BOTO3, what, self.url, REGION, str(path)]
        return size_of(path) / MIB / float(self._said(words))

    def aws_cp(self, program: str, path: Path) -> float:
        """With the start of the program taken off: the time of `aws --version`."""
        begin = time.perf_counter()
        self._said([program, "--version"])
        start = time.perf_counter() - begin
        where = ["--endpoint-url", self.url, "--region", REGION]
        how = ["--recursive"] if path.is_dir() else []
        words = [program, *where, "s3", "cp", "--quiet", *how, str(path), f"s3://{BUCKET}/cp-{time.time_ns()}"]
        begin = time.perf_counter()
        self._said(words)
        return size_of(path) / MIB / (time.perf_counter() - begin - start)

    def _said(self, words: list[str]) -> str:
        done = subprocess.run(words, capture_output=True, env=self.environment, check=False, text=True)
        if done.returncode:
            raise BenchmarkFailed(f"{words[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()


def size_of(path: Path) -> int:
    return sum(each.stat().st_size for each in (path.iterdir() if path.is_dir() else [path]))


def digest_of(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        volume = Volume(descriptor, os.fstat(descriptor).st_size)
        read = (volume.digests(volume.read(leaf, 1)) for leaf in range(volume.leaves))
        digests = b"".join(each for leaf in read for each in leaf)
        return root_digest(volume.size, leaf_size(volume.size), digests)
    finally:
        os.close(descriptor)


def medians(*measures: Callable[[], float]) -> list[float]:
    """Of each measure; they take turns, so that what else the machine does meets all alike."""
    turns = [[measure() for measure in measures] for _ in range(ROUNDS)]
    return [statistics.median(values) for values in zip(*turns, strict=True)]


def rate_row(name: str, ours: float, peer: float | None, peer_name: str, least: float | None) -> dict[str, Any]:
    goal = f"at least {least:g} x" if least else ""
    met = ours >= least * peer if least and peer else None
    return row(name, ours=ours, unit="MiB/s", command=COMMAND, peer=peer, peer_name=peer_name, goal=goal, met=met)


def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as scratch:
        folder = Path(scratch)
        with cloud_alone(folder / "cloud", region=REGION) as url:
            bench = Bench(url, folder)
            bench.seed("warm")
            return [*_ebs_rows(bench), *_s3_rows(bench), *_small_rows(bench), _memory_row(bench)]


def _ebs_rows(bench: Bench) -> list[dict[str, Any]]:
    program = shutil.which("coldsnap")
    peers: list[Callable[[], float]] = [lambda: bench.coldsnap(program)] if program else []
    bare, ours, boto3, *others = medians(
        bench.bare_ebs, bench.seed_whole, lambda: bench.boto3("ebs", bench.disk), *peers
    )
    found = [
        rate_row("EBS seeding", ours, bare, "bare client", 0.85),
        rate_row("EBS seeding against boto3", ours, boto3, "boto3, one call after the other", 1.5),
    ]
    coldsnap = "coldsnap" if others else "coldsnap: not measured, nobody has built it here"
    found.append(rate_row("EBS seeding against coldsnap", ours, others[0] if others else None, coldsnap, None))
    return [*found, *_delta_rows(bench)]


def _delta_rows(bench: Bench) -> list[dict[str, Any]]:
    changed = max(1, int(DISK_BYTES // BLOCK * CHANGED_SHARE))
    with bench.disk.open("r+b") as stream:
        for number in range(changed):
            stream.seek(number * 97 * BLOCK % DISK_BYTES)
            stream.write(b"changed")
    seeded = bench.seed("delta")
    figures = (("EBS: blocks moved for a 1 % delta", seeded.blocks_sent, 1.2),
               ("EBS: blocks read back for a 1 % delta", seeded.blocks_read, None))  # fmt: skip
    return [
        row(
            name,
            ours=count,
            unit="blocks",
            command=COMMAND,
            peer=changed,
            peer_name="blocks changed",
            goal=f"at most {most} x" if most else "",
            met=count <= most * changed if most else None,
        )
        for name, count, most in figures
    ]


def _s3_rows(bench: Bench) -> list[dict[str, Any]]:
    bare, ours, boto3, *others = medians(bench.bare_s3, *_stores(bench, bench.file))
    found = [
        rate_row("S3 upload", ours, bare, "bare client", 0.85),
        rate_row("S3 upload against boto3", ours, boto3, "boto3 upload_file", 1.5),
    ]
    found += [rate_row("S3 upload against aws s3 cp", ours, other, "aws s3 cp", None) for other in others]
    return found


def _stores(bench: Bench, path: Path) -> list[Callable[[], float]]:
    """Ours, boto3's, and `aws s3 cp` where it is installed."""
    program = shutil.which("aws")
    found = [lambda: bench.store(f"ours-{time.time_ns()}", path), lambda: bench.boto3("s3", path)]
    return [*found, lambda: bench.aws_cp(program, path)] if program else found


def _small_rows(bench: Bench) -> list[dict[str, Any]]:
    """A folder of small files, where each call takes as long as the way to AWS does."""
    rule = {"kind": "delay", "service": "s3", "seconds": AWAY_SECONDS}
    control(bench.url, "/_lab/faults", "POST", json.dumps({"rules": [rule]}).encode())
    bare, ours, boto3, *others = medians(bench.bare_small, *_stores(bench, bench.small))
    control(bench.url, "/_lab/faults", "DELETE")
    name = f"S3 upload of {SMALL_FILES} small files, each call {AWAY_SECONDS * 1000:g} ms away"
    found = [
        rate_row(name, ours, bare, "bare client, which looks at nothing afterwards", None),
        rate_row(f"{name}, against boto3", ours, boto3, "boto3 upload_file, one after the other", 1.5),
    ]
    found += [rate_row(f"{name}, against aws s3 cp", ours, other, "aws s3 cp --recursive", None) for other in others]
    return found


def _memory_row(bench: Bench) -> dict[str, Any]:
    own = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return row(
        "cloud: memory of the program on the host",
        ours=bench.memory_bytes / MIB,
        unit="MiB",
        command=COMMAND,
        peer=own / MIB,
        peer_name="largest child of the benchmark",
        goal="< 256 MiB",
        met=bench.memory_bytes < 256 * MIB,
    )
