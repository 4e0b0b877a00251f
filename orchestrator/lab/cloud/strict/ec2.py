"""What EC2 refuses: RunInstances' rules, instance states, console output.

Sources: EC2 API reference (RunInstances, StartInstances, StopInstances, GetConsoleOutput, error codes), EC2 user guide
("Ensuring idempotency in Amazon EC2 API requests", "Instance lifecycle", "Subnet CIDR blocks").
"""

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES

from orchestrator.lab.cloud.answers import Answer, AwsError, ec2_answer
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict import registered_images, volumes
from orchestrator.lab.cloud.strict.freshness import Freshness
from orchestrator.lab.cloud.strict.layer import Lenient
from orchestrator.lab.cloud.strict.moto_state import address_is_taken, all_instances, find_instance, set_state

USER_DATA_BYTES_MAX = 16 * 1024
VCPUS_QUOTA_DEFAULT = 64
CONSOLE_BYTES_MAX = 64 * 1024
TAGGED_AT_LAUNCH = ("instance", "volume", "network-interface", "spot-instances-request")
# One dark pixel as JPG: what runs in the lab has no screen.
DARK_SCREEN = (
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////"
    "////////////////////////////////////////////////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAA"
    "AP/aAAgBAQABPxA="
)


class Console(Protocol):
    """What an instance printed while it started."""

    def output(self, instance_id: str) -> str: ...


