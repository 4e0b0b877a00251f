"""All reading copies of a bundle, as one pure function of its evidence.

The exporter writes what this gives; the verifier makes it again and compares bytes. So no reading copy can say other
than the log. A change of what is made must raise RENDERING: older bundles are then not compared, and verifying says so.
"""

import json
from collections.abc import Mapping

from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.note import format_proof, split_note
from orchestrator.evidence.reading.material import Material, open_material, root_text
from orchestrator.evidence.reading.oscal import assessment_results
from orchestrator.evidence.reading.readme import readme
from orchestrator.evidence.reading.report import report_page
from orchestrator.evidence.reading.tables import events_table, steps_table
from orchestrator.evidence.reading.words import outcome, title
from orchestrator.evidence.signing.ssh_signature import NAMESPACE, armor
from orchestrator.evidence.statements import bytes_to_sign
from orchestrator.evidence.story import as_logged
from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.foundation.errors import BrokenLog

RENDERING = 6
PROVED_KINDS = (
    *("run.created", "approval.granted", "approval.revoked", "run.started", "run.finished"),
    *("result.signed", "review.signed", "review.accepted", "attendance.signed"),
)


def derive(core: Mapping[str, bytes]) -> dict[str, bytes]:
    """Path → content of every file of a bundle that is made from `core`. No clock, no locale, no chance.

    BrokenLog or EvidenceRejected where the evidence can not be read.
    """
    try:
        with as_logged():
            return _derive(core)
    except FileNotFoundError as error:
        raise BrokenLog(f"log/{error.args[0]} is missing") from None


def _derive(core: Mapping[str, bytes]) -> dict[str, bytes]:
    material = open_material(core)
    copies: dict[str, bytes] = {
        "README.txt": readme(material),
        "report.html": report_page(material),
        "summary.json": canonical_json(summary(material)) + b"\n",
        "csv/events.csv": events_table(material),
        "csv/steps.csv": steps_table(material),
    }
    if material.story.plan:
        copies["plan.json"] = json.dumps(material.story.plan, indent=1, sort_keys=True, ensure_ascii=False).encode()
    copies |= _runbook(material) | _statements(material) | _proofs(material) | _policy(material)
    copies |= {
        path.removesuffix(".note") + ".text": split_note(content.decode())[0]
        for path, content in core.items()
        if path.startswith("anchors/") and path.endswith(".note")
    }
    # The assessment names other copies by their digests, hence comes last.
    results = assessment_results(material, {**core, **copies})
    copies["oscal/assessment-results.json"] = json.dumps(results, indent=1, ensure_ascii=False).encode()
    return copies


def rendering_of(files: Mapping[str, bytes]) -> int | None:
    """Which rendering a bundle says its reading copies were made by; None when it does not say."""
    try:
        found = json.loads(files["summary.json"])["rendering"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    return found if type(found) is int else None


def summary(material: Material) -> dict[str, object]:
    """One screen of facts, for scripts."""
    story = material.story
    systems = {}
    for name, system in story.systems.items():
        measured = {event.data.get("objective"): event.data for event in system.of("objective.measured")}
        systems[name] = {
            "outcome": outcome(system).replace(" ", "_"),
            "rto_seconds": measured.get("rto", {}).get("achieved_seconds"),
            "rpo_seconds": measured.get("rpo", {}).get("achieved_seconds"),
        }
    return {
        "rendering": RENDERING,
        "title": title(story),
        "run": story.run,
        "kind": story.kind,
        "result": story.result,
        "operator": story.operator,
        "author": story.author,
        "plan": story.plan_digest,
        "started": story.events[0].time,
        "ended": material.ended,
        "events": len(story.events),
        "systems": systems,
        "log": {"origin": material.head.origin, "size": material.head.size, "root": root_text(material.head)},
    }


def _runbook(material: Material) -> dict[str, bytes]:
    """The files that decide what runs, under the names that the plan gives them."""
    found = {}
    for path, reference in material.story.files.items():
        content = material.core.get(artifact_path(str(reference["digest"])))
        parts = path.split("/")
        if content is not None and all(part not in ("", ".", "..") for part in parts) and path.isprintable():
            found[f"runbook/{path}"] = content
    return found


def _statements(material: Material) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for signed in material.signed:
        base = f"statements/{signed.name}"
        files[f"{base}.dsse.json"] = signed.envelope.text().encode()
        files[f"{base}.pae"] = bytes_to_sign(signed.envelope.payload)
        files[f"{base}.sshsig"] = armor(signed.envelope.signatures[0][1]).encode()
    return files


def _proofs(material: Material) -> dict[str, bytes]:
    files = {}
    for event in material.story.events:
        if event.type in PROVED_KINDS:
            proof = format_proof(event.index, material.reader.inclusion(event.index), material.note)
            files[f"proofs/{event.index:08d}.{event.type}.tlog-proof"] = proof.encode()
    return files


def _policy(material: Material) -> dict[str, bytes]:
    policy = material.policy
    lines = []
    for person in policy.people.values():
        for key in person.keys:
            valid = f'valid-after="{_compact(key.not_before)}",valid-before="{_compact(key.not_after)}"'
            lines.append(f'{person.id}@{policy.identity_domain} namespaces="{NAMESPACE}",{valid} {key.line}\n')
    files = {"policy/allowed_signers": "".join(lines).encode(), "policy/tlog-policy.txt": policy.log_text.encode()}
    if policy.tsa_roots:
        files["policy/tsa-roots.pem"] = policy.tsa_roots.encode()
    return files


def _compact(time: str) -> str:
    """As allowed_signers has days: 20261121Z."""
    return time[:10].replace("-", "") + "Z"
