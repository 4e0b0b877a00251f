"""A person's signed word over a plan's digest."""

from typing import Literal

from pydantic import Field

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Digest, Name


class ApprovalStatement(Frozen):
    """What is signed. Times are RFC 3339 UTC. The nonce makes each statement one of its kind."""

    plan: Digest
    person: Name
    role: Name
    decision: Literal["approve", "reject", "revoke"]  # revoke: takes the person's own approval back
    at: str
    expires_at: str
    nonce: str
    log_origin: str = ""
    log_size: int = 0  # the log head its signer saw: every approver witnesses earlier history
    log_root: str = ""
    comment: str = ""
    max_runs: int = Field(default=0, ge=0)  # how many runs it allows; 0: as many as begin within its time
    change_ticket: str = ""  # under which number change management knows it


class SignedApproval(Frozen):
    """A DSSE envelope as text, beside the statement read from it."""

    statement: ApprovalStatement
    envelope: str
    key_fingerprint: str


class SignedOrder(Frozen):
    """An operator's start order for a plan: a DSSE envelope as text. Good for one run, which `used_by` names."""

    plan: Digest
    person: Name
    role: Name
    expires_at: str
    envelope: str
    key_fingerprint: str
    used_by: str = ""
