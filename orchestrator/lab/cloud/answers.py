"""Answers and refusals in the form that each AWS protocol gives them, so that an SDK reads them as it reads AWS's."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

EC2_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
ROUTE53_NAMESPACE = "https://route53.amazonaws.com/doc/2013-04-01/"


class AwsError(Exception):
    """What the service refuses with. `status` is the HTTP status that AWS documents for the code."""

    def __init__(self, code: str, message: str, status: int = 400, **fields: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.fields = fields


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. `connection_lost` means that the bytes never reach the client."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    connection_lost: bool = False

    @property
    def good(self) -> bool:
        return self.status < 400


def refusal(service: str, error: AwsError) -> Answer:
    """`error` as `service` would say it."""
    request = str(uuid.uuid4())
    code, message = escape(error.code), escape(error.message)
    if service in ("ebs", "kms", "ssm", "secretsmanager"):
        return _json_refusal(service, error, request)
    headers = {"Content-Type": "text/xml", "x-amzn-RequestId": request}
    if "retry_after" in error.fields:
        headers["Retry-After"] = error.fields["retry_after"]
    if service == "ec2":
        text = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            f"<RequestID>{request}</RequestID></Response>"
        )
    elif service == "s3":
        headers["Content-Type"] = "application/xml"
        text = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{request}</RequestId></Error>"
    else:
        side = "Sender" if error.status < 500 else "Receiver"
        namespace = f' xmlns="{ROUTE53_NAMESPACE}"' if service == "route53" else ""
        text = (
            f"<ErrorResponse{namespace}><Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message>"
            f"</Error><RequestId>{request}</RequestId></ErrorResponse>"
        )
    return Answer(error.status, headers, b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode())


def _json_refusal(service: str, error: AwsError, request: str) -> Answer:
    version = "1.1" if service in ("kms", "ssm", "secretsmanager") else ""
    headers = {"Content-Type": f"application/x-amz-json-{version}" if version else "application/json"}
    headers |= {"x-amzn-RequestId": request, "x-amzn-ErrorType": error.code}
    if "retry_after" in error.fields:
        headers["Retry-After"] = error.fields["retry_after"]
    body: dict[str, Any] = {"__type": error.code, "message": error.message, "Message": error.message}
    if "reason" in error.fields:
        body["Reason"] = error.fields["reason"]
    return Answer(error.status, headers, json.dumps(body).encode())


def ec2_answer(action: str, inner: str) -> Answer:
    text = f'<{action}Response xmlns="{EC2_NAMESPACE}"><requestId>{uuid.uuid4()}</requestId>{inner}</{action}Response>'
    return Answer(200, {"Content-Type": "text/xml"}, b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode())


def route53_answer(element: str, inner: str, status: int = 200) -> Answer:
    text = f'<{element} xmlns="{ROUTE53_NAMESPACE}">{inner}</{element}>'
    return Answer(status, {"Content-Type": "text/xml"}, b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode())


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode())
