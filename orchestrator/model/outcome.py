"""How something ended. Only `passed` is passed."""

from enum import StrEnum
from typing import Any

from orchestrator.model.frozen import Frozen


class Result(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    WAIVED = "waived"
    NOT_RUN = "not_run"


class Probe(StrEnum):
    """What the world says about a deed. `unknown` is a question to a person, never a blind retry."""

    APPLIED = "applied"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Outcome(Frozen):
    """What a handler returns: data, never an exception. `observed` holds JSON values."""

    result: Result
    message: str = ""
    observed: dict[str, Any] = {}
    error: str = ""  # class name of the error, for a failed outcome
    hint: str = ""
    retryable: bool = False

    @property
    def passed(self) -> bool:
        return self.result is Result.PASSED

    @staticmethod
    def done(message: str = "", **observed: Any) -> "Outcome":
        return Outcome(result=Result.PASSED, message=message, observed=observed)

    @staticmethod
    def failed(message: str, *, error: str = "", hint: str = "", retryable: bool = False, **observed: Any) -> "Outcome":
        return Outcome(
            result=Result.FAILED, message=message, error=error, hint=hint, retryable=retryable, observed=observed
        )
