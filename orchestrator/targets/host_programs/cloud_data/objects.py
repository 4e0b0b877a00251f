"""Files as objects of a bucket: in parts where they are large, checksums made of what is read, resumed, never replaced.

What is in the bucket is believed only by its checksum: SHA-256 of the object, or of its parts ("composite") with their
number. The size of parts follows from the file's size alone, so that a later comparison makes the same checksum.
A server that is not said to keep checksums is read back; what it is not said to be able to is not asked of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape, unescape

from orchestrator.targets.host_programs.cloud_data.calls import Refused, Service
from orchestrator.targets.host_programs.cloud_data.crew import Crew, only_one

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Iterator
    from typing import Any

MIB = 1024 * 1024
PART_BYTES = 8 * MIB
PARTS_MAX = 10_000
LOOK = -1  # instead of a part's number: the object is there, see that it is the same
PRESENT = {"PreconditionFailed", "ConditionalRequestConflict"}


def part_bytes(size: int) -> int:
    """8 MiB, doubled until 10 000 parts are enough."""
    wanted = PART_BYTES
    while wanted * PARTS_MAX < size:
        wanted *= 2
    return wanted


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def composite(digests: list[bytes]) -> str:
    """The checksum of an object that was put in parts, as S3 tells it."""
    return f"{encoded(hashlib.sha256(b''.join(digests)).digest())}-{len(digests)}"


class Bucket(Service):
    """One bucket, addressed by path."""

    def __init__(self, endpoint: str, signer: Any, name: str, can: list[str]) -> None:
        super().__init__(endpoint, signer)
        self.name = name
        self.checksums = "checksums" in can
        self.classes = "storage_classes" in can
        self.only_new = {"if-none-match": "*"} if "conditions" in can else {}
        self.rooms = threading.local()

    def room(self, size: int) -> memoryview:
        """Memory of the calling thread for what it reads, the same each time: fresh pages cost more than reading."""
        room = getattr(self.rooms, "room", None)
        if room is None or len(room) < size:
            room = self.rooms.room = bytearray(max(size, min(PART_BYTES, size * 2)))
        return memoryview(room)[:size]

    def ask(
        self,
        method: str,
        key: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes | memoryview = b"",
        digest: str = "",
    ) -> tuple[bytes, dict[str, str]]:
        path = "/" + urllib.parse.quote(f"{self.name}/{key}" if key else self.name, safe="/-_.~")
        return self.call(method, path, query, headers, body, digest)

    def checked_by(self, digest: bytes) -> dict[str, str]:
        """What S3 checks a body with; it also wants the algorithm named where a lock is asked for."""
        if not self.checksums:
            return {}  # the signature is over the body's digest, so that the server has compared it
        return {"x-amz-checksum-sha256": encoded(digest), "x-amz-sdk-checksum-algorithm": "SHA256"}

    def checksum(self, key: str, part: int) -> tuple[int, str] | None:
        """Size and SHA-256 of an object that was put in parts of that size; None where there is no such object."""
        try:
            _, told = self.ask("HEAD", key, {}, {"x-amz-checksum-mode": "ENABLED"} if self.checksums else {})
        except Refused as error:
            if error.status == 404:
                return None
            raise
        size = int(told["content-length"])
        if self.checksums:
            return size, told.get("x-amz-checksum-sha256", "")
        digests = []
        for start in range(0, max(size, 1), part):
            some = {"range": f"bytes={start}-{min(start + part, size) - 1}"} if size else {}
            digests.append(hashlib.sha256(self.ask("GET", key, {}, some)[0]).digest())
        return size, composite(digests) if len(digests) > 1 else encoded(digests[0])

    def listed(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Objects of that very name, or below it."""
        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
        while True:
            body, _ = self.ask("GET", "", query, {})
            text = body.decode()
            for row in re.findall(r"<Contents>(.*?)</Contents>", text, re.DOTALL):
                key = re.search(r"<Key>(.*?)</Key>", row, re.DOTALL)
                size = re.search(r"<Size>(\d+)</Size>", row)
                name = urllib.parse.unquote_plus(unescape(key[1])) if key else ""
                if size and (name == prefix or name.startswith(prefix + "/")):
                    yield name, int(size[1])
            more = re.search(r"<NextContinuationToken>(.*?)</NextContinuationToken>", text, re.DOTALL)
            if not more:
                return
            query["continuation-token"] = unescape(more[1])

    def uploads_of(self, key: str) -> Iterator[tuple[str, str]]:
        """Uploads of that very key that were begun and neither completed nor given up, each with who began it."""
        body, _ = self.ask("GET", "", {"uploads": "", "prefix": key, "encoding-type": "url"}, {})
        for row in re.findall(r"<Upload>(.*?)</Upload>", body.decode(), re.DOTALL):
            named = re.search(r"<Key>(.*?)</Key>", row, re.DOTALL)
            upload = re.search(r"<UploadId>(.*?)</UploadId>", row, re.DOTALL)
            by = re.search(r"<Initiator>.*?<ID>(.*?)</ID>", row, re.DOTALL)
            if named and upload and urllib.parse.unquote_plus(unescape(named[1])) == key:
                yield unescape(upload[1]), by[1] if by else ""


