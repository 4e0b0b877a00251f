"""Who may call: access keys that the cloud issued, as long as they are good, and what their role's policies allow.

Signatures are not checked: the lab listens on this machine only, and a wrong secret would test nothing of ours. An
access key that nobody issued is refused as each service refuses it (IAM user guide, "Troubleshoot access denied").
"""

import json
import time
from pathlib import Path
from typing import Any

from moto.iam.models import iam_backends

from orchestrator.lab.cloud.answers import AwsError
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.issued_keys import IssuedKeys
from orchestrator.lab.cloud.permissions import check_role

UNKNOWN_KEY = {
    "ec2": ("AuthFailure", "AWS was not able to validate the provided access credentials", 401),
    "s3": ("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", 403),
    "ebs": ("UnrecognizedClientException", "The security token included in the request is invalid.", 403),
    "kms": ("UnrecognizedClientException", "The security token included in the request is invalid.", 400),
}
# What each service says of a token whose time is over: its "Common errors".
EXPIRED = {"ec2": ("RequestExpired", 400), "s3": ("ExpiredToken", 400), "route53": ("ExpiredToken", 403)}
EXPIRED_ELSEWHERE = ("ExpiredTokenException", 403)
UNKNOWN_KEY_ELSEWHERE = ("InvalidClientTokenId", "The security token included in the request is invalid.", 403)


class Access:
    """Checks the key of each call. `keys_file` is a JSON object: access key → {"name"}."""

    def __init__(self, keys_file: Path, issued: IssuedKeys) -> None:
        self._keys_file = keys_file
        self._issued = issued

    def check(self, call: AwsCall) -> None:
        """Raises AwsError for a caller that nobody knows, whose time is over, or whose role does not allow the call."""
        if not call.access_key:
            raise AwsError("AccessDenied", "Access Denied", 403)
        if call.access_key in json.loads(self._keys_file.read_text()):
            return
        if key := self._issued.find(call.access_key):
            self._check_issued(call, key)
        elif call.access_key not in iam_backends[ACCOUNT]["aws"].access_keys:
            raise AwsError(*UNKNOWN_KEY.get(call.service, UNKNOWN_KEY_ELSEWHERE))

    def _check_issued(self, call: AwsCall, key: dict[str, Any]) -> None:
        if call.headers.get("x-amz-security-token") != key["token"]:
            raise AwsError(*UNKNOWN_KEY.get(call.service, UNKNOWN_KEY_ELSEWHERE))
        if key["ends"] <= time.time():
            code, status = EXPIRED.get(call.service, EXPIRED_ELSEWHERE)
            raise AwsError(code, "The security token included in the request is expired", status)
        if key["role"] and call.action != "GetCallerIdentity":  # which nobody can be denied
            check_role(key["role"], call)
