"""What Route 53 enforces: changes are whole batches, PENDING until they are INSYNC at the name servers.

Sources: Route 53 API reference (ChangeResourceRecordSets, GetChange), developer guide ("Values specific for weighted
records": records of one name and type are all weighted or one simple). A change is in force when it is INSYNC: the file
that the name server reads is replaced at that moment.
"""

import json
import re
import threading
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from moto.moto_api._internal import mock_random
from moto.route53.models import route53_backends

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.lab.cloud.answers import Answer, AwsError, route53_answer
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict.layer import Lenient

CHANGE_ID = "C"
TTL_SECONDS_MAX = 2_147_483_647
CHANGES_PER_BATCH_MAX = 1000


def current_zones() -> dict[str, list[dict[str, Any]]]:
    """All public zones as the name server wants them: zone name → records."""
    zones = route53_backends[ACCOUNT]["aws"].zones.values()
    return {
        zone.name.lower(): [
            _record(record) for record in zone.rrsets if record.type in ("A", "CNAME") and record.records
        ]
        for zone in zones
    }


def _record(record: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": record.name.lower(),
        "type": record.type,
        "ttl": int(record.ttl or 0),
        "values": list(record.records),
    }
    if record.weight is not None:
        shown["weight"] = int(record.weight)
    if record.failover:
        shown["failover"] = record.failover
        shown["healthy"] = _healthy(record.health_check_id)
    return shown


def _healthy(check: str | None) -> bool:
    """The lab sends no probes: a check is well, a disabled one too, until it is inverted (API_HealthCheckConfig)."""
    found = route53_backends[ACCOUNT]["aws"].health_checks.get(check) if check else None
    return found is None or str(found.inverted).lower() != "true"


class StrictRoute53(Lenient):
    """Record changes. `lag_seconds` is the time from accepted to in force."""

    def __init__(self, zones_file: Path, *, lag_seconds: float = 0.2) -> None:
        self._zones_file = zones_file
        self._lag_seconds = lag_seconds
        self._lock = threading.Lock()
        self._changes: dict[str, tuple[bool, str]] = {}  # id → whether it is in force, when it was submitted
        self._published = 0
        self._submitted = 0

    def before(self, call: AwsCall) -> Answer | None:
        if call.action == "GetChange":
            return self._get_change(call.path.rsplit("/", 1)[1])
        if call.action == "ChangeResourceRecordSets":
            _check_batch(call)
        return None

    def after(self, call: AwsCall, answer: Answer) -> Answer:
        if call.action in ("CreateHostedZone", "DeleteHostedZone", "UpdateHealthCheck"):
            self._submit(self._lag_seconds)
        if call.action != "ChangeResourceRecordSets":
            return answer
        change = self._submit(self._lag_seconds)
        return route53_answer("ChangeResourceRecordSetsResponse", self._change_info(change))

    def publish_now(self) -> None:
        """Put everything in force, as after a restart."""
        with self._lock:
            self._write(self._submitted, current_zones())
            for change, (_, submitted) in self._changes.items():
                self._changes[change] = (True, submitted)

    def _submit(self, lag_seconds: float) -> str:
        change = CHANGE_ID + mock_random.get_random_string(13).upper()
        zones = current_zones()
        with self._lock:
            self._submitted += 1
            number = self._submitted
            submitted = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self._changes[change] = (False, submitted)

        def publish() -> None:
            with self._lock:
                self._write(number, zones)
                self._changes[change] = (True, submitted)

        timer = threading.Timer(lag_seconds, publish)
        timer.daemon = True
        timer.start()
        return change

    def _write(self, number: int, zones: dict[str, list[dict[str, Any]]]) -> None:
        if number >= self._published:  # a later change is never overtaken by an earlier one
            self._published = number
            replace_file(self._zones_file, json.dumps(zones, indent=1).encode())

    def _change_info(self, change: str) -> str:
        with self._lock:
            in_force, submitted = self._changes[change]
        status = "INSYNC" if in_force else "PENDING"
        return (
            f"<ChangeInfo><Id>/change/{change}</Id><Status>{status}</Status>"
            f"<SubmittedAt>{submitted}</SubmittedAt></ChangeInfo>"
        )

    def _get_change(self, change: str) -> Answer:
        if change not in self._changes:
            raise AwsError("NoSuchChange", f"Could not find resource with ID: {change}", 404)
        return route53_answer("GetChangeResponse", self._change_info(change))


def _check_batch(call: AwsCall) -> None:
    zone = route53_backends[ACCOUNT]["aws"].zones.get(call.path.rstrip("/").rsplit("/", 2)[1])
    if zone is None:
        raise AwsError("NoSuchHostedZone", f"No hosted zone found with ID: {call.path.split('/')[-2]}", 404)
    try:
        tree = ET.fromstring(call.body)  # noqa: S314 - the lab's own clients
    except ET.ParseError as error:
        raise AwsError("InvalidInput", f"Invalid XML: {error}") from error
    changes = [_plain(change) for change in tree.iter(f"{_namespace(tree)}Change")]
    if not 1 <= len(changes) <= CHANGES_PER_BATCH_MAX:
        raise AwsError("InvalidChangeBatch", f"A batch holds 1 to {CHANGES_PER_BATCH_MAX} changes, not {len(changes)}.")
    there: dict[tuple[str, str, str], Any] = {
        _identity(record.name, str(record.type), record.set_identifier): record for record in zone.rrsets
    }
    for change in changes:
        _check_change(zone, change, there)


