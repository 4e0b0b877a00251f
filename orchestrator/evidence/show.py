"""How a verification reads on a terminal and as JSON."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.evidence.findings import Findings
from orchestrator.evidence.policy_told import judge_adopted
from orchestrator.evidence.trust_policy import TrustPolicy, read_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, verify_bundle
from orchestrator.evidence.verify_log import HeldHead, LogReport, own_keys, read_held, verify_log
from orchestrator.foundation.errors import BrokenLog, EvidenceRejected, UsageError
from orchestrator.foundation.printable import printable

NOT_SHOWN_BY_A_LOG = (
    "Not shown by this log: events never logged; whether what was logged is true; that this history is the only one\n"
    "(for that, compare with checkpoints held by others: object lock, witness, timestamps); whether the controls as a\n"
    "whole are effective."
)
NOT_SHOWN_BY_A_BUNDLE = (
    "Not shown by this bundle: events never logged; whether what was logged is true; other runs of the log (verify\n"
    "the whole log for those); anything before the first key in your policy; whether the controls as a whole are\n"
    "effective."
)
KEYS_FROM_THE_FOLDER = (
    "keys            from the log's own folder, not from an auditor's policy: they show that the log is whole,\n"
    "                not whose it is (--policy FILE judges that)"
)


def as_text(report: LogReport, policy: TrustPolicy | None, seconds: float) -> str:
    lines = [f"skerry evidence verify   log {printable(report.origin) or '?'}   {printable(report.folder)}"]
    lines.append(policy_line(policy) if policy else KEYS_FROM_THE_FOLDER)
    lines += grouped(report.findings)
    lines += ["", verdict_line(report.findings, seconds)]
    if report.verified:
        lines.append(NOT_SHOWN_BY_A_LOG)
    return "\n".join(lines)


def policy_line(policy: TrustPolicy) -> str:
    return f"policy          {policy.digest} (yours: {policy.where})"


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


def bundle_as_text(report: BundleReport, policy: TrustPolicy, seconds: float) -> str:
    lines = [f"skerry evidence verify   bundle {printable(report.folder)}", policy_line(policy)]
    lines += grouped(report.findings)
    lines += ["", verdict_line(report.findings, seconds)]
    if report.verified and not report.judge_copies:
        lines[-1] = lines[-1].replace("VERIFIED:", "VERIFIED, BUT NOT ITS READING COPIES:", 1)
    if report.verified:
        lines.append(NOT_SHOWN_BY_A_BUNDLE)
    return "\n".join(lines)


def bundle_as_data(report: BundleReport, policy: TrustPolicy, seconds: float) -> dict[str, Any]:
    return {
        "verified": report.verified,
        "kind": "bundle",
        "path": report.folder,
        "run": report.run,
        "origin": report.origin,
        "size": report.size,
        "keys_from": "policy",
        "policy": policy.digest,
        "reading_copies_judged": report.judge_copies,
        "checks": report.findings.as_data(),
        "seconds": round(seconds, 3),
        "not_shown": NOT_SHOWN_BY_A_BUNDLE.replace("\n", " "),
    }


def verify_and_show(
    folder: Path,
    policy_file: Path | None,
    *,
    bundle: bool,
    as_json: bool,
    began: float,
    say: Callable[[str], None],
    held_file: Path | None = None,
    judge_copies: bool = True,
) -> None:
    """Verify a bundle or a log, say what was found, and raise BrokenLog or EvidenceRejected unless it holds."""
    if not folder.is_dir():
        raise BrokenLog(
            f"{folder}: there is neither a bundle nor a ledger here",
            hint="Name the folder of a bundle or of a ledger; the default is $SKERRY_HOME/ledger.",
        )
    policy = read_trust_policy(policy_file) if policy_file else None
    if bundle:
        if policy is None:
            raise UsageError(
                "a bundle is judged with a trust policy of your own",
                hint=f"Add --policy FILE. The copy in {folder}/policy is for reference: it proves nothing.",
            )
        found = verify_bundle(folder, policy, judge_copies=judge_copies)
        seconds = time.perf_counter() - began
        told = bundle_as_data(found, policy, seconds) if as_json else bundle_as_text(found, policy, seconds)
        say(json.dumps(told) if as_json else str(told))
        if not found.verified:
            failed, checks = len(found.findings.failed), found.findings.checks
            raise EvidenceRejected(f"the bundle {folder} does not verify: {failed} of {checks} checks failed")
        return
    vkeys = policy.log_policy.logs if policy else own_keys(folder)
    held = _held(held_file) if held_file else []
    report = verify_log(folder, vkeys=vkeys, policy=policy.log_policy if policy else None, held=held)
    judge_adopted(report.policies, policy, report.findings)
    seconds = time.perf_counter() - began
    say(json.dumps(as_data(report, policy, seconds)) if as_json else as_text(report, policy, seconds))
    if not report.verified:
        failed = len(report.findings.failed)
        raise BrokenLog(
            f"the log in {folder} does not verify: {failed} of {report.findings.checks} checks failed",
            hint="Keep a copy as it is. Compare with checkpoints held elsewhere (object lock, witness, timestamps).",
        )


def _held(path: Path) -> list[HeldHead]:
    try:
        held = read_held(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can not be read: {error}") from error
    if not held:
        raise UsageError(
            f"{path} names no locked copy of a head", hint="Give the bucket's listing: aws s3api list-object-versions …"
        )
    return held