class Upload:
    """One file on its way. `kept` remembers the parts that S3 has acknowledged, on disk."""

    def __init__(self, bucket: Bucket, path: str, key: str, kept: str, headers: dict[str, str]) -> None:
        self.bucket = bucket
        self.path = path
        self.key = key
        self.kept = kept
        self.headers = headers
        self.size = os.stat(path).st_size
        self.part = part_bytes(self.size)
        self.count = max(1, -(-self.size // self.part))
        self.digests: list[bytes] = [b""] * self.count
        self.tags: dict[int, tuple[str, str]] = {}  # part → digest in hex, ETag
        self.lock = threading.Lock()
        self.left = self.count
        self.identifier = ""
        self.sent = 0

    def begin(self) -> None:
        """Go on with the upload that is remembered; a new one where there is none, or S3 has given it up."""
        if self.count == 1:
            return
        if os.path.exists(self.kept):
            with open(self.kept) as stream:
                lines = [line.split() for line in stream if line.endswith("\n")]
            if lines and len(lines[0]) == 3 and int(lines[0][1]) == self.size and self.alive(lines[0][0]):
                self.identifier = lines[0][0]
                self.tags = {int(number): (digest, tag) for number, digest, tag in lines[1:]}
                self.remember()
                return
        begun = dict(self.headers)
        if self.bucket.checksums:
            begun.update({"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "COMPOSITE"})
        body, _ = self.bucket.ask("POST", self.key, {"uploads": ""}, begun)
        found = re.search(rb"<UploadId>(.*?)</UploadId>", body)
        if not found:
            raise Refused("Broken", f"{self.key}: no upload was begun", 0)
        self.identifier = unescape(found[1].decode())
        self.remember()

    def remember(self) -> None:
        """All that is known, without the torn line that a killed run may have left."""
        lines = [f"{number} {digest} {tag}\n" for number, (digest, tag) in sorted(self.tags.items())]
        with open(self.kept + ".tmp", "w") as stream:
            stream.write(f"{self.identifier} {self.size} -\n" + "".join(lines))
        os.replace(self.kept + ".tmp", self.kept)

    def alive(self, identifier: str) -> bool:
        try:
            self.bucket.ask("GET", self.key, {"uploadId": identifier, "max-parts": "1"}, {})
        except Refused as error:
            if error.status == 404:
                return False
            raise
        return True

    def send(self, number: int) -> int:
        """One part, read, digested and sent; whoever sends the last one completes the object."""
        content = self.bucket.room(min(self.part, self.size - number * self.part))
        with open(self.path, "rb", buffering=0) as stream:
            if os.preadv(stream.fileno(), [content], number * self.part) != len(content):
                raise Refused("Broken", f"{self.path} became shorter while it was read", 0)
        digest = hashlib.sha256(content).digest()
        self.digests[number] = digest
        if self.count == 1:
            self.put_whole(content, digest)
        elif self.tags.get(number + 1, ("", ""))[0] != digest.hex():
            headers = self.bucket.checked_by(digest)
            query = {"partNumber": str(number + 1), "uploadId": self.identifier}
            _, told = self.bucket.ask("PUT", self.key, query, headers, content, digest.hex())
            with self.lock:
                self.tags[number + 1] = (digest.hex(), told["etag"])
                self.sent += len(content)
                with open(self.kept, "a") as kept:
                    kept.write(f"{number + 1} {digest.hex()} {told['etag']}\n")
        with self.lock:
            self.left -= 1
            last = self.left == 0
        if last:
            self.finish()
        return len(content)

    def put_whole(self, content: memoryview, digest: bytes) -> None:
        headers = {**self.headers, **self.bucket.checked_by(digest), **self.bucket.only_new}
        try:
            self.bucket.ask("PUT", self.key, {}, headers, content, digest.hex())
            self.sent = len(content)
        except Refused as error:
            if error.code not in PRESENT:
                raise

    def finish(self) -> None:
        """The object is there, and its checksum is that of what was read."""
        if self.count > 1:
            # The answer to a begin may have been lost. Whatever else began an upload of this key is not ours to end.
            begun = dict(self.bucket.uploads_of(self.key))
            own = begun.pop(self.identifier, "")
            lost = [upload for upload, by in begun.items() if own and by == own]
            rows = "".join(self.row(number) for number in range(1, self.count + 1))
            body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
            headers = {**self.bucket.only_new, "content-type": "application/xml"}
            if self.bucket.checksums:
                headers["x-amz-mp-object-size"] = str(self.size)
            try:
                answer, _ = self.bucket.ask("POST", self.key, {"uploadId": self.identifier}, headers, body)
                if b"<Error>" in answer:  # S3 may say 200 first and change its mind
                    raise Refused("Broken", f"{self.key}: {answer.decode('utf-8', 'replace')[:300]}", 0)
            except Refused as error:
                if error.code in PRESENT:
                    lost.append(self.identifier)  # another run was quicker
                elif error.status != 404:
                    raise
        found = self.bucket.checksum(self.key, self.part)
        if found != (self.size, self.own()):
            raise Refused("Different", f"{self.key} is in the bucket with other content: {found}", 0)
        if os.path.exists(self.kept):
            os.unlink(self.kept)
        if self.count > 1:
            for upload in lost:
                self.give_up(upload)

    def give_up(self, upload: str) -> None:
        try:
            self.bucket.ask("DELETE", self.key, {"uploadId": upload}, {})
        except Refused as error:
            if error.status != 404:  # it was given up, and the answer was lost
                raise

    def row(self, number: int) -> str:
        digest, tag = self.tags[number]
        checked = f"<ChecksumSHA256>{encoded(bytes.fromhex(digest))}</ChecksumSHA256>" if self.bucket.checksums else ""
        return f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag>{checked}</Part>"

    def own(self) -> str:
        return composite(self.digests) if self.count > 1 else encoded(self.digests[0])


def files_below(folder: str) -> list[str]:
    """Regular files, by their path below the folder; other things are no objects."""
    if not stat.S_ISDIR(os.stat(folder).st_mode):
        return [""]
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = os.path.join(place, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                found.append(os.path.relpath(path, folder))
    return sorted(found)


def storage_class(rules: list[dict[str, Any]], path: str, now: float) -> str:
    """The class of the first rule that the file is old and large enough for; S3's usual one where none fits."""
    found = os.stat(path)
    for rule in rules:
        if now - found.st_mtime >= rule["older_than_seconds"] and found.st_size >= rule["bytes_min"]:
            return str(rule["storage_class"])
    return "STANDARD"


def key_of(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if name else prefix


def store(request: dict[str, Any], bucket: Bucket) -> dict[str, Any]:
    """Put every file below `path` into the bucket; what is there with the same content stays as it is."""
    work, path = request["work"], request["path"]
    lock = only_one(work)
    now = time.time()
    there = dict(bucket.listed(request["prefix"]))
    counts = {"files": 0, "bytes": 0, "present": 0}
    classes: dict[str, int] = {}
    uploads: list[Upload] = []

    def parts() -> Iterator[tuple[Upload, int]]:
        for name in files_below(path):
            file = os.path.join(path, name) if name else path
            key = key_of(request["prefix"], name)
            chosen = storage_class(request["classes"], file, now)
            headers = {**({"x-amz-storage-class": chosen} if bucket.classes else {}), **request["headers"]}
            kept = os.path.join(
                work, hashlib.sha256(f"{bucket.name}/{key}".encode("utf-8", "surrogateescape")).hexdigest()
            )
            upload = Upload(bucket, file, key, kept, headers)
            counts["files"] += 1
            counts["bytes"] += upload.size
            if key in there:
                if there[key] != upload.size:
                    raise Refused("Different", f"{key} is in the bucket with other content", 0)
                yield upload, LOOK
                continue
            classes[chosen] = classes.get(chosen, 0) + 1
            upload.begin()
            uploads.append(upload)
            for number in range(upload.count):
                yield upload, number

    def one(item: tuple[Upload, int]) -> int:
        upload, number = item
        if number != LOOK:
            return upload.send(number)
        if not same(upload):
            raise Refused("Different", f"{upload.key} was in the bucket a moment ago", 0)
        with crew.lock:
            counts["present"] += 1
        return upload.size

    crew = Crew(request["streams"], 0)
    crew.work(parts(), one)
    lock.close()
    return dict(counts, bytes_sent=sum(each.sent for each in uploads), storage_classes=classes)


def same(upload: Upload) -> bool:
    """Whether the bucket holds this very content, by checksum; what it holds else is refused, not replaced."""
    with open(upload.path, "rb") as stream:
        upload.digests = [hashlib.sha256(stream.read(upload.part)).digest() for _ in range(upload.count)]
    found = upload.bucket.checksum(upload.key, upload.part)
    if found is not None and found != (upload.size, upload.own()):
        raise Refused("Different", f"{upload.key} is in the bucket with other content", 0)
    return found is not None


def compare(request: dict[str, Any], bucket: Bucket) -> dict[str, Any]:
    """Files and objects, by checksum: which are missing in the bucket, which are there besides, which differ."""
    path, prefix = request["path"], request["prefix"]
    there = dict(bucket.listed(prefix))
    names = {key_of(prefix, name): name for name in files_below(path)}
    missing = sorted(set(names) - set(there))
    different: list[str] = []
    counts = {"bytes": 0}

    def one(key: str) -> int:
        file = os.path.join(path, names[key]) if names[key] else path
        upload = Upload(bucket, file, key, "", {})
        try:
            same(upload)
        except Refused as error:
            if error.code != "Different":
                raise
            different.append(key)
        counts["bytes"] += upload.size
        return upload.size

    Crew(request["streams"], 0).work(iter(sorted(set(names) & set(there))), one)
    extra = sorted(set(there) - set(names))
    return {
        "objects": len(there),
        "files": len(names),
        "bytes": counts["bytes"],
        "missing": missing[:100],
        "extra": extra[:100],
        "different": sorted(different)[:100],
        "counts": {"missing": len(missing), "extra": len(extra), "different": len(different)},
        "inventory": hashlib.sha256(json.dumps(sorted(there.items())).encode()).hexdigest(),
    }
