"""KMS: keys in the wrong state are refused; key material outlives a restart, so that what was encrypted can be read.

Source: KMS developer guide, "Key states of AWS KMS keys": a disabled key fails with DisabledException, one that waits
for its deletion with KMSInvalidStateException, also where it is only to be enabled or disabled.
"""

import base64
import json
from typing import Any

from moto.kms.models import kms_backends

from orchestrator.lab.cloud.answers import Answer, AwsError
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict.layer import Lenient

USES = ("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext")


class StrictKms(Lenient):
    """Moto draws key material from the system's generator; the journal keeps it, for a replay would draw another."""

    def before(self, call: AwsCall) -> Answer | None:
        if call.action in USES or call.action in ("EnableKey", "DisableKey"):
            key = self._named(call)
            if key is not None and key.key_state == "PendingDeletion":
                raise AwsError("KMSInvalidStateException", f"{key.arn} is pending deletion.", 400)
            if key is not None and key.key_state == "Disabled" and call.action in USES:
                raise AwsError("DisabledException", f"{key.arn} is disabled.", 400)
        return None

    def _named(self, call: AwsCall) -> Any:
        """The key that a call is about; a ciphertext of moto's begins with the id of its key. None: moto says so."""
        wish = call.json()
        backend = kms_backends[ACCOUNT][call.region]
        if identifier := str(wish.get("KeyId", "")):
            named = backend.get_key_id_from_alias(identifier) if "alias/" in identifier else None
            return backend.keys.get(named or identifier.rpartition("/")[2])
        return backend.keys.get(base64.b64decode(wish.get("CiphertextBlob", ""))[:36].decode("ascii", "replace"))

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
