"""Tells which trust policy was in force, by the log's and a run's own words, beside the one an auditor judges by."""

from collections.abc import Sequence

from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.trust_policy import TrustPolicy

ADOPTED = "policy.set"


def judge_adopted(events: Sequence[LoggedEvent], policy: TrustPolicy | None, findings: Findings) -> None:
    """Tell which policy the log says is in force; warn where it is not the auditor's."""
    adopted = [event for event in events if event.type == ADOPTED]
    if adopted:
        _compare(str(adopted[-1].data.get("policy")), f"by the log (entry {adopted[-1].index})", policy, findings)


def judge_named(named: object, policy: TrustPolicy, findings: Findings) -> None:
    """The same for a run that names one."""
    if named:
        _compare(str(named), "when the run was created", policy, findings)


def _compare(digest: str, where: str, policy: TrustPolicy | None, findings: Findings) -> None:
    told = f"trust policy in force {where}: {digest[:23]}…"
    if policy is None or policy.digest == digest:
        findings.info("RUNBOOK AND PEOPLE", told + (", which is yours" if policy else ""))
    else:
        findings.warn("RUNBOOK AND PEOPLE", f"{told}, another one than yours")
