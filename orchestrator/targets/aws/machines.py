"""Machines at AWS: EC2 instances, made once per host, recognised by their tags.

Rules: an instance without our tags is never started, stopped or ended; a host's machine carries `skerry:host`,
`skerry:system` and `skerry:run`; a machine is ready when it is running and has printed its SSH host keys.
"""

import functools
import hashlib
import re
from typing import Any

from botocore.exceptions import ClientError

from orchestrator.contracts.target import Ability, Machine
from orchestrator.foundation.errors import PlanningError, TargetError, TargetForbidden
from orchestrator.model.host import Host
from orchestrator.model.system import MachineSpec
from orchestrator.targets.aws.session import VISIBLE_SECONDS_MAX, AwsSession, aws_errors, error_code
from orchestrator.targets.aws.user_data import first_boot_script

HOST_TAG, SYSTEM_TAG, RUN_TAG = "skerry:host", "skerry:system", "skerry:run"
RUNNING_SECONDS_MAX = 600.0
HOST_KEYS_SECONDS_MAX = 900.0  # console output comes minutes after the boot on some instance types
MACHINES_PER_KEY_MAX = 5
LIVE_STATES = ["pending", "running", "stopping", "stopped"]

_HOST_KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----\s*(.*?)\s*-----END SSH HOST KEY KEYS-----", re.DOTALL)
_KEY_LINE = re.compile(r"(ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+")


