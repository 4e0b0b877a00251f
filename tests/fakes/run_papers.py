"""Papers of runs that are simply given, and signed words made without keys, for recorders that put them on record."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from orchestrator.model.approval import ApprovalStatement, SignedApproval, SignedOrder


class FewPapers:
    """What it is given; `given` may grow while a run goes on."""

    def __init__(self, facts: Mapping[str, Any] | None = None) -> None:
        self.given: list[SignedApproval] = []
        self._facts = facts or {}

    def words(self, plan: str) -> Sequence[SignedApproval]:
        return [word for word in self.given if word.statement.plan == plan]

    def files(self, plan: str) -> Mapping[str, bytes]:
        return {}

    def orders(self, plan: str, run: str, operator: str) -> Sequence[SignedOrder]:
        return []

    def facts(self, plan: str, kind: str) -> Mapping[str, Any]:
        return self._facts


def word(
    plan: str,
    person: str,
    decision: Literal["approve", "reject", "revoke"],
    number: int,
    *,
    role: str = "system-owner",
    comment: str = "",
) -> SignedApproval:
    """The word of a person in the given second; nobody signed it, so only what does not judge may see it."""
    said = ApprovalStatement(
        plan=plan,
        person=person,
        role=role,
        decision=decision,
        at=f"2026-11-21T00:00:{number:02d}.000Z",
        expires_at="2026-12-21T00:00:00.000Z",
        nonce=f"{person}-{number}",
        comment=comment,
    )
    return SignedApproval(statement=said, envelope="{}", key_fingerprint="SHA256:fake")
