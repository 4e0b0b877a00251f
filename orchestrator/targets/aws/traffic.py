"""The name that clients use, as a Route 53 record.

A switch is one batch of changes and is done when Route 53 says INSYNC: then all its name servers answer with it.
Clients follow within the TTL that they were given last, so it is lowered ahead of time.
"""

from collections.abc import Iterator
from typing import Any

from orchestrator.contracts.target import FrontAnswer
from orchestrator.foundation.errors import TargetError
from orchestrator.model.system import Route53Front
from orchestrator.targets.aws.session import AwsSession, aws_errors

SET_PREFIX, WEIGHT = "skerry-", 100
PRIMARY, SECONDARY = "PRIMARY", "SECONDARY"
IN_SYNC_SECONDS_MAX = 180.0
POLL_SECONDS_FIRST, POLL_SECONDS_MAX = 0.05, 5.0


class Route53Traffic:
    """contracts.target.Front over Route 53."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session
        self._zones: dict[str, str] = {}

    @property
    def _route53(self) -> Any:
        return self._session.client("route53")

    def current(self, front: Route53Front) -> FrontAnswer | None:
        found = self._records(front)
        if not found:
            return None
        serving = [record for record in found if record.get("Weight", WEIGHT) and record.get("Failover") != SECONDARY]
        ours = all(_is_ours(front, record) for record in found)
        if not ours or len(serving) != 1 or len(serving[0].get("ResourceRecords", [])) != 1:
            raise TargetError(
                f"{front.name}: the record is not {front.routing} or has several addresses; it was not made by us",
                hint=f"Make it one {front.routing} record with one address, then run the same command again.",
            )
        return FrontAnswer(address=_address(serving[0]), ttl_seconds=int(serving[0]["TTL"]))

    def switch(self, front: Route53Front, address: str, *, key: str) -> FrontAnswer | None:
        """Point the name at `address`. Asked twice it changes nothing, and still returns only when in force."""
        before = self.current(front)  # refuses a record that is not ours to replace
        ttl_seconds = min(front.ttl_seconds, before.ttl_seconds) if before else front.ttl_seconds
        if front.routing == "simple":
            changes = [("UPSERT", _record(front, address, ttl_seconds))]
        elif front.routing == "weighted":
            changes = list(_moved_weight(front, address, ttl_seconds, self._records(front)))
        else:
            changes = list(_changed_places(front, address, ttl_seconds, self._records(front)))
        self._change(front, changes, f"pointing {front.name} at {address}", key)
        return before

    def lower_ttl(self, front: Route53Front, ttl_seconds: int, *, key: str) -> FrontAnswer | None:
        before = self.current(front)
        if before is None or before.ttl_seconds <= ttl_seconds:
            return before
        self._set_ttl(front, ttl_seconds, key)
        return before

    def settle(self, front: Route53Front, *, key: str) -> None:
        before = self.current(front)
        if before is not None and before.ttl_seconds != front.ttl_seconds:
            self._set_ttl(front, front.ttl_seconds, key)

    def _set_ttl(self, front: Route53Front, ttl_seconds: int, key: str) -> None:
        changes = [("UPSERT", {**record, "TTL": ttl_seconds}) for record in self._records(front)]
        self._change(front, changes, f"setting the TTL of {front.name} to {ttl_seconds} s", key)

    def _records(self, front: Route53Front) -> list[dict[str, Any]]:
        """Every A record of the name."""
        name = _absolute(front.name)
        with aws_errors(f"reading {front.name}"):
            answer = self._route53.list_resource_record_sets(
                HostedZoneId=self._zone(front.zone), StartRecordName=name, StartRecordType="A", MaxItems="100"
            )
        return [record for record in answer["ResourceRecordSets"] if record["Name"] == name and record["Type"] == "A"]

    def _change(self, front: Route53Front, changes: list[tuple[str, dict[str, Any]]], deed: str, key: str) -> None:
        """All of `changes` or none, in force when this returns."""
        with aws_errors(deed):
            answer = self._route53.change_resource_record_sets(
                HostedZoneId=self._zone(front.zone),
                ChangeBatch={
                    "Comment": f"skerry {key}"[:256],
                    "Changes": [{"Action": action, "ResourceRecordSet": record} for action, record in changes],
                },
            )
        self._await_in_sync(front, answer["ChangeInfo"]["Id"])

    def _await_in_sync(self, front: Route53Front, change: str) -> None:
        clock = self._session.clock
        until = clock.monotonic_seconds() + IN_SYNC_SECONDS_MAX
        wait_seconds = POLL_SECONDS_FIRST
        while True:
            with aws_errors(f"waiting for {front.name}"):
                status = self._route53.get_change(Id=change)["ChangeInfo"]["Status"]
            if status == "INSYNC":
                return
            if clock.monotonic_seconds() >= until:
                raise TargetError(f"{front.name}: change {change} is {status} after {IN_SYNC_SECONDS_MAX:g} s")
            clock.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 1.5, POLL_SECONDS_MAX)

    def _zone(self, name: str) -> str:
        """The id of the one public zone of that name."""
        if name not in self._zones:
            wanted = _absolute(name)
            with aws_errors(f"looking for the zone {name}"):
                pages = self._route53.get_paginator("list_hosted_zones").paginate()
                found = [
                    str(zone["Id"])
                    for page in pages
                    for zone in page["HostedZones"]
                    if zone["Name"] == wanted and not zone["Config"]["PrivateZone"]
                ]
            if len(found) != 1:
                raise TargetError(f"one public zone must be called {name}; found {len(found)}")
            self._zones[name] = found[0]
        return self._zones[name]


def _is_ours(front: Route53Front, record: dict[str, Any]) -> bool:
    """A simple record may be replaced; of others those that we made, of the kind that the estate wants."""
    identifier = record.get("SetIdentifier", "")
    mark = {"weighted": "Weight", "failover": "Failover"}.get(front.routing, "")
    return not identifier or (mark in record and identifier.startswith(SET_PREFIX))


def _record(front: Route53Front, address: str, ttl_seconds: int) -> dict[str, Any]:
    return {
        "Name": _absolute(front.name),
        "Type": "A",
        "TTL": ttl_seconds,
        "ResourceRecords": [{"Value": address}],
    }


def _moved_weight(
    front: Route53Front, address: str, ttl_seconds: int, found: list[dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """`address` gets all the weight. A simple record becomes weighted: its address stays, as the way back."""
    addresses = {_address(record) for record in found} | {address}
    yield from _without_simple(found)
    for each in sorted(addresses):
        weighted = {"SetIdentifier": f"{SET_PREFIX}{each}", "Weight": WEIGHT if each == address else 0}
        yield "UPSERT", {**_record(front, each, ttl_seconds), **weighted}


def _changed_places(
    front: Route53Front, address: str, ttl_seconds: int, found: list[dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """`address` becomes the primary, and what was it the secondary: the way back. Places of a pair never differ."""
    others = [record for record in found if _address(record) != address]
    yield from _without_simple(found)
    primary = {"SetIdentifier": f"{SET_PREFIX}primary", "Failover": PRIMARY, "HealthCheckId": front.health_check}
    yield "UPSERT", {**_record(front, address, ttl_seconds), **primary}
    if others:
        before = min(others, key=lambda record: record.get("Failover", PRIMARY))  # PRIMARY sorts before SECONDARY
        secondary = {"SetIdentifier": f"{SET_PREFIX}secondary", "Failover": SECONDARY}
        yield "UPSERT", {**_record(front, _address(before), ttl_seconds), **secondary}


def _without_simple(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records of one name are all simple or none is."""
    for record in found:
        if "SetIdentifier" not in record:
            yield "DELETE", record


def _address(record: dict[str, Any]) -> str:
    return str(record["ResourceRecords"][0]["Value"])


def _absolute(name: str) -> str:
    return name.lower().rstrip(".") + "."
