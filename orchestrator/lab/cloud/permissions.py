"""What a role may do: its policies judged for one call, as IAM's "Policy evaluation logic" describes.

An explicit Deny decides, then an Allow, else the call is refused. Actions and resources may hold * and ?. Conditions:
StringEquals, StringNotEquals, StringLike, Bool, Null and their …IfExists, over aws:RequestTag, aws:ResourceTag (and
ec2:ResourceTag), aws:TagKeys, aws:RequestedRegion, ec2:CreateAction and ec2:MetadataHttpTokens. A condition that is not
known here is an error, never a pass.
"""

import fnmatch
import json
import urllib.parse
from collections.abc import Iterable
from typing import Any

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

from orchestrator.foundation.errors import LabError
from orchestrator.lab.cloud.answers import AwsError
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall

REFUSED = {
    "ec2": ("UnauthorizedOperation", 403),
    "ebs": ("AccessDeniedException", 403),
    "kms": ("AccessDeniedException", 400),
}
TAGGED_WHEN_MADE = ("RunInstances", "RegisterImage", "CreateVolume")
# S3 user guide, "Required permissions for Amazon S3 API operations", PutObject: what its headers ask for besides.
S3_HEADERS = {
    "x-amz-tagging": "s3:PutObjectTagging",
    "x-amz-object-lock-mode": "s3:PutObjectRetention",
    "x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold",
}
RESOURCE_IDS = ("InstanceId", "SnapshotId", "VolumeId", "ImageId", "ResourceId", "SubnetId", "GroupId", "VpcId")


def check_role(role_name: str, call: AwsCall) -> None:
    """Raises AwsError where the policies of the role do not let the call through."""
    role = next((each for each in iam_backends[ACCOUNT]["aws"].roles.values() if each.name == role_name), None)
    needed = [f"{call.service}:{call.action}"]
    if call.service == "ec2" and call.action in TAGGED_WHEN_MADE and _request_tags(call):
        needed.append("ec2:CreateTags")  # "Grant permission to tag resources on creation": an action of its own
    if call.service == "s3":
        needed += [action for header, action in S3_HEADERS.items() if header in call.headers]
    for action in needed:
        if role is None or not _allowed(_statements(role), action, call):
            code, status = REFUSED.get(call.service, ("AccessDenied", 403))
            raise AwsError(code, f"role {role_name} is not authorized to perform: {action}", status)


def _statements(role: Any) -> list[dict[str, Any]]:
    documents = [json.loads(urllib.parse.unquote(text)) for text in role.policies.values()]
    for policy in role.managed_policies.values():
        chosen = next(each for each in policy.versions if each.version_id == policy.default_version_id)
        documents.append(json.loads(chosen.document))
    return [statement for document in documents for statement in _listed(document["Statement"])]


def _allowed(statements: list[dict[str, Any]], action: str, call: AwsCall) -> bool:
    fitting = [each["Effect"] for each in statements if _fits(each, action, call)]
    return "Deny" not in fitting and "Allow" in fitting


def _fits(statement: dict[str, Any], action: str, call: AwsCall) -> bool:
    if not any(fnmatch.fnmatchcase(action.lower(), each.lower()) for each in _listed(statement["Action"])):
        return False
    resources = _resources(call)
    patterns = _listed(statement["Resource"])
    if not all(any(fnmatch.fnmatchcase(one, pattern) for pattern in patterns) for one in resources):
        return False
    return all(_holds(operator, wish, action, call) for operator, wish in statement.get("Condition", {}).items())


def _resources(call: AwsCall) -> list[str]:
    """ARNs that the call is about; services that IAM knows no resource of give `*`."""
    if call.service == "s3":
        path = urllib.parse.unquote(call.path).strip("/")
        return [f"arn:aws:s3:::{path}"] if path else ["*"]
    if call.service == "ebs":
        identifier = call.path.split("/")[3 if "/completion/" in call.path else 2] if call.path.count("/") > 1 else "*"
        return [f"arn:aws:ec2:{call.region}::snapshot/{identifier}"]
    if call.service == "route53" and "/hostedzone/" in call.path:
        return [f"arn:aws:route53:::hostedzone/{call.path.split('/')[3]}"]
    if call.service == "route53" and "/change/" in call.path:
        return [f"arn:aws:route53:::change/{call.path.rsplit('/', 1)[1]}"]
    if call.service == "sts":
        return [call.parameters.get("RoleArn", "*")]
    return ["*"]


def _request_tags(call: AwsCall) -> dict[str, str]:
    if call.service == "ebs":
        told = call.json().get("Tags", []) if call.action == "StartSnapshot" else []
        return {str(tag["Key"]): str(tag.get("Value", "")) for tag in told}
    tags: dict[str, str] = {}
    for prefix in ("Tag", *(f"TagSpecification.{number}.Tag" for number in range(1, 10))):
        number = 1
        while (key := call.parameters.get(f"{prefix}.{number}.Key")) is not None:
            tags[key] = call.parameters.get(f"{prefix}.{number}.Value", "")
            number += 1
    return tags


def _resource_tags(call: AwsCall) -> dict[str, str]:
    """Tags of all resources that the call names and that are there; where several differ, none of them counts."""
    named = [value for name, value in call.parameters.items() if name.split(".")[0] in RESOURCE_IDS]
    if call.service == "ebs":
        named = [word for word in call.path.split("/") if word.startswith("snap-")]
    backend = ec2_backends[ACCOUNT][call.region]
    found = [{tag["key"]: tag["value"] for tag in backend.describe_tags({"resource-id": [each]})} for each in named]
    if not found:
        return {}
    return {key: value for key, value in found[0].items() if all(each.get(key) == value for each in found)}


def _context(key: str, action: str, call: AwsCall) -> list[str]:
    """The values that a condition key has in this call; none where the call does not have it."""
    family, _, tag = key.partition("/")
    if family == "aws:RequestTag":
        return [value for name, value in _request_tags(call).items() if name == tag]
    if family in ("aws:ResourceTag", "ec2:ResourceTag"):
        return [value for name, value in _resource_tags(call).items() if name == tag]
    if family == "aws:TagKeys":
        return list(_request_tags(call))
    if family == "aws:RequestedRegion":
        return [call.region]
    if family == "ec2:CreateAction":
        return [call.action] if action == "ec2:CreateTags" and call.action != "CreateTags" else []
    if family == "ec2:MetadataHttpTokens":
        return [value for name, value in call.parameters.items() if name == "MetadataOptions.HttpTokens"]
    raise LabError(f"a policy of the lab asks for {key}, which the lab's cloud does not know")


def _holds(operator: str, wish: dict[str, Any], action: str, call: AwsCall) -> bool:
    if_exists = operator.endswith("IfExists")
    kind = operator.removesuffix("IfExists")
    for key, wanted in wish.items():
        values, patterns = _context(key, action, call), [str(each) for each in _listed(wanted)]
        if kind == "Null":
            if bool(values) == (patterns[0].lower() == "true"):
                return False
            continue
        if not values:
            if if_exists or kind == "StringNotEquals":
                continue
            return False
        if kind == "StringNotEquals":
            holds = not set(values) & set(patterns)
        elif kind in ("StringEquals", "Bool"):
            holds = bool(set(values) & set(patterns))
        elif kind == "StringLike":
            holds = any(fnmatch.fnmatchcase(value, pattern) for value in values for pattern in patterns)
        else:
            raise LabError(f"a policy of the lab uses {operator}, which the lab's cloud does not know")
        if not holds:
            return False
    return True


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | dict) else [value]