def _check_change(zone: Any, change: dict[str, Any], there: dict[tuple[str, str, str], Any]) -> None:
    wish = change["ResourceRecordSet"]
    name = wish["Name"].lower().rstrip(".") + "."
    identity = _identity(name, wish["Type"], wish.get("SetIdentifier", ""))
    described = f"[name='{name}', type='{wish['Type']}']"
    if not (name == zone.name or name.endswith("." + zone.name)):
        raise AwsError("InvalidChangeBatch", f"RRSet with DNS name {name} is not permitted in zone {zone.name}")
    if change["Action"] == "CREATE" and identity in there:
        raise AwsError("InvalidChangeBatch", f"Tried to create resource record set {described} but it already exists")
    if change["Action"] == "DELETE":
        known = there.get(identity)
        if known is None:
            raise AwsError("InvalidChangeBatch", f"Tried to delete record set {described} but it was not found")
        if list(known.records) != wish["values"] or str(known.ttl) != wish.get("TTL", ""):
            raise AwsError(
                "InvalidChangeBatch",
                f"Tried to delete resource record set {described} but the values provided do not match the current "
                "values",
            )
        there.pop(identity)
        return
    if change["Action"] not in ("CREATE", "UPSERT"):
        raise AwsError("InvalidInput", f"Invalid action: {change['Action']}")
    _check_values(wish, described)
    _check_beside(wish, [record for other, record in there.items() if other[:2] == identity[:2] and other != identity])
    there[identity] = _Wish(wish)


def _check_beside(wish: dict[str, Any], others: list[Any]) -> None:
    """Developer guide, "Choosing a routing policy": records of one name and type have one policy; of failover records
    one is the primary and one the secondary, and "a non-alias primary must have an associated health check".
    """
    kind = "failover" if "Failover" in wish else "weight" if "Weight" in wish else ""
    for other in others:
        if kind != ("failover" if other.failover else "weight" if other.weight is not None else ""):
            raise AwsError(
                "InvalidChangeBatch",
                f"RRSet with DNS name {wish['Name']}, type {wish['Type']} cannot be created as records with another "
                "routing policy exist with the same name and type",
            )
        if kind == "failover" and other.failover == wish["Failover"]:
            raise AwsError("InvalidChangeBatch", f"There is a {wish['Failover']} record of {wish['Name']} already")
    if kind == "failover":
        if wish["Failover"] not in ("PRIMARY", "SECONDARY"):
            raise AwsError("InvalidInput", f"Failover must be PRIMARY or SECONDARY, not {wish['Failover']}")
        if wish["Failover"] == "PRIMARY" and not wish.get("HealthCheckId"):
            raise AwsError("InvalidInput", "A non-alias primary ResourceRecordSet must have an associated health check")
    if (check := wish.get("HealthCheckId")) and check not in route53_backends[ACCOUNT]["aws"].health_checks:
        raise AwsError("NoSuchHealthCheck", f"No health check exists with the ID {check}", 404)


class _Wish:
    """A record that an earlier change of the same batch made."""

    def __init__(self, wish: dict[str, Any]) -> None:
        self.records = wish["values"]
        self.ttl = wish.get("TTL")
        self.weight = wish.get("Weight")
        self.failover = wish.get("Failover")


def _check_values(wish: dict[str, Any], described: str) -> None:
    if not wish["values"] and "AliasTarget" not in wish:
        raise AwsError("InvalidInput", f"{described}: ResourceRecords or an AliasTarget is needed")
    if wish["values"] and not (wish.get("TTL", "").isdigit() and int(wish["TTL"]) <= TTL_SECONDS_MAX):
        raise AwsError("InvalidInput", f"{described}: a TTL from 0 to {TTL_SECONDS_MAX} is needed")
    if wish["Type"] == "A":
        for value in wish["values"]:
            if not re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}", value) or any(int(part) > 255 for part in value.split(".")):
                raise AwsError("InvalidChangeBatch", f"Invalid Resource Record: '{value}' is not a valid IPv4 address")
    if "Weight" in wish and not (wish["Weight"].isdigit() and int(wish["Weight"]) <= 255):
        raise AwsError("InvalidInput", f"{described}: Weight must be from 0 to 255")
    if ("Weight" in wish or "Failover" in wish) and not wish.get("SetIdentifier"):
        raise AwsError("InvalidInput", f"{described}: SetIdentifier is needed for weighted and failover records")


def _identity(name: str, kind: str, set_identifier: str | None) -> tuple[str, str, str]:
    return name.lower(), kind, set_identifier or ""


def _namespace(tree: ET.Element) -> str:
    return tree.tag[: tree.tag.index("}") + 1] if tree.tag.startswith("{") else ""


def _plain(change: ET.Element) -> dict[str, Any]:
    space = _namespace(change)
    wish = change.find(f"{space}ResourceRecordSet")
    if wish is None:
        raise AwsError("InvalidInput", "A change without ResourceRecordSet")
    values = [value.text or "" for value in wish.iter(f"{space}Value")]
    fields = {child.tag.removeprefix(space): (child.text or "") for child in wish}
    return {
        "Action": change.findtext(f"{space}Action") or "",
        "ResourceRecordSet": {**fields, "values": values},
    }
