"""What a runbook is for: links to impact and risk analysis, and what no program can observe but auditors ask for."""

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Name


class Participant(Frozen):
    """A role that takes part, and what it does there; who fills it where that is known beforehand."""

    role: Name
    does: str = ""
    who: str = ""
    organisation: str = ""


class Scope(Frozen):
    """All of it may be left out; what is written becomes part of the plan, and so of what persons approve."""

    bia_ref: str = ""  # the business impact analysis, as its owner files it
    risk_ref: str = ""  # the risk assessment
    scenario: str = ""
    assumptions: tuple[str, ...] = ()
    success_criteria: tuple[str, ...] = ()  # of the whole; each step has its own
    participants: tuple[Participant, ...] = ()
    third_parties: tuple[str, ...] = ()
    observers: tuple[str, ...] = ()
    announced: bool | None = None  # of a drill: whether those whom it concerns are told before
