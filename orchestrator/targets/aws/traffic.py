"""The name that clients use, as a Route 53 record.

A switch is an UPSERT of the whole record and is done when Route 53 says INSYNC: then all its name servers answer with
it. Clients follow within the record's TTL.
"""

from typing import Any

from orchestrator.contracts.target import FrontAnswer
from orchestrator.foundation.errors import TargetError
from orchestrator.model.system import Route53Front
from orchestrator.targets.aws.session import AwsSession, aws_errors

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
        zone = self._zone(front.zone)
        name = _absolute(front.name)
        with aws_errors(f"reading {front.name}"):
            answer = self._route53.list_resource_record_sets(
                HostedZoneId=zone, StartRecordName=name, StartRecordType="A", MaxItems="5"
            )
        found = [record for record in answer["ResourceRecordSets"] if record["Name"] == name and record["Type"] == "A"]
        if not found:
            return None
        if len(found) > 1 or "SetIdentifier" in found[0] or len(found[0].get("ResourceRecords", [])) != 1:
            raise TargetError(
                f"{front.name}: the record is weighted or has several addresses; it was not made by us",
                hint="Make it a simple A record with one address, then run the same command again.",
            )
        return FrontAnswer(address=found[0]["ResourceRecords"][0]["Value"], ttl_seconds=int(found[0]["TTL"]))

    def switch(self, front: Route53Front, address: str, *, key: str) -> None:
        """Point the name at `address`. Asked twice it changes nothing, and still returns only when in force."""
        zone = self._zone(front.zone)
        self.current(front)  # refuses a record that is not ours to replace
        record = {
            "Name": _absolute(front.name),
            "Type": "A",
            "TTL": front.ttl_seconds,
            "ResourceRecords": [{"Value": address}],
        }
        with aws_errors(f"pointing {front.name} at {address}"):
            answer = self._route53.change_resource_record_sets(
                HostedZoneId=zone,
                ChangeBatch={
                    "Comment": f"skerry {key}"[:256],
                    "Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}],
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


def _absolute(name: str) -> str:
    return name.lower().rstrip(".") + "."
