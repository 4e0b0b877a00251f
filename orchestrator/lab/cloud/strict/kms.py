"""KMS: key material outlives a restart of the cloud, so that what was encrypted can be read."""

import base64
import json
from typing import Any

from moto.kms.models import kms_backends

from orchestrator.lab.cloud.answers import Answer
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict.layer import Lenient


class StrictKms(Lenient):
    """Moto draws key material from the system's generator; the journal keeps it, for a replay would draw another."""

    def kept(self, call: AwsCall, answer: Answer) -> dict[str, Any]:
        if call.action != "CreateKey":
            return {}
        material = self._key(call, answer).key_material
        return {"key_material": base64.b64encode(material).decode()} if isinstance(material, bytes) else {}

    def restore(self, call: AwsCall, answer: Answer, kept: dict[str, Any]) -> None:
        if "key_material" in kept:
            self._key(call, answer).key_material = base64.b64decode(kept["key_material"])

    def _key(self, call: AwsCall, answer: Answer) -> Any:
        key_id = json.loads(answer.body)["KeyMetadata"]["KeyId"]
        return kms_backends[ACCOUNT][call.region].keys[key_id]
