"""The strict cloud as tests hold it: a process without a town, an account laid out, and questions to both."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.places import shipped_folder
from orchestrator.lab.cloud import landing_zone, launch, name_server
from orchestrator.lab.cloud.images import write_image
from orchestrator.lab.demo.programs.name_lookup import NameLookup, NameUnknown
from orchestrator.model.inventory import CloudSettings
from orchestrator.targets.aws.session import ATTEMPTS_MAX, AwsSession

REGION = "eu-central-1"


class AwsCloud:
    """One running cloud. What it says of itself is asked past our own code."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.region = REGION
        address, port = name_server.start("127.0.0.1", 0, folder / "zones.json")
        self._names = (address, port)
        self._making_a_role = threading.Lock()

    def session(
        self,
        *,
        region: str = REGION,
        allowed_regions: frozenset[str] = frozenset({REGION}),
        credentials: Path | None = None,
        attempts_max: int = ATTEMPTS_MAX,
        role: str = "",
    ) -> AwsSession:
        """With the account's own key, or in the role that a shipped policy is for."""
        settings = CloudSettings(
            region=region,
            endpoint=f"file:{self.folder / 'endpoint'}",
            credentials_file=str(credentials or self.folder / "credentials"),
            role=self.role_arn(role) if role else None,
        )
        return AwsSession(settings, allowed_regions=allowed_regions, clock=SystemClock(), attempts_max=attempts_max)

    def role_arn(self, name: str) -> str:
        """The ARN of a role with the shipped policy of that name, made when first asked for."""
        iam = self.client("iam")
        with self._making_a_role:
            there = {each["RoleName"]: str(each["Arn"]) for each in iam.list_roles()["Roles"]}
            if name not in there:
                there[name] = str(iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"])
                document = (shipped_folder("policies") / f"{name}.json").read_text()
                iam.put_role_policy(RoleName=name, PolicyName="shipped", PolicyDocument=document)
        return there[name]

    def end_keys(self) -> None:
        """Every key that was issued for a while is over, as after its hour."""
        launch.control(self.url, "/_lab/keys", "DELETE")

    @contextmanager
    def tokens_over(self) -> Iterator[None]:
        """While inside, block tokens that were given are over, as after their seven days."""
        launch.control(self.url, "/_lab/tokens", "DELETE")
        yield
        launch.control(self.url, "/_lab/tokens", "POST")

    def give_up_pending(self) -> None:
        """What is pending is given up by EBS, as when nothing came for as long as it was begun for."""
        launch.control(self.url, "/_lab/pending", "DELETE")

    def new_for(self, seconds: float) -> None:
        """How long EC2 does not know what was just made, what was made before included."""
        launch.control(self.url, "/_lab/freshness", "POST", json.dumps({"seconds": seconds}).encode())

    def client(self, service: str) -> Any:
        return self.session().client(service)

    # -- trouble and calls

    def put_faults(self, *rules: dict[str, Any]) -> None:
        launch.control(self.url, "/_lab/faults", "POST", json.dumps({"rules": rules}).encode())

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force, and how often each has met a call."""
        told: dict[str, list[dict[str, Any]]] = json.loads(launch.control(self.url, "/_lab/faults", "GET"))
        return told["rules"]

    def heal(self) -> None:
        launch.control(self.url, "/_lab/faults", "DELETE")

    def calls(self) -> list[dict[str, Any]]:
        told: dict[str, list[dict[str, Any]]] = json.loads(launch.control(self.url, "/_lab/calls", "GET"))
        return told["calls"]

    def forget_calls(self) -> None:
        launch.control(self.url, "/_lab/calls", "DELETE")

    # -- machines

    def _instances(self) -> list[dict[str, Any]]:
        answer = self.client("ec2").describe_instances()
        return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]

    def state_of(self, machine: str) -> str:
        return next(str(each["State"]["Name"]) for each in self._instances() if each["InstanceId"] == machine)

    def live_machines(self) -> list[str]:
        return [each["InstanceId"] for each in self._instances() if each["State"]["Name"] != "terminated"]

    def foreign_machine(self, name: str, address: str) -> str:
        """Somebody else's machine: our name perhaps, none of our tags."""
        ec2 = self.client("ec2")
        mine = [{"Name": "tag:Name", "Values": [landing_zone.NAME]}]
        image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["plain"]}])["Images"][0]["ImageId"]
        started = ec2.run_instances(
            ImageId=image,
            InstanceType="t3.small",
            MinCount=1,
            MaxCount=1,
            PrivateIpAddress=address,
            SubnetId=ec2.describe_subnets(Filters=mine)["Subnets"][0]["SubnetId"],
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}],
        )
        machine = str(started["Instances"][0]["InstanceId"])
        ec2.get_waiter("instance_running").wait(InstanceIds=[machine], WaiterConfig={"Delay": 1})
        return machine

    def end_all_machines(self) -> None:
        live = self.live_machines()
        if live:
            ec2 = self.client("ec2")
            ec2.terminate_instances(InstanceIds=live)
            ec2.get_waiter("instance_terminated").wait(InstanceIds=live, WaiterConfig={"Delay": 1})

    # -- names

    def answered_address(self, name: str) -> str | None:
        """What the name server says now."""
        try:
            return NameLookup(*self._names).address(name)
        except NameUnknown:
            return None

    def _zone(self) -> str:
        zones = self.client("route53").list_hosted_zones()["HostedZones"]
        return next(str(zone["Id"]) for zone in zones if zone["Name"] == "skerry.test.")

    def _change(self, action: str, record: dict[str, Any]) -> None:
        route53 = self.client("route53")
        changed = route53.change_resource_record_sets(
            HostedZoneId=self._zone(), ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        )
        waiter = route53.get_waiter("resource_record_sets_changed")
        waiter.wait(Id=changed["ChangeInfo"]["Id"], WaiterConfig={"Delay": 1})

    def put_record(self, action: str = "CREATE", **fields: Any) -> None:
        """filing.skerry.test as somebody else would put it."""
        record = {"Name": "filing.skerry.test.", "Type": "A", "TTL": 1, "ResourceRecords": [{"Value": "10.9.9.9"}]}
        self._change(action, {**record, **fields})

    def await_answer(self, name: str, address: str) -> None:
        until = time.monotonic() + 30
        while self.answered_address(name) != address:
            assert time.monotonic() < until, f"{name} is {self.answered_address(name)}, not {address}"
            time.sleep(0.05)

    def weights(self, name: str) -> dict[str, int]:
        """Address → weight of a name's records."""
        return {each["ResourceRecords"][0]["Value"]: each["Weight"] for each in self._addresses(name)}

    def disabled_health_check(self) -> str:
        config = {"Type": "TCP", "IPAddress": "192.0.2.1", "Port": 80, "Disabled": True}
        made = self.client("route53").create_health_check(CallerReference="c", HealthCheckConfig=config)
        return str(made["HealthCheck"]["Id"])

    def places(self, name: str) -> dict[str, str]:
        """Primary and secondary of a name, and their addresses."""
        return {each["Failover"]: each["ResourceRecords"][0]["Value"] for each in self._addresses(name)}

    def _addresses(self, name: str) -> list[dict[str, Any]]:
        records = self.client("route53").list_resource_record_sets(HostedZoneId=self._zone())["ResourceRecordSets"]
        return [each for each in records if each["Name"] == f"{name}." and each["Type"] == "A"]

    def forget_records(self) -> None:
        records = self.client("route53").list_resource_record_sets(HostedZoneId=self._zone())["ResourceRecordSets"]
        for record in records:
            if record["Type"] == "A":
                self._change("DELETE", record)


@contextmanager
def running_cloud(folder: Path) -> Iterator[AwsCloud]:
    """A cloud over `folder`, with its account laid out and an image called `plain`."""
    write_image(folder / "images", "plain", ())
    with launch.cloud_alone(folder, region=REGION) as url:
        landing_zone.lay_out(
            url,
            folder / "credentials",
            region=REGION,
            network="10.30.0.0/16",
            subnet="10.30.1.0/24",
            zone="skerry.test",
            names={},
        )
        yield AwsCloud(folder, url)
