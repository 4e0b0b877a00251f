"""How a verification reads on a terminal and as JSON."""

from typing import Any

from orchestrator.evidence.findings import Findings
from orchestrator.evidence.trust_policy import TrustPolicy
from orchestrator.evidence.verify_log import LogReport

NOT_SHOWN_BY_A_LOG = (
    "Not shown by this log: events never logged; whether what was logged is true; that this history is the only one\n"
    "(for that, compare with checkpoints held by others: object lock, witness, timestamps); whether the controls as a\n"
    "whole are effective."
)
KEYS_FROM_THE_FOLDER = (
    "keys            from the log's own folder, not from an auditor's policy: they show that the log is whole,\n"
    "                not whose it is (--policy FILE judges that)"
)


def as_text(report: LogReport, policy: TrustPolicy | None, seconds: float) -> str:
    lines = [f"skerry evidence verify   log {report.origin or '?'}   {report.folder}"]
    lines.append(policy_line(policy) if policy else KEYS_FROM_THE_FOLDER)
    lines += grouped(report.findings)
    lines += ["", verdict_line(report.findings, seconds)]
    if report.verified:
        lines.append(NOT_SHOWN_BY_A_LOG)
    return "\n".join(lines)


def policy_line(policy: TrustPolicy) -> str:
    return f"policy          {policy.digest[:39]}… (yours: {policy.where})"


def grouped(findings: Findings) -> list[str]:
    lines: list[str] = []
    group = ""
    for finding in findings.found:
        if finding.group != group:
            group = finding.group
            lines += ["", group] if not lines else [group]
        lines.append(f"  {finding.status:<5} {finding.text}")
    return lines


def verdict_line(findings: Findings, seconds: float) -> str:
    if findings.verified:
        return f"VERIFIED: {findings.checks} checks.  ({seconds:.2f} s)"
    return f"NOT VERIFIED: {len(findings.failed)} of {findings.checks} checks failed.  ({seconds:.2f} s)"


def as_data(report: LogReport, policy: TrustPolicy | None, seconds: float) -> dict[str, Any]:
    return {
        "verified": report.verified,
        "kind": "log",
        "path": report.folder,
        "origin": report.origin,
        "size": report.size,
        "root": report.root,
        "checkpoints": report.checkpoints,
        "keys_from": "policy" if policy else "folder",
        "policy": policy.digest if policy else None,
        "runs": [
            {
                "run": run.run,
                "events": run.events,
                "created_at": run.created_at,
                "finished_at": run.finished_at,
                "steps_started": run.steps_started,
                "steps_finished": run.steps_finished,
            }
            for run in report.runs
        ],
        "checks": report.findings.as_data(),
        "seconds": round(seconds, 3),
        "not_shown": NOT_SHOWN_BY_A_LOG.replace("\n", " "),
    }
