"""Keys that end by themselves: AssumeRole and GetSessionToken, and whose keys they are.

Sources: STS API reference AssumeRole (DurationSeconds 900 to the role's longest, RoleSessionName, AccessDenied),
GetSessionToken (900 to 129 600 seconds; not with keys that are temporary already). What was issued is kept in a file,
so that keys outlive the cloud's process and end when they were to end. Trust policies of roles are not judged: in the
lab there is one account.
"""

import json
import re
import secrets
import threading
import time
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from moto.iam.models import iam_backends

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.lab.cloud.answers import Answer, AwsError
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall
from orchestrator.lab.cloud.strict.layer import Lenient

SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}")
TOKEN_SECONDS_MIN, TOKEN_SECONDS_MAX = 900, 129_600
NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


class IssuedKeys:
    """Keys by access key id: {"role" or "", "token", "ends" (seconds since the epoch)}."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._keys: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def find(self, access_key: str) -> dict[str, Any] | None:
        return self._keys.get(access_key)

    def issue(self, role: str, seconds: int, session: str = "") -> dict[str, Any]:
        key = {
            "access_key": "ASIA" + secrets.token_hex(8).upper(),
            "secret_key": secrets.token_urlsafe(30),
            "token": secrets.token_urlsafe(60),
            "role": role,
            "session": session,
            "ends": time.time() + seconds,
        }
        with self._lock:
            self._keys[str(key["access_key"])] = {name: key[name] for name in ("role", "session", "token", "ends")}
            replace_file(self._path, json.dumps(self._keys).encode(), mode=0o600)
        return key

    def end_all(self, method: str, body: bytes) -> Answer:
        """`/_lab/keys`: DELETE ends every key that was issued, as time would."""
        if method == "DELETE":
            with self._lock:
                for key in self._keys.values():
                    key["ends"] = 0.0
        return Answer(200, {"Content-Type": "application/json"}, json.dumps({"keys": len(self._keys)}).encode())


class StrictSts(Lenient):
    """Issues keys itself; the rest is moto's."""

    def __init__(self, keys: IssuedKeys) -> None:
        self._keys = keys

    def before(self, call: AwsCall) -> Answer | None:
        if call.action == "AssumeRole":
            return self._assume_role(call)
        if call.action == "GetSessionToken":
            if self._keys.find(call.access_key):
                raise AwsError("AccessDenied", "Cannot call GetSessionToken with session credentials", 403)
            seconds = _seconds(call, 43_200, TOKEN_SECONDS_MIN, TOKEN_SECONDS_MAX)
            return _answer("GetSessionToken", _credentials(self._keys.issue("", seconds)))
        if call.action == "GetCallerIdentity" and (key := self._keys.find(call.access_key)) and key["role"]:
            session = escape(key["session"])
            arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{key['role']}/{session}"
            inner = f"<Arn>{arn}</Arn><UserId>AROA:{session}</UserId><Account>{ACCOUNT}</Account>"
            return _answer("GetCallerIdentity", inner)
        return None

    def _assume_role(self, call: AwsCall) -> Answer:
        arn, session = call.parameters.get("RoleArn", ""), call.parameters.get("RoleSessionName", "")
        if not SESSION_NAME.fullmatch(session):
            raise AwsError("ValidationError", f"'{session}' at 'roleSessionName' failed to satisfy constraint", 400)
        role = next((each for each in iam_backends[ACCOUNT]["aws"].roles.values() if each.arn == arn), None)
        if role is None:
            message = f"User is not authorized to perform: sts:AssumeRole on resource: {arn}"
            raise AwsError("AccessDenied", message, 403)
        seconds = _seconds(call, 3600, 900, int(role.max_session_duration or 3600))
        user = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/{escape(session)}"
        told = f"<AssumedRoleId>AROA:{escape(session)}</AssumedRoleId><Arn>{user}</Arn>"
        inner = _credentials(self._keys.issue(role.name, seconds, session))
        return _answer("AssumeRole", f"{inner}<AssumedRoleUser>{told}</AssumedRoleUser>")


def _seconds(call: AwsCall, default: int, least: int, most: int) -> int:
    text = call.parameters.get("DurationSeconds", str(default))
    if not text.isdigit() or not least <= int(text) <= most:
        raise AwsError("ValidationError", f"DurationSeconds must be from {least} to {most}", 400)
    return int(text)


def _credentials(key: dict[str, Any]) -> str:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(key["ends"]))
    return (
        f"<Credentials><AccessKeyId>{key['access_key']}</AccessKeyId><SecretAccessKey>{key['secret_key']}"
        f"</SecretAccessKey><SessionToken>{key['token']}</SessionToken><Expiration>{ends}</Expiration></Credentials>"
    )


def _answer(action: str, inner: str) -> Answer:
    text = f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{inner}</{action}Result></{action}Response>'
    return Answer(200, {"Content-Type": "text/xml"}, text.encode())
