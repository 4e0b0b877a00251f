"""Who may call: access keys that the cloud issued, and what their policies deny.

Signatures are not checked: the lab listens on this machine only, and a wrong secret would test nothing of ours. An
access key that nobody issued is refused as each service refuses it (IAM user guide, "Troubleshoot access denied").
"""

import json
from pathlib import Path

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from orchestrator.lab.cloud.answers import AwsError
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall

UNKNOWN_KEY = {
    "ec2": ("AuthFailure", "AWS was not able to validate the provided access credentials", 401),
    "s3": ("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", 403),
    "ebs": ("UnrecognizedClientException", "The security token included in the request is invalid.", 403),
    "kms": ("UnrecognizedClientException", "The security token included in the request is invalid.", 400),
}
UNKNOWN_KEY_ELSEWHERE = ("InvalidClientTokenId", "The security token included in the request is invalid.", 403)


class Access:
    """Checks the key of each call. `keys_file` is a JSON object: access key → {"name"}."""

    def __init__(self, keys_file: Path) -> None:
        self._keys_file = keys_file

    def check(self, call: AwsCall) -> None:
        """Raises AwsError for a caller that nobody knows."""
        if not call.access_key:
            raise AwsError("AccessDenied", "Access Denied", 403)
        if call.access_key in json.loads(self._keys_file.read_text()):
            return
        if self._issued(call.access_key):
            return
        raise AwsError(*UNKNOWN_KEY.get(call.service, UNKNOWN_KEY_ELSEWHERE))

    def _issued(self, access_key: str) -> bool:
        if access_key in iam_backends[ACCOUNT]["aws"].access_keys:
            return True
        assumed = [role for backend in sts_backends[ACCOUNT].values() for role in backend.assumed_roles]
        return any(role.access_key_id == access_key for role in assumed)
