"""Persons' signatures over statements."""

from typing import Protocol

from orchestrator.model.approval import ApprovalStatement, SignedApproval
from orchestrator.model.inventory import Person


class ApprovalSigner(Protocol):
    """Signs with a person's SSH key (`ssh-keygen -Y sign`, agent or file), which never enters this program."""

    def sign(self, statement: ApprovalStatement, key_file: str) -> SignedApproval: ...


class ApprovalJudge(Protocol):
    """Checks a signed approval against the persons of the inventory.

    Raises ApprovalInvalid: for another plan, an expired or future statement, an unknown person, a role that the person
    does not hold, a key that is not theirs, a broken signature. A signed rejection is a valid word:
    the caller looks at the decision.
    """

    def check(self, approval: SignedApproval, *, plan: str, people: dict[str, Person], now: str) -> None: ...