class StrictEc2(Lenient):
    """Instances; volumes and snapshots have modules of their own, and so has what is new.

    `changed` is called with the id of each instance whose state was asked to change.
    """

    def __init__(
        self,
        console: Console,
        changed: Callable[[str], None],
        freshness: Freshness,
        *,
        vcpus_quota: int = VCPUS_QUOTA_DEFAULT,
    ) -> None:
        self._console = console
        self._changed = changed
        self._vcpus_quota = vcpus_quota
        self._freshness = freshness
        self._launched: dict[str, tuple[str, Answer]] = {}  # client token → digest of the parameters, answer

    def before(self, call: AwsCall) -> Answer | None:
        self._freshness.check(call)
        if call.action == "RunInstances":
            return self._before_run(call)
        volumes.check(call)
        if call.action == "RegisterImage":
            return self._freshness.note(call, registered_images.register(call))
        if call.action in ("StartInstances", "StopInstances", "RebootInstances"):
            self._check_transition(call)
        if call.action == "GetConsoleOutput":
            return self._console_output(call)
        if call.action == "GetConsoleScreenshot":
            return _console_screenshot(call)
        return None

    def after(self, call: AwsCall, answer: Answer) -> Answer:
        answer = self._freshness.shown(call, self._freshness.note(call, answer))
        if call.action == "RunInstances":
            return self._after_run(call, answer)
        state = {"StartInstances": "pending", "StopInstances": "stopping", "TerminateInstances": "shutting-down"}
        if call.action in state:
            for instance_id in call.listed("InstanceId"):
                instance = find_instance(instance_id)
                if instance is not None:
                    self._pass_through(instance, state[call.action])
        return answer

    def _pass_through(self, instance: Any, state: str) -> None:
        settled = getattr(instance, "lab_settled", "")
        if (state, settled) in (("pending", "running"), ("stopping", "stopped"), ("shutting-down", "terminated")):
            set_state(instance, settled)  # it is there already: the call changes nothing
            return
        set_state(instance, state)
        self._changed(instance.id)

    # -- RunInstances

    def _before_run(self, call: AwsCall) -> Answer | None:
        token = call.parameters.get("ClientToken", "")
        if token:
            if len(token) > 64 or not token.isascii():
                raise AwsError("InvalidParameterValue", "ClientToken must be at most 64 ASCII characters.")
            known = self._launched.get(f"{call.region}/{token}")
            if known is not None:
                if known[0] != _parameters_digest(call):
                    raise AwsError(
                        "IdempotentParameterMismatch",
                        "Arguments on this idempotent request are inconsistent with arguments used in previous "
                        "request(s).",
                    )
                return known[1]
        backend = ec2_backends[ACCOUNT][call.region]
        count = _check_counts(call)
        _check_tagged_kinds(call)
        _check_image(call, backend)
        _check_address(call, backend, count)
        _check_groups(call, backend)
        _check_user_data(call)
        self._check_type(call, backend, count)
        key_name = call.parameters.get("KeyName")
        if key_name and not backend.describe_key_pairs([], {"key-name": [key_name]}):
            raise AwsError("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")
        return None

    def _check_type(self, call: AwsCall, backend: Any, count: int) -> None:
        wanted = call.parameters.get("InstanceType", "m1.small")
        known = INSTANCE_TYPES.get(wanted)
        if known is None:
            raise AwsError("InvalidParameterValue", f"Invalid value '{wanted}' for InstanceType.")
        image = backend.amis[call.parameters["ImageId"]]
        architectures = known.get("ProcessorInfo", {}).get("SupportedArchitectures", ["x86_64"])
        if image.architecture and image.architecture not in architectures:
            raise AwsError(
                "InvalidParameterValue",
                f"The architecture '{','.join(architectures)}' of the specified instance type does not match the "
                f"architecture '{image.architecture}' of the specified AMI.",
            )
        in_use = sum(
            _vcpus(instance.instance_type)
            for instance in all_instances()
            if instance.state in ("pending", "running") and instance.region_name == call.region
        )
        if in_use + count * _vcpus(wanted) > self._vcpus_quota:
            raise AwsError(
                "VcpuLimitExceeded",
                f"You have requested more vCPU capacity than your current vCPU limit of {self._vcpus_quota} allows "
                "for the instance bucket that the specified instance type belongs to.",
            )

    def _after_run(self, call: AwsCall, answer: Answer) -> Answer:
        body = answer.body
        for instance_id in re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", answer.body):
            instance = find_instance(instance_id.decode())
            if instance is None:
                continue
            set_state(instance, "pending")
            registered_images.give_root_volume(instance.id)
            for interface in instance.nics.values():
                interface.delete_on_termination = True
                interface.add_tags(call.tags("network-interface"))
            self._changed(instance.id)
        body = re.sub(
            rb"<(instanceState)>.*?</\1>",
            b"<instanceState><code>0</code><name>pending</name></instanceState>",
            body,
            flags=re.DOTALL,
        )
        told = Answer(answer.status, {k: v for k, v in answer.headers.items() if k != "Content-Length"}, body)
        if token := call.parameters.get("ClientToken", ""):
            self._launched[f"{call.region}/{token}"] = (_parameters_digest(call), told)
        return told

    # -- states

    def _check_transition(self, call: AwsCall) -> None:
        allowed = {
            "StartInstances": ("stopped", "running", "pending"),
            "StopInstances": ("running", "stopping", "stopped", "pending"),
            "RebootInstances": ("running",),
        }[call.action]
        for instance_id in call.listed("InstanceId"):
            instance = find_instance(instance_id)
            if instance is None:
                continue  # moto says InvalidInstanceID.NotFound
            if instance.state not in allowed:
                verb = {"StartInstances": "started", "StopInstances": "stopped", "RebootInstances": "rebooted"}
                raise AwsError(
                    "IncorrectInstanceState",
                    f"The instance '{instance_id}' is not in a state from which it can be {verb[call.action]}.",
                )

    def _console_output(self, call: AwsCall) -> Answer:
        """Reference: only the most recent 64 KB; `Latest` on types of the Nitro hypervisor; else what was posted
        shortly after the instance changed its state.
        """
        instance = _instance_of(call)
        latest = call.parameters.get("Latest", "false") == "true"
        if latest and INSTANCE_TYPES[instance.instance_type]["Hypervisor"] != "nitro":
            message = "This instance type does not support retrieving the latest console logs."
            raise AwsError("UnsupportedOperation", message)
        # Before the first boot there is nothing to show.
        posted = instance.state in ("running", "stopping", "stopped")
        text = self._console.output(instance.id) if posted else ""
        encoded = base64.b64encode(text.encode()[-CONSOLE_BYTES_MAX:]).decode()
        instance_id = instance.id
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        inner = f"<instanceId>{instance_id}</instanceId><timestamp>{moment}</timestamp><output>{encoded}</output>"
        return ec2_answer("GetConsoleOutput", inner)


def _instance_of(call: AwsCall) -> Any:
    instance_id = call.parameters.get("InstanceId", "")
    instance = find_instance(instance_id)
    if instance is None or instance.region_name != call.region:
        raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
    return instance


def _console_screenshot(call: AwsCall) -> Answer:
    """Reference: "a JPG-format screenshot of a running instance … Base64-encoded"."""
    instance = _instance_of(call)
    if instance.state != "running":
        raise AwsError("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'running' state.")
    inner = f"<imageData>{DARK_SCREEN}</imageData><instanceId>{instance.id}</instanceId>"
    return ec2_answer("GetConsoleScreenshot", inner)


