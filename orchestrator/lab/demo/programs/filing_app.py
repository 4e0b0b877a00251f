"""Filing: takes numbered tax filings, each with an attachment, and answers only when both are durable.

POST /filings {id, taxpayer, amount, attachment}   200 after COMMIT and after the attachment is synced; idempotent by id
GET  /filings?after=N                              up to 5 000 of [id, attachment sha256, amount], ascending;
                                                   &verify=1 tells the digest of every attachment as it is
GET  /healthz                                      control totals; 503 where the database does not answer

The attachment is durable before its row is committed, so a row never names a file that is not there. Its file name
carries its digest, so a refused second filing of one id cannot overwrite what the first one filed.
"""

import base64
import binascii
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .durable_file import file_digest, keep_file
from .http_service import Refused, Service, serve
from .postgres_wire import DatabaseUnavailable, Pool, StatementRefused

ROWS_MAX = 5000
ENDS_CHECKED = 20  # of the newest and of the oldest filings, each
READ_ONLY_TRANSACTION = "25006"


class Filing(Service):
    """The application over its database and its attachments."""

    def __init__(self, site: str, attachments: Path, pool: Pool) -> None:
        super().__init__(site)
        self._attachments = attachments
        self._pool = pool

    def attachment_path(self, number: int, sha256: str) -> Path:
        return self._attachments / f"{number % 100:02d}" / f"{number}-{sha256[:16]}.bin"

    def health(self) -> tuple[int, dict[str, Any]]:
        try:
            with self._pool.session() as session:
                [(read_only, last, count, total)] = session.run(
                    "select current_setting('transaction_read_only'), coalesce(max(id), 0), count(*),"
                    " coalesce(sum(amount), 0) from filings"
                )
                # Old ones too: a machine that keeps files in a wrong place has its own, newest ones there.
                checked = session.run(
                    "(select id, attachment_sha256, attachment_bytes from filings order by id desc limit $1) union"
                    " (select id, attachment_sha256, attachment_bytes from filings order by id limit $1)",
                    [ENDS_CHECKED],
                )
        except (DatabaseUnavailable, StatementRefused) as error:
            return 503, {"site": self.site, "error": str(error)}
        missing = [int(row[0] or 0) for row in checked if not self._is_kept(row)]
        return 200, {
            "site": self.site,
            "read_only": read_only == "on",
            "last_id": int(last or 0),
            "count": int(count or 0),
            "total_amount": int(total or 0),
            "attachments": "missing" if missing else "ready",
            "attachments_missing": missing,
        }

    def _is_kept(self, row: tuple[str | None, ...]) -> bool:
        path = self.attachment_path(int(row[0] or 0), row[1] or "")
        try:
            content = path.read_bytes()
        except OSError:
            return False
        return len(content) == int(row[2] or 0) and hashlib.sha256(content).hexdigest() == row[1]

    def get(self, path: str, query: dict[str, str]) -> Any:
        if path != "/filings":
            raise Refused(404, f"nothing at {path}")
        rows = self._run(
            "select id, attachment_sha256, amount from filings where id > $1 order by id limit $2",
            [_number(query.get("after", "0")), ROWS_MAX],
        )
        told = [(int(number or 0), sha256 or "", int(amount or 0)) for number, sha256, amount in rows]
        if query.get("verify") != "1":
            return [list(row) for row in told]
        return [[number, file_digest(self.attachment_path(number, named)), amount] for number, named, amount in told]

    def write(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        if (method, path) != ("POST", "/filings"):
            raise Refused(404, f"no {method} at {path}")
        try:
            wish = json.loads(body)
            number, amount, taxpayer = int(wish["id"]), int(wish["amount"]), str(wish["taxpayer"])
            attachment = base64.b64decode(wish["attachment"], validate=True)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise Refused(400, f"not a filing: {error}") from error
        if not 0 < number < 2**62 or not taxpayer.isprintable():
            raise Refused(400, "id or taxpayer out of range")
        sha256 = hashlib.sha256(attachment).hexdigest()
        answer = {"id": number, "site": self.site, "sha256": sha256}
        if self._filed_before(number, sha256):
            return {**answer, "repeated": True}
        if self._run("select pg_is_in_recovery()")[0][0] == "t":
            raise Refused(503, "read-only: this is a standby")
        kept = self.attachment_path(number, sha256)
        if not kept.exists():
            keep_file(kept, attachment)
        inserted = self._run(
            "insert into filings (id, taxpayer, amount, attachment_sha256, attachment_bytes, site)"
            " values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing returning id",
            [number, taxpayer, amount, sha256, len(attachment), self.site],
        )
        if not inserted and not self._filed_before(number, sha256):
            raise Refused(503, "the filing vanished while it was written")
        return answer

    def _filed_before(self, number: int, sha256: str) -> bool:
        rows = self._run("select attachment_sha256 from filings where id = $1", [number])
        if rows and rows[0][0] != sha256:
            raise Refused(409, f"filing {number} exists with other content")
        return bool(rows)

    def _run(self, statement: str, parameters: list[str | int | None] | None = None) -> list[tuple[str | None, ...]]:
        try:
            return self._pool.run(statement, parameters or [])
        except StatementRefused as error:
            if error.sqlstate == READ_ONLY_TRANSACTION:
                raise Refused(503, "read-only: this is a standby") from error
            raise Refused(500, str(error)) from error


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Refused(400, f"not a number: {text!r}") from error


def main() -> None:
    attachments = Path(os.environ["FILING_ATTACHMENTS"])
    attachments.mkdir(parents=True, exist_ok=True)
    pool = Pool(os.environ["FILING_DATABASE_SOCKET"], user="filing", database="filing", size=8)
    serve(
        os.environ["SKERRY_ADDRESS"],
        int(os.environ["SKERRY_PORT"]),
        Filing(os.environ["SKERRY_SITE"], attachments, pool),
    )