class AwsMachines:
    """contracts.target.Target over EC2."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    @property
    def _ec2(self) -> Any:
        return self._session.client("ec2")

    def abilities(self, host: Host) -> frozenset[Ability]:
        return frozenset(Ability)

    def ensure(
        self, host: Host, spec: MachineSpec | None, *, key: str, tags: dict[str, str], first_boot: str = ""
    ) -> Machine:
        """The host's machine, running, with its host keys; made where there is none."""
        if spec is None:
            raise PlanningError(
                f"{host.name}: nothing says which machine it shall be", hint="Give it a skerry_machine in hosts.yml."
            )
        wanted = {**tags, HOST_TAG: host.name, "Name": host.name}
        for needed in (SYSTEM_TAG, RUN_TAG):
            if needed not in wanted:
                raise PlanningError(f"{host.name}: a machine needs the tag {needed}")
        instance = self._find(host)
        if instance is None:
            instance_id = self._make(host, spec, key, wanted, first_boot)
        else:
            instance_id = str(instance["InstanceId"])
            found = tags_of(instance).get(SYSTEM_TAG)
            if found != wanted[SYSTEM_TAG]:
                raise TargetForbidden(f"{host.name}: {instance_id} belongs to {found}, not {wanted[SYSTEM_TAG]}")
            if instance["State"]["Name"] in ("stopping", "stopped"):
                self.start(instance_id)
        instance = self._await_state(instance_id, "running")
        return _machine(instance, self._await_host_keys(instance_id, host))

    def find(self, host: Host) -> Machine | None:
        instance = self._find(host)
        if instance is None:
            return None
        keys = self._host_keys(instance["InstanceId"]) if instance["State"]["Name"] == "running" else ()
        return _machine(instance, keys)

    def stop(self, machine_id: str) -> None:
        if self._ours(machine_id)["State"]["Name"] == "stopped":
            return
        with aws_errors(f"stopping {machine_id}"):
            self._ec2.stop_instances(InstanceIds=[machine_id])
        self._await_state(machine_id, "stopped")

    def start(self, machine_id: str) -> None:
        state = self._ours(machine_id)["State"]["Name"]
        if state == "stopping":
            self._await_state(machine_id, "stopped")
        if state != "running":
            with aws_errors(f"starting {machine_id}"):
                self._ec2.start_instances(InstanceIds=[machine_id])
        self._await_state(machine_id, "running")

    def terminate(self, machine_id: str) -> None:
        try:
            state = self._ours(machine_id)["State"]["Name"]
        except _UnknownMachine:
            return  # gone for so long that EC2 has forgotten it
        if state == "terminated":
            return
        with aws_errors(f"ending {machine_id}"):
            self._ec2.terminate_instances(InstanceIds=[machine_id])
        self._await_state(machine_id, "terminated")

    # -- looking

    def _find(self, host: Host) -> dict[str, Any] | None:
        """The one live instance that carries our tags for this host."""
        found = self._described(
            f"looking for {host.name}",
            Filters=[
                {"Name": f"tag:{HOST_TAG}", "Values": [host.name]},
                {"Name": "tag-key", "Values": [RUN_TAG]},
                {"Name": "instance-state-name", "Values": LIVE_STATES},
            ],
        )
        if len(found) > 1:
            named = ", ".join(sorted(instance["InstanceId"] for instance in found))
            raise TargetError(f"{host.name}: several machines carry its tag: {named}", hint="Look before going on.")
        return found[0] if found else None

    def _described(self, deed: str, **wish: Any) -> list[dict[str, Any]]:
        with aws_errors(deed):
            pages = self._ec2.get_paginator("describe_instances").paginate(**wish)
            return [
                instance
                for page in pages
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            ]

    def _describe(self, machine_id: str) -> dict[str, Any] | None:
        """None where EC2 does not know the id (yet, or any more)."""
        with aws_errors(f"looking at {machine_id}"):
            try:
                answer = self._ec2.describe_instances(InstanceIds=[machine_id])
            except ClientError as error:
                if error_code(error) == "InvalidInstanceID.NotFound":
                    return None
                raise
        instances = [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]
        return instances[0] if instances else None

    def _ours(self, machine_id: str) -> dict[str, Any]:
        instance = self._describe(machine_id)
        if instance is None:
            raise _UnknownMachine(f"machine {machine_id} does not exist")
        if not {HOST_TAG, RUN_TAG} <= set(tags_of(instance)):
            raise TargetForbidden(f"machine {machine_id} does not carry our tags; it is not touched")
        return instance

    def _host_keys(self, machine_id: str) -> tuple[str, ...]:
        with aws_errors(f"reading the console of {machine_id}"):
            answer = self._ec2.get_console_output(InstanceId=machine_id)
        return host_keys_in(str(answer.get("Output", "")))

    # -- making

    def _make(self, host: Host, spec: MachineSpec, key: str, tags: dict[str, str], first_boot: str) -> str:
        """The machine of this key. EC2 goes on answering a token with its machine after that was ended by somebody:
        then the key's next token is used, in an order that a repeat follows too.
        """
        for turn in range(1, MACHINES_PER_KEY_MAX + 1):
            instance_id = self._run(host, spec, client_token(f"{key}#{turn}"), tags, first_boot)
            instance = self._session.poll(functools.partial(self._describe, instance_id), VISIBLE_SECONDS_MAX)
            if instance is None:
                raise TargetError(f"{host.name}: {instance_id} was started and is unknown to EC2 since")
            if instance["State"]["Name"] not in ("shutting-down", "terminated"):
                return instance_id
            self._await_state(instance_id, "terminated")
        raise TargetError(f"{host.name}: {MACHINES_PER_KEY_MAX} machines were made for it and ended by somebody")

    def _run(self, host: Host, spec: MachineSpec, token: str, tags: dict[str, str], first_boot: str) -> str:
        listed = [{"Key": name, "Value": value} for name, value in sorted(tags.items())]
        image, subnet, group = self._image(spec), self._subnet(spec), self._group(spec)
        with aws_errors(f"starting a machine for {host.name}"):
            answer = self._ec2.run_instances(
                ImageId=image,
                InstanceType=spec.instance_type,
                MinCount=1,
                MaxCount=1,
                SubnetId=subnet,
                **({"PrivateIpAddress": host.address} if host.address else {}),
                SecurityGroupIds=[group],
                ClientToken=token,
                UserData=first_boot_script(self._session.ssh_user_ca, spec.packages, last=first_boot),
                MetadataOptions={"HttpTokens": "required", "HttpEndpoint": "enabled"},
                TagSpecifications=[
                    {"ResourceType": kind, "Tags": listed} for kind in ("instance", "volume", "network-interface")
                ],
            )
        return str(answer["Instances"][0]["InstanceId"])

    def _image(self, spec: MachineSpec) -> str:
        if spec.image.startswith("ami-"):
            return spec.image
        with aws_errors(f"looking for the image {spec.image}"):
            answer = self._ec2.describe_images(
                Owners=["self"],
                Filters=[{"Name": "name", "Values": [spec.image]}, {"Name": "state", "Values": ["available"]}],
            )
        images = sorted(answer["Images"], key=lambda image: str(image.get("CreationDate", "")))
        if not images:
            raise TargetError(f"no image of ours is called {spec.image} in {self._session.region}")
        return str(images[-1]["ImageId"])

    def _subnet(self, spec: MachineSpec) -> str:
        with aws_errors(f"looking for the subnet {spec.subnet}"):
            answer = self._ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": [spec.subnet]}])
        return the_one("subnet", spec.subnet, [str(subnet["SubnetId"]) for subnet in answer["Subnets"]])

    def _group(self, spec: MachineSpec) -> str:
        with aws_errors(f"looking for the security group {spec.security_group}"):
            answer = self._ec2.describe_security_groups(Filters=[{"Name": "tag:Name", "Values": [spec.security_group]}])
        found = [str(group["GroupId"]) for group in answer["SecurityGroups"]]
        return the_one("security group", spec.security_group, found)

    # -- waiting

    def _await_state(self, machine_id: str, wanted: str) -> dict[str, Any]:
        limit_seconds = RUNNING_SECONDS_MAX
        seen = "unknown"

        def look() -> dict[str, Any] | None:
            nonlocal seen
            instance = self._describe(machine_id)
            if instance is None:
                if wanted == "terminated":
                    return {"InstanceId": machine_id, "State": {"Name": "terminated"}}
                return None
            seen = instance["State"]["Name"]
            if seen in ("shutting-down", "terminated") and wanted != "terminated":
                why = instance.get("StateReason", {}).get("Message", "no reason given")
                raise TargetError(f"machine {machine_id} is {seen} instead of {wanted}: {why}")
            return instance if seen == wanted else None

        found = self._session.poll(look, limit_seconds)
        if found is None:
            raise TargetError(f"machine {machine_id} is {seen}, not {wanted}, after {limit_seconds:g} s")
        return found

    def _await_host_keys(self, machine_id: str, host: Host) -> tuple[str, ...]:
        keys = self._session.poll(lambda: self._host_keys(machine_id) or None, HOST_KEYS_SECONDS_MAX)
        if keys is None:
            raise TargetError(
                f"{host.name}: {machine_id} has printed no SSH host keys to its console",
                hint="Its image must run cloud-init, which prints them; without them the host cannot be trusted.",
            )
        return keys


