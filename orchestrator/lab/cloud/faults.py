"""Trouble on demand: throttling, server errors, lost connections, delays, refused capacity, wrong digests.

A rule says for which service and action (shell patterns), how often (probability, at most `count` times, not the first
`skip` times), and what:
  throttle     the service's own throttling error, with Retry-After
  error        an internal error, 5xx
  drop_before  the connection breaks and nothing was done
  drop_after   it was done, and the connection breaks before the answer
  hold         as drop_before, but the caller waits for its answer until all is healed
  hold_after   as drop_after, likewise
  delay        the answer comes `seconds` later
  refuse       the error `code` with `message`, such as InsufficientInstanceCapacity
  wrong_digest a digest in the answer's headers is not the content's (read calls of ebs and s3)
"""

import fnmatch
import json
import random
import threading
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from orchestrator.lab.cloud.answers import Answer, AwsError
from orchestrator.lab.cloud.call import AwsCall

Kind = Literal[
    "throttle", "error", "drop_before", "drop_after", "hold", "hold_after", "delay", "refuse", "wrong_digest"
]

# Code, status: each service's reference, "Common errors" and the error lists of its actions.
THROTTLING = {
    "ec2": ("RequestLimitExceeded", 503),
    "s3": ("SlowDown", 503),
    "ebs": ("RequestThrottledException", 400),
    "route53": ("Throttling", 400),
    "kms": ("ThrottlingException", 400),
    "sts": ("Throttling", 400),
    "iam": ("Throttling", 400),
}
INTERNAL = {
    "ec2": ("InternalError", 500),
    "s3": ("InternalError", 500),
    "ebs": ("InternalServerException", 500),
    "route53": ("ServiceUnavailable", 503),
    "kms": ("KMSInternalException", 500),
    "sts": ("InternalFailure", 500),
    "iam": ("ServiceFailure", 500),
}


HOLD_SECONDS_MAX = 600.0


@dataclass
class Rule:
    """One kind of trouble and whom it meets."""

    kind: Kind
    service: str = "*"
    action: str = "*"
    probability: float = 1.0
    count: int | None = None
    seconds: float = 0.0
    code: str = ""
    message: str = ""
    status: int = 400
    seed: int = 0
    skip: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, not {self.kind!r}")
        self.chance = random.Random(self.seed)
        self.healed = threading.Event()

    def meets(self, call: AwsCall) -> bool:
        """Asked once for each call: it counts those that are let pass."""
        met = (
            (self.count is None or self.hits < self.count)
            and fnmatch.fnmatchcase(call.service, self.service)
            and fnmatch.fnmatchcase(call.action, self.action)
            and self.chance.random() < self.probability
        )
        if met and self.skip:
            self.skip -= 1
            return False
        return met


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def control(self, method: str, body: bytes) -> Answer:
        """`/_lab/faults`: GET shows, POST {"rules": [...]} adds, DELETE heals all."""
        try:
            if method == "POST":
                rules = [Rule(**wish) for wish in json.loads(body)["rules"]]
                with self._lock:
                    self._rules += rules
            elif method == "DELETE":
                with self._lock:
                    for rule in self._rules:
                        rule.healed.set()
                    self._rules.clear()
        except (ValueError, KeyError, TypeError) as error:
            return Answer(400, {"Content-Type": "text/plain"}, f"{error}\n".encode())
        return Answer(200, {"Content-Type": "application/json"}, json.dumps({"rules": self.shown()}).encode())

    def shown(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {key: value for key, value in vars(rule).items() if key not in ("chance", "healed")}
                for rule in self._rules
            ]

    def draw(self, call: AwsCall) -> Rule | None:
        """The first rule that meets this call; it counts as a hit."""
        with self._lock:
            for rule in self._rules:
                if rule.meets(call):
                    rule.hits += 1
                    return rule
        return None


def before(rule: Rule, call: AwsCall) -> Answer | None:
    """What the rule does before the service sees the call: an answer, an AwsError, a delay, or nothing."""
    if rule.kind == "throttle":
        code, status = THROTTLING.get(call.service, ("ThrottlingException", 400))
        fields = {"retry_after": f"{rule.seconds:g}"} if rule.seconds else {}
        raise AwsError(code, "Request limit exceeded.", status, reason="ACCOUNT_THROTTLED", **fields)
    if rule.kind == "error":
        code, status = INTERNAL.get(call.service, ("InternalFailure", 500))
        raise AwsError(code, "An internal error has occurred. Please try your query again.", status)
    if rule.kind == "refuse":
        raise AwsError(rule.code, rule.message or f"The lab was told to refuse with {rule.code}.", rule.status)
    if rule.kind == "delay":
        time.sleep(rule.seconds)
    if rule.kind == "hold":
        rule.healed.wait(HOLD_SECONDS_MAX)
    if rule.kind in ("drop_before", "hold"):
        return Answer(500, connection_lost=True)
    return None


def after(rule: Rule, answer: Answer) -> Answer:
    """What the rule does to an answer that was given."""
    if rule.kind == "hold_after":
        rule.healed.wait(HOLD_SECONDS_MAX)
    if rule.kind in ("drop_after", "hold_after"):
        return Answer(answer.status, answer.headers, answer.body, connection_lost=True)
    if rule.kind == "wrong_digest":
        wrong = {
            name: value[::-1] if name.lower().startswith("x-amz-checksum") and value != "SHA256" else value
            for name, value in answer.headers.items()
        }
        return Answer(answer.status, wrong, answer.body)
    return answer
