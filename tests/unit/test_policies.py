"""The shipped IAM policies: each action that our code calls is in one, and no other; walked from the code itself."""

import ast
import json
import re
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from orchestrator.foundation.places import shipped_folder
from orchestrator.lab.cloud.call import REST_ACTIONS

PACKAGE = Path(__file__).resolve().parents[2] / "orchestrator" / "targets"
# Which of our files act in which role. The vault's bucket is another account's, with keys and a policy of its own.
ROLES = {
    "replicator": ["aws/images.py", "host_programs/cloud_data/ebs.py", "host_programs/cloud_data/objects.py"],
    "drill": ["aws/machines.py", "aws/isolation.py", "aws/console.py"],
    "cutover": ["aws/machines.py", "aws/traffic.py"],
    "auditor": ["aws/things.py"],
}
OF_NO_ROLE = {
    "aws/session.py": "the chain's own identity assumes the role: sts alone",
    "s3/vault_bucket.py": "the vault's owner gives its keys",
    "s3/object_lock.py": "the witness's owner gives its keys",
}
# Not called by us: what AWS asks for besides, by its own documentation.
BESIDES = {
    "replicator": {
        # "Required permissions for EBS direct APIs with encrypted snapshots": EBS calls KMS for us.
        *("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"),
        *("kms:ReEncryptFrom", "kms:ReEncryptTo"),
        # "Actions … for Amazon S3": a lock, and tags, that are asked for while an object is put.
        *("s3:PutObjectRetention", "s3:PutObjectTagging"),
    },
    # "Grant permission to tag resources on creation".
    "drill": {"ec2:CreateTags"},
    "cutover": {"ec2:CreateTags"},
}
# Actions that IAM calls by another name than the API: "Actions, resources, and condition keys for Amazon S3".
S3_IN_IAM = {
    ("GET", ""): "s3:ListBucket",
    ("HEAD", "key"): "s3:GetObject",
    ("GET", "key"): "s3:GetObject",
    ("PUT", "key"): "s3:PutObject",
    ("POST", "key"): "s3:PutObject",
    ("GET", "uploadId"): "s3:ListMultipartUploadParts",
    ("GET", "uploads"): "s3:ListBucketMultipartUploads",
    ("DELETE", "key"): "s3:AbortMultipartUpload",
}
SERVICES = ("ec2", "ebs", "route53")


def operations() -> dict[str, str]:
    """Method of the SDK → action."""
    session = botocore.session.get_session()
    found = {
        xform_name(name): f"{service}:{name}"
        for service in SERVICES
        for name in session.get_service_model(service).operation_names
    }
    uploads = {"list_multipart_uploads": S3_IN_IAM["GET", "uploads"], "list_parts": S3_IN_IAM["GET", "uploadId"]}
    return {**found, **uploads}


def called_by_sdk(path: Path, known: dict[str, str]) -> set[str]:
    """Calls of the SDK's methods, and methods that are named: to paginators, in tables."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    names |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {known[name] for name in names & known.keys()}


def called_on_the_wire(path: Path) -> set[str]:
    """Calls that programs on hosts sign themselves, by method and path."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr == "ask" and isinstance(node.args[0], ast.Constant):
            key, query = ast.unparse(node.args[1]), ast.unparse(node.args[2])
            part = "key" if key != "''" else "uploads" if "uploads" in query else ""
            part = "uploadId" if "max-parts" in query else part
            found.add(S3_IN_IAM[str(node.args[0].value), part])
        if node.func.attr == "call" and isinstance(node.args[0], ast.Constant) and "self" in ast.unparse(node.func):
            method, where = str(node.args[0].value), ast.unparse(node.args[1])
            where = where if "snapshots" in where else "f'/snapshots/{snapshot}/blocks/{number}'"
            asked = re.sub(r"\{[^}]*\}", "x", where.removeprefix("f").strip("'"))
            found |= {
                f"ebs:{name}"
                for service, verb, pattern, name in REST_ACTIONS
                if service == "ebs" and verb == method and re.fullmatch(pattern, asked)
            }
    return found


def actions_called(role: str) -> set[str]:
    known = operations()
    paths = [PACKAGE / name for name in ROLES[role]]
    return {action for path in paths for action in called_by_sdk(path, known) | called_on_the_wire(path)}


def statements(role: str) -> list[dict[str, object]]:
    document = json.loads((shipped_folder("policies") / f"{role}.json").read_text())
    assert document["Version"] == "2012-10-17"
    listed: list[dict[str, object]] = document["Statement"]
    return listed


def actions_allowed(role: str) -> set[str]:
    return {str(action) for each in statements(role) for action in each["Action"]}  # type: ignore[attr-defined]


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_allows_what_its_code_calls_and_nothing_else(role: str) -> None:
    needed = actions_called(role) | BESIDES.get(role, set())
    assert actions_allowed(role) == needed


def test_every_file_that_speaks_to_the_cloud_has_a_role() -> None:
    known = operations()
    speaking = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if called_by_sdk(path, known) or called_on_the_wire(path)
    }
    assert speaking <= {name for names in ROLES.values() for name in names} | OF_NO_ROLE.keys()


@pytest.mark.parametrize("role", ROLES)
def test_no_wildcard_and_no_change_without_our_tag(role: str) -> None:
    changing = {"StartInstances", "StopInstances", "TerminateInstances", "PutSnapshotBlock", "CompleteSnapshot"}
    for each in statements(role):
        actions = {str(action).partition(":")[2] for action in each["Action"]}  # type: ignore[attr-defined]
        assert not any("*" in action for action in actions)
        assert each["Effect"] == "Allow"
        if actions & changing:
            assert each["Condition"] == {"Null": {"aws:ResourceTag/skerry:run": "false"}}
        if "RunInstances" in actions:
            condition = json.dumps(each["Condition"])
            assert "aws:RequestTag/skerry:run" in condition
            assert '"ec2:MetadataHttpTokens": "required"' in condition


def test_an_auditor_changes_nothing() -> None:
    assert all(action.partition(":")[2].startswith(("Describe", "List")) for action in actions_allowed("auditor"))
