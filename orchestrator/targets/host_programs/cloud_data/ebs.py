"""The EBS direct APIs: blocks of snapshots, each proved by its SHA-256 both ways."""

from __future__ import annotations

import base64
import hashlib
import json

from orchestrator.targets.host_programs.cloud_data.calls import Refused, Service

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable, Iterator
    from typing import Any

BLOCK_BYTES = 512 * 1024
LISTED_MAX = "10000"


class DirectApis(Service):
    """Calls of "Amazon EBS direct APIs"."""

    def put_block(self, snapshot: str, number: int, content: bytes, digest: bytes) -> None:
        headers = {
            "x-amz-data-length": str(len(content)),
            "x-amz-checksum": base64.b64encode(digest).decode(),
            "x-amz-checksum-algorithm": "SHA256",
            "content-type": "application/octet-stream",
        }
        path = f"/snapshots/{snapshot}/blocks/{number}"
        _, told = self.call("PUT", path, {}, headers, content, digest.hex())
        if told.get("x-amz-checksum", headers["x-amz-checksum"]) != headers["x-amz-checksum"]:
            raise Refused("WrongChecksum", f"block {number} was answered with another checksum than it has", 0)

    def get_block(self, snapshot: str, number: int, token: str) -> bytes:
        """Proved against the checksum that comes with it; a block that does not match is asked for again."""
        for _ in range(3):
            body, told = self.call("GET", f"/snapshots/{snapshot}/blocks/{number}", {"blockToken": token})
            named = told.get("x-amz-checksum", "")
            if len(body) == BLOCK_BYTES and named == base64.b64encode(hashlib.sha256(body).digest()).decode():
                return body
        raise Refused("WrongChecksum", f"block {number} of {snapshot} does not match the checksum it comes with", 0)

    def listed(self, snapshot: str) -> Iterator[tuple[int, str]]:
        """Number and token of every block that the snapshot holds."""
        for block in pages("Blocks", lambda query: self.call("GET", f"/snapshots/{snapshot}/blocks", query)[0]):
            yield int(block["BlockIndex"]), str(block["BlockToken"])

    def changed(self, first: str, second: str) -> Iterator[tuple[int, str]]:
        """Number and token of every block that is another one in `second`; no token where `second` has none there."""

        def ask(query: dict[str, str]) -> bytes:
            return self.call("GET", f"/snapshots/{second}/changedblocks", {**query, "firstSnapshotId": first})[0]

        for block in pages("ChangedBlocks", ask):
            yield int(block["BlockIndex"]), str(block.get("SecondBlockToken", ""))


def pages(listed: str, ask: Callable[[dict[str, str]], bytes]) -> Iterator[dict[str, Any]]:
    query = {"maxResults": LISTED_MAX}
    while True:
        page = json.loads(ask(query))
        yield from page.get(listed, [])
        if not page.get("NextToken"):
            return
        query["pageToken"] = page["NextToken"]
