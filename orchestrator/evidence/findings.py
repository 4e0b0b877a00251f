"""What a verification found, in groups, as a person reads it and as a machine does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.foundation.errors import OrchestratorError
from orchestrator.foundation.printable import printable

Status = Literal["ok", "FAIL", "warn", "info"]
PROBLEMS_SHOWN_MAX = 5


@dataclass(frozen=True)
class Finding:
    group: str
    status: Status
    text: str


@dataclass
class Findings:
    """Collected in order, as printable texts. Verified means: something was checked, and nothing failed."""

    found: list[Finding] = field(default_factory=list)

    def ok(self, group: str, text: str) -> None:
        self._add(group, "ok", text)

    def fail(self, group: str, text: str) -> None:
        self._add(group, "FAIL", text)

    def warn(self, group: str, text: str) -> None:
        self._add(group, "warn", text)

    def info(self, group: str, text: str) -> None:
        self._add(group, "info", text)

    def _add(self, group: str, status: Status, text: str) -> None:
        self.found.append(Finding(group, status, printable(text)))

    def judge(self, group: str, problems: list[str], good: str) -> bool:
        """One check: `good` when there are no problems, else the first few of them."""
        if not problems:
            self.ok(group, good)
            return True
        for problem in problems[:PROBLEMS_SHOWN_MAX]:
            self.fail(group, problem)
        if len(problems) > PROBLEMS_SHOWN_MAX:
            self.fail(group, f"… and {len(problems) - PROBLEMS_SHOWN_MAX} more of this kind")
        return False

    @contextmanager
    def border(self, group: str, what: str) -> Iterator[None]:
        """An error of ours within becomes a failed check: hostile input ends in a line, not in a traceback."""
        try:
            yield
        except OrchestratorError as error:
            self.fail(group, f"{what}: {error.message}")

    @property
    def failed(self) -> list[Finding]:
        return [finding for finding in self.found if finding.status == "FAIL"]

    @property
    def checks(self) -> int:
        return sum(finding.status in ("ok", "FAIL") for finding in self.found)

    @property
    def verified(self) -> bool:
        return self.checks > 0 and not self.failed

    def as_data(self) -> list[dict[str, Any]]:
        return [{"group": each.group, "status": each.status, "text": each.text} for each in self.found]