class _UnknownMachine(TargetError):
    """EC2 knows no instance of that id."""


def client_token(key: str) -> str:
    """An idempotency key as EC2 takes it: at most 64 ASCII characters, equal for equal keys."""
    return hashlib.sha256(key.encode()).hexdigest()


def host_keys_in(console: str) -> tuple[str, ...]:
    """The host keys that cloud-init printed last, type and key each; empty where there are none (yet)."""
    blocks = _HOST_KEYS.findall(console)
    if not blocks:
        return ()
    # A console may put a time or a prefix before each line, so keys are searched within lines.
    found = [match[0] for line in blocks[-1].splitlines() if (match := _KEY_LINE.search(line))]
    return tuple(found)


def tags_of(instance: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}


def _machine(instance: dict[str, Any], host_keys: tuple[str, ...]) -> Machine:
    return Machine(
        id=instance["InstanceId"],
        state=instance["State"]["Name"],
        private_address=instance.get("PrivateIpAddress", ""),
        host_keys=host_keys,
        tags=tags_of(instance),
    )


def the_one(kind: str, name: str, found: list[str]) -> str:
    if len(found) != 1:
        what = "none" if not found else ", ".join(sorted(found))
        raise TargetError(f"one {kind} must carry the Name tag {name}; found: {what}")
    return found[0]
