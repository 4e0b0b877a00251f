"""Verifies a bundle with the auditor's policy: reads the folder, lets the judges judge, says what it found.

Needs no network, no state store, and nothing of the program that made the bundle but this package.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.evidence.anchors import judge_anchors, judge_times
from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.bench import Bench
from orchestrator.evidence.bundle import MANIFEST, is_core, judge_core, judge_manifest, read_bundle
from orchestrator.evidence.bundle_log import BundleLog, judge_log
from orchestrator.evidence.disclosure import judge_disclosures
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.people import judge_people
from orchestrator.evidence.policy_told import judge_named
from orchestrator.evidence.reading.derive import RENDERING, derive, rendering_of
from orchestrator.evidence.retention import read_retention
from orchestrator.evidence.rules import judge_execution
from orchestrator.evidence.story import RunStory, as_logged, references, tell_story
from orchestrator.evidence.told_surroundings import judge_surroundings
from orchestrator.evidence.trust_policy import TrustPolicy
from orchestrator.foundation.errors import BrokenLog, EvidenceError


@dataclass
class BundleReport:
    """The verdict over a bundle."""

    folder: str
    run: str = ""
    origin: str = ""
    size: int = 0
    judge_copies: bool = True  # False where the auditor left them out: report and tables are somebody's word alone
    findings: Findings = field(default_factory=Findings)

    @property
    def verified(self) -> bool:
        return self.findings.verified


def verify_bundle(folder: Path, policy: TrustPolicy, *, judge_copies: bool = True) -> BundleReport:
    """Judge the bundle in `folder`. Never raises for what it holds: hostile input ends in a failed check."""
    report = BundleReport(str(folder), judge_copies=judge_copies)
    try:
        files = read_bundle(folder)
    except BrokenLog as error:
        report.findings.fail("FILES", error.message)
        return report
    judge_bundle(files, policy, report)
    return report


def judge_bundle(files: dict[str, bytes], policy: TrustPolicy, report: BundleReport) -> None:
    """The judgement proper, over the files as bytes."""
    findings = report.findings
    findings.judge("FILES", judge_manifest(files), f"{len(files) - 1} files match {MANIFEST}")
    log = judge_log(files, policy.log_policy, findings)
    if log is None:
        return
    findings.judge("LOG", judge_core(files, log.head.size), "no file lies among the evidence that is not part of it")
    report.run, report.origin, report.size = log.events[0].run, log.head.origin, log.head.size
    try:
        with as_logged():
            bounds = judge_anchors(files, log.head, policy, findings)
            judge_times(log.events, bounds, policy, findings)
        artifacts = _Artifacts(files)
        story = tell_story(log.events, artifacts.read)
    except EvidenceError as error:
        findings.fail("LOG", error.message)
        return
    judge_named(story.created.get("policy"), policy, findings)
    bench = Bench(story, policy, artifacts.read, bounds, files, log.head, findings)
    judges: tuple[tuple[str, Callable[[], None]], ...] = (
        ("RUNBOOK AND PEOPLE", lambda: judge_people(bench, log.entries)),
        ("EXECUTION", lambda: judge_execution(story, findings)),
        ("EXECUTION", lambda: judge_surroundings(story, findings)),
        ("EXECUTION", lambda: _judge_artifacts(files, log, story, findings)),
        ("READING COPIES", lambda: _judge_reading_copies(files, policy, report)),
    )
    for group, judge in judges:
        try:
            with as_logged():
                judge()
        except EvidenceError as error:
            findings.fail(group, error.message)


class _Artifacts:
    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def read(self, digest: str) -> bytes | None:
        content = self._files.get(artifact_path(digest))
        if content is not None and "sha256:" + hashlib.sha256(content).hexdigest() != digest:
            raise BrokenLog(f"the artifact {digest[:23]}… was altered")
        return content


def _judge_artifacts(files: dict[str, bytes], log: BundleLog, story: RunStory, findings: Findings) -> None:
    problems: list[str] = []
    named: set[str] = set()
    withheld = count = 0
    for event in (*log.events, *story.events):
        for reference in references(event.data):
            count += 1
            path = artifact_path(str(reference["digest"]))
            named.add(path)
            content = files.get(path)
            if content is None:
                withheld += 1
            elif f"sha256:{hashlib.sha256(content).hexdigest()}" != reference["digest"]:
                problems.append(f"entry {event.index}: {path} was altered")
            elif len(content) != reference["size"]:
                problems.append(f"entry {event.index}: {path} is not of the size that was logged")
    loose = sorted(path for path in files if path.startswith("artifacts/") and path not in named)
    problems += [f"{path}: no log entry names it" for path in loose]
    findings.judge("EXECUTION", problems, f"{len(named)} artifacts are what the log says, {withheld} withheld")
    judge_disclosures(files, log.events, findings)
    for hold in read_retention(log.events).holds:
        findings.info("EXECUTION", f"legal hold {hold.id} since {hold.since[:10]} by {hold.by}: {hold.because}")


def _judge_reading_copies(files: dict[str, bytes], policy: TrustPolicy, report: BundleReport) -> None:
    """Made again from the evidence and compared byte for byte: a doctored report can not pass."""
    findings = report.findings
    if not report.judge_copies:
        findings.warn("READING COPIES", "NOT JUDGED, as asked. Do not rely on them: skerry evidence read makes yours")
        return
    core = {path: content for path, content in files.items() if is_core(path)}
    made_by = rendering_of(files)
    if made_by not in (None, RENDERING):
        findings.fail(
            "READING COPIES",
            f"they can not be compared: made by rendering {made_by}, this verifier has {RENDERING}. Verify with the "
            "release that made them, or judge the evidence without them: --without-reading-copies",
        )
        return
    again = derive(core)
    differ = [f"{path} is not what the log says" for path in sorted(again) if files.get(path) != again[path]]
    stray = sorted(set(files) - set(core) - set(again) - {MANIFEST})
    differ += [f"{path} is neither evidence nor made from it" for path in stray]
    findings.judge("READING COPIES", differ, f"{len(again)} files for people and tools are exactly what the log says")
    inside = files.get("policy/trust-policy.json")
    if inside is not None and inside != policy.content:
        findings.warn("READING COPIES", "the policy inside the bundle differs from yours; yours was used to judge")
    claims = files.get("anchors/worm.json")
    if claims is not None:
        count = len(json.loads(claims))
        findings.info("READING COPIES", f"{count} object-lock copies are claimed; compare with a listing you pull")
