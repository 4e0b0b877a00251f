"""The shape of a strict service: it sees a call before moto does and the answer before the client does."""

from typing import Any, Protocol

from orchestrator.lab.cloud.answers import Answer
from orchestrator.lab.cloud.call import AwsCall


class StrictService(Protocol):
    """One service's rules.

    Laws (tests/platform/test_strict_ec2.py and its like, each citing the API's documentation):
      received  refuses what the call shows by itself to be wrong; nothing is locked yet, nothing of moto's is asked
      before  refuses with AwsError, answers itself, or returns None to let moto answer; it changes nothing of moto's
      after   is called with moto's answer (good ones only) and returns what the client gets
      stands_alone  is true for calls that `before` answers with its own locks and its own durable state, so that
              they run side by side and are not replayed
      kept    is what a replay of this call would draw anew and must not; `restore` gets it back before `after`
    """

    def stands_alone(self, call: AwsCall) -> bool: ...
    def received(self, call: AwsCall) -> None: ...
    def before(self, call: AwsCall) -> Answer | None: ...
    def after(self, call: AwsCall, answer: Answer) -> Answer: ...
    def kept(self, call: AwsCall, answer: Answer) -> dict[str, Any]: ...
    def restore(self, call: AwsCall, answer: Answer, kept: dict[str, Any]) -> None: ...


class Lenient:
    """A service without rules of ours; strict services inherit what they do not need."""

    def stands_alone(self, call: AwsCall) -> bool:
        return False

    def received(self, call: AwsCall) -> None:
        return

    def before(self, call: AwsCall) -> Answer | None:
        return None

    def after(self, call: AwsCall, answer: Answer) -> Answer:
        return answer

    def kept(self, call: AwsCall, answer: Answer) -> dict[str, Any]:
        return {}

    def restore(self, call: AwsCall, answer: Answer, kept: dict[str, Any]) -> None:
        return
