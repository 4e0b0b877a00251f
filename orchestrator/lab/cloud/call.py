"""One AWS API call as it came in: which service, which action, with which parameters, by whom."""

import hashlib
import io
import json
import re
import urllib.parse
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

ACCOUNT = "123456789012"

# Query and JSON protocols name their action; REST services are told by method and path.
QUERY_SERVICES = {"ec2", "sts", "iam", "elasticloadbalancing", "cloudformation", "autoscaling", "sns"}
CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request")


@dataclass(frozen=True)
class AwsCall:
    """One request. `parameters` holds query-protocol parameters; JSON and XML bodies are read by who needs them."""

    service: str
    action: str
    region: str
    access_key: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes
    parameters: dict[str, str] = field(default_factory=dict)

    @cached_property
    def body_sha256(self) -> str:
        """In hex; made once, for a body may be large and is compared, signed and kept by it."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def changes(self) -> bool:
        """Whether the call may change state, so that a restart must know it."""
        if self.service in QUERY_SERVICES:
            return not self.action.startswith(("Describe", "Get", "List", "Simulate", "AssumeRole", "Decode"))
        if self.service == "kms":
            return not self.action.startswith(
                ("Describe", "List", "Get", "Encrypt", "Decrypt", "ReEncrypt", "GenerateData", "Sign", "Verify")
            )
        return self.method not in ("GET", "HEAD", "OPTIONS")

    def flag(self, name: str) -> bool:
        return self.parameters.get(name, "").lower() == "true"

    def listed(self, prefix: str) -> list[str]:
        """`InstanceId.1`, `InstanceId.2` … in order."""
        found = []
        number = 1
        while f"{prefix}.{number}" in self.parameters:
            found.append(self.parameters[f"{prefix}.{number}"])
            number += 1
        return found

    def tags(self, resource_type: str) -> dict[str, str]:
        """Tags of a TagSpecification for `resource_type`."""
        tags: dict[str, str] = {}
        number = 1
        while (kind := self.parameters.get(f"TagSpecification.{number}.ResourceType")) is not None:
            tag = 1
            while (key := self.parameters.get(f"TagSpecification.{number}.Tag.{tag}.Key")) is not None:
                if kind == resource_type:
                    tags[key] = self.parameters.get(f"TagSpecification.{number}.Tag.{tag}.Value", "")
                tag += 1
            number += 1
        return tags

    def json(self) -> dict[str, Any]:
        value = json.loads(self.body or b"{}")
        return value if isinstance(value, dict) else {}


def read_call(environ: dict[str, Any], body: bytes) -> AwsCall:
    """Understand a WSGI request. An unsigned request is taken for S3, as AWS's own endpoints do by host name."""
    headers = {
        key[5:].replace("_", "-").lower(): str(value) for key, value in environ.items() if key.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = str(environ[name])
    path = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ.get("PATH_INFO", "/")).split("?")[0]
    query = dict(urllib.parse.parse_qsl(str(environ.get("QUERY_STRING", "")), keep_blank_values=True))
    signed = CREDENTIAL.search(headers.get("authorization", "")) or CREDENTIAL.search(
        "Credential=" + query.get("X-Amz-Credential", "")
    )
    access_key, region, service = (signed[1], signed[3], signed[4]) if signed else ("", "us-east-1", "s3")
    method = str(environ["REQUEST_METHOD"])
    parameters: dict[str, str] = {}
    if service in QUERY_SERVICES:
        parameters = {**query, **dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))}
        action = parameters.get("Action", "")
    elif "x-amz-target" in headers:
        action = headers["x-amz-target"].rpartition(".")[2]
    else:
        action = rest_action(service, method, path, query, headers)
    return AwsCall(service, action, region, access_key, method, path, query, headers, body, parameters)


def rest_action(service: str, method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> str:
    """The API's own name of a REST call: what IAM policies, faults and the list of calls speak of."""
    for pattern_service, pattern_method, pattern, name in REST_ACTIONS:
        if service == pattern_service and method == pattern_method and re.fullmatch(pattern, path):
            return name
    if service == "s3":
        return s3_action(method, path, query, headers)
    return f"{method} {path}"


REST_ACTIONS = (
    ("ebs", "POST", "/snapshots", "StartSnapshot"),
    ("ebs", "POST", "/snapshots/completion/[^/]+", "CompleteSnapshot"),
    ("ebs", "PUT", "/snapshots/[^/]+/blocks/[^/]+", "PutSnapshotBlock"),
    ("ebs", "GET", "/snapshots/[^/]+/blocks/[^/]+", "GetSnapshotBlock"),
    ("ebs", "GET", "/snapshots/[^/]+/blocks", "ListSnapshotBlocks"),
    ("ebs", "GET", "/snapshots/[^/]+/changedblocks", "ListChangedBlocks"),
    ("route53", "POST", "/2013-04-01/hostedzone", "CreateHostedZone"),
    ("route53", "GET", "/2013-04-01/hostedzone", "ListHostedZones"),
    ("route53", "GET", "/2013-04-01/hostedzonesbyname", "ListHostedZonesByName"),
    ("route53", "GET", "/2013-04-01/hostedzone/[^/]+", "GetHostedZone"),
    ("route53", "DELETE", "/2013-04-01/hostedzone/[^/]+", "DeleteHostedZone"),
    ("route53", "POST", "/2013-04-01/hostedzone/[^/]+/rrset/?", "ChangeResourceRecordSets"),
    ("route53", "GET", "/2013-04-01/hostedzone/[^/]+/rrset", "ListResourceRecordSets"),
    ("route53", "GET", "/2013-04-01/change/[^/]+", "GetChange"),
    ("route53", "POST", "/2013-04-01/healthcheck", "CreateHealthCheck"),
    ("route53", "POST", "/2013-04-01/healthcheck/[^/]+", "UpdateHealthCheck"),
    ("route53", "POST", "/2013-04-01/tags/.+", "ChangeTagsForResource"),
    ("route53", "GET", "/2013-04-01/tags/.+", "ListTagsForResource"),
)

S3_SUBRESOURCES = {
    "versioning": "BucketVersioning",
    "object-lock": "BucketObjectLockConfiguration",
    "policy": "BucketPolicy",
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "tagging": "ObjectTagging",
    "retention": "ObjectRetention",
    "legal-hold": "ObjectLegalHold",
    "acl": "ObjectAcl",
    "location": "BucketLocation",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "attributes": "ObjectAttributes",
}


def s3_action(method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> str:
    """The IAM-style name of an S3 call."""
    verb = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}.get(method, method)
    bucket, _, key = path.lstrip("/").partition("/")
    for name, action in S3_SUBRESOURCES.items():
        if name in query:
            return verb + action
    if not bucket:
        return "ListAllMyBuckets"
    if not key:
        if method == "POST" and "delete" in query:
            return "DeleteObject"
        if method == "GET":
            return "ListBucketMultipartUploads" if "uploads" in query else "ListBucket"
        return {"PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "ListBucket"}.get(method, method)
    if "uploadId" in query and method == "GET":
        return "ListMultipartUploadParts"
    if "uploadId" in query and method == "DELETE":
        return "AbortMultipartUpload"
    return f"{verb}Object"


def with_body(environ: dict[str, Any], body: bytes) -> dict[str, Any]:
    """The environment for the next application, its input readable again."""
    return {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