def _parameters_digest(call: AwsCall) -> str:
    chosen = sorted((key, value) for key, value in call.parameters.items() if key not in ("ClientToken", "DryRun"))
    return hashlib.sha256(repr(chosen).encode()).hexdigest()


def _vcpus(instance_type: str) -> int:
    return int(INSTANCE_TYPES.get(instance_type, {}).get("VCpuInfo", {}).get("DefaultVCpus", 1))


def _check_counts(call: AwsCall) -> int:
    try:
        least, most = int(call.parameters["MinCount"]), int(call.parameters["MaxCount"])
    except (KeyError, ValueError):
        raise AwsError("MissingParameter", "The request must contain the parameters MinCount and MaxCount") from None
    if not 1 <= least <= most:
        raise AwsError("InvalidParameterValue", "MinCount must be at least 1 and at most MaxCount.")
    return most


def _check_tagged_kinds(call: AwsCall) -> None:
    """Reference, RunInstances: "The tags to apply to the resources that are created during instance launch"."""
    number = 1
    while (kind := call.parameters.get(f"TagSpecification.{number}.ResourceType")) is not None:
        if kind not in TAGGED_AT_LAUNCH:
            message = f"'{kind}' is not a valid taggable resource type for this operation."
            raise AwsError("InvalidParameterValue", message)
        number += 1


def _check_image(call: AwsCall, backend: Any) -> None:
    image_id = call.parameters.get("ImageId", "")
    if not image_id:
        raise AwsError("MissingParameter", "The request must contain the parameter ImageId")
    if not re.fullmatch(r"ami-([0-9a-f]{8}|[0-9a-f]{17})", image_id):
        raise AwsError("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    image = backend.amis.get(image_id)
    if image is None:
        raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    if image.state != "available":
        raise AwsError("InvalidAMIID.Unavailable", f"The image id '[{image_id}]' is no longer available")


def _subnet_id(call: AwsCall) -> str:
    return call.parameters.get("SubnetId") or call.parameters.get("NetworkInterface.1.SubnetId", "")


def _check_address(call: AwsCall, backend: Any, count: int) -> None:
    wanted = call.parameters.get("PrivateIpAddress") or call.parameters.get("NetworkInterface.1.PrivateIpAddress", "")
    subnet_id = _subnet_id(call)
    if not subnet_id:
        if wanted:
            raise AwsError("InvalidParameterCombination", "A private IP address needs a subnet.")
        return
    subnet = next((zone[subnet_id] for zone in backend.subnets.values() if subnet_id in zone), None)
    if subnet is None:
        raise AwsError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
    if not wanted:
        return
    if count > 1:
        raise AwsError("InvalidParameterCombination", "A single IP address cannot be used for several instances.")
    try:
        address = ipaddress.IPv4Address(wanted)
    except ValueError:
        raise AwsError("InvalidParameterValue", f"invalid value for parameter address: {wanted}") from None
    network = ipaddress.IPv4Network(subnet.cidr_block)
    if address not in network:
        raise AwsError("InvalidParameterValue", "Address does not fall within the subnet's address range")
    if int(address) - int(network.network_address) < 4 or address == network.broadcast_address:
        raise AwsError("InvalidParameterValue", "Address is in subnet's reserved address range")
    if address_is_taken(subnet, wanted):
        raise AwsError("InvalidIPAddress.InUse", f"Address {wanted} is in use.")


def _check_groups(call: AwsCall, backend: Any) -> None:
    subnet_id = _subnet_id(call)
    subnet = next((zone[subnet_id] for zone in backend.subnets.values() if subnet_id in zone), None)
    for group_id in call.listed("SecurityGroupId") + call.listed("NetworkInterface.1.SecurityGroupId"):
        group = backend.get_security_group_from_id(group_id)
        if group is None:
            raise AwsError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
        if subnet is not None and group.vpc_id != subnet.vpc_id:
            raise AwsError(
                "InvalidParameter",
                f"Security group {group_id} and subnet {subnet_id} belong to different networks.",
            )


def _check_user_data(call: AwsCall) -> None:
    encoded = call.parameters.get("UserData", "")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise AwsError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data") from None
    if len(raw) > USER_DATA_BYTES_MAX:
        raise AwsError("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES_MAX} bytes")
