"""OSCAL 1.2.1 assessment-results as plain dicts; every uuid is a UUIDv5, so the export is the same each time."""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from orchestrator.evidence.reading.comparisons import comparisons
from orchestrator.evidence.reading.controls import Determination, all_controls, controls_of, determinations
from orchestrator.evidence.reading.material import Material, root_text
from orchestrator.evidence.reading.words import duration, outcome, title
from orchestrator.evidence.story import SystemStory

OSCAL_VERSION = "1.2.1"
NAMESPACE = "urn:skerry:oscal"
ROLES = {
    "author": "Author of the plan",
    "operator": "Operator of the run",
    "approver": "Approver of the plan",
    "reviewer": "Reviewer of the results",
}


class _Names:
    """Names become uuids that are the same in every export of the run."""

    def __init__(self, run: str) -> None:
        self._space = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:skerry:run:{run}")

    def __call__(self, *words: object) -> str:
        return str(uuid.uuid5(self._space, "/".join(map(str, words))))


def _prop(name: str, value: object) -> dict[str, str]:
    return {"name": name, "ns": NAMESPACE, "value": str(value)}


def assessment_results(material: Material, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The document over one run. `files` are the bundle's, to be named by digest."""
    names = _Names(material.story.run)
    found = determinations(
        material.story,
        approved=bool(material.of_kind("approval.granted")),
        reviewed=bool(material.of_kind("review.signed")),
    )
    observations = _observations(material, names)
    known = {observation["uuid"] for observation in observations}
    results: dict[str, Any] = {
        "uuid": names("result"),
        "title": f"Run {material.story.run}",
        "description": _told(material),
        "start": material.story.events[0].time,
        "end": material.ended,
        "local-definitions": _local_definitions(material, names),
        "reviewed-controls": {
            "control-selections": [
                {"include-controls": [{"control-id": each} for each in all_controls(material.story)]}
            ]
        },
        "observations": observations,
        "findings": [_finding(each, names, known) for each in found],
    }
    risks = _risks(material, names)
    if risks:
        results["risks"] = risks
    entries = _log_entries(material, names)
    if entries:
        results["assessment-log"] = {"entries": entries}
    attestations = _attestations(material, names)
    if attestations:
        results["attestations"] = attestations
    return {
        "assessment-results": {
            "uuid": names("assessment"),
            "metadata": _metadata(material, names),
            "import-ap": {"href": "#" + names("plan")},
            "results": [results],
            "back-matter": {"resources": _resources(files, names)},
        }
    }


def _told(material: Material) -> str:
    systems = ", ".join(f"{name} {outcome(system)}" for name, system in material.story.systems.items())
    return f"{title(material.story)}: {material.story.result}; {systems or 'no system'}."


def _people(material: Material) -> dict[str, str]:
    """Person → the role they had in the run; the last word wins where somebody had two."""
    story = material.story
    people = {story.author or "unknown": "author", story.operator or "unknown": "operator"}
    people |= {signed.by: "approver" for signed in material.of_kind("approval.granted")}
    people |= {signed.by: "reviewer" for signed in material.of_kind("review.signed")}
    return people


def _metadata(material: Material, names: _Names) -> dict[str, Any]:
    people = _people(material)
    head = material.head
    by_role: dict[str, list[str]] = {}
    for person, role in people.items():
        by_role.setdefault(role, []).append(names("party", person))
    return {
        "title": f"{title(material.story)}, run {material.story.run}",
        "last-modified": material.last_time,
        "version": "1",
        "oscal-version": OSCAL_VERSION,
        "roles": [{"id": role, "title": text} for role, text in ROLES.items()],
        "parties": [{"uuid": names("party", each), "type": "person", "name": each} for each in people],
        "responsible-parties": [{"role-id": role, "party-uuids": parties} for role, parties in by_role.items()],
        "props": [
            _prop("log-origin", head.origin),
            _prop("log-size", head.size),
            _prop("log-root", root_text(head)),
            _prop("plan", material.story.plan_digest or "unknown"),
        ],
    }


def _local_definitions(material: Material, names: _Names) -> dict[str, Any]:
    def component(kind: str, name: str, text: str) -> dict[str, Any]:
        return {
            "uuid": names("component", name),
            "type": kind,
            "title": name,
            "description": text,
            "status": {"state": "operational"},
        }

    tool = component("software", "skerry", "The program that carried out and recorded the run.")
    platform = {
        "uuid": names("platform"),
        "title": str(material.story.created.get("host", {}).get("name", "controller")),
    }
    return {
        "components": [component("system", name, f"System {name}") for name in material.story.systems],
        "assessment-assets": {"components": [tool], "assessment-platforms": [platform]},
    }


def _observations(material: Material, names: _Names) -> list[dict[str, Any]]:
    systems = list(material.story.systems.values())

    def events(kind: str) -> list[int]:
        return [event.index for system in systems for event in system.of(kind)]

    def attempts(system: SystemStory) -> str:
        return (
            f"{system.name}: {sum(each.passed for each in system.attempts)} of {len(system.attempts)} attempts passed"
        )

    measured = [
        f"{system.name} {event.data.get('objective', '')} {duration(event.data.get('achieved_seconds'))}"
        f" of {duration(event.data.get('target_seconds'))}"
        for system in systems
        for event in system.of("objective.measured")
    ]
    compared = [each for system in systems for each in comparisons(system)]
    equal = sum(each.equal for each in compared)
    rows = [
        ("approvals", "Approvals", f"{len(material.of_kind('approval.granted'))} approvals of the plan", "EXAMINE",
         [signed.event.index for signed in material.of_kind("approval.granted")]),
        ("steps", "Steps", "; ".join(map(attempts, systems)), "TEST",
         [each.started.index for system in systems for each in system.attempts]),
        ("digests", "Digests at every site", f"{equal} of {len(compared)} comparisons were equal", "TEST",
         sorted({each.event.index for each in compared})),
        ("points", "Recovery points", f"{len(events('recovery_point.held'))} recovery points held", "TEST",
         events("recovery_point.held")),
        ("objectives", "Recovery objectives", "; ".join(measured), "TEST", events("objective.measured")),
        ("review", "Review", "; ".join(str(each.get("conclusion", "")) for each in material.reviews), "EXAMINE",
         [signed.event.index for signed in material.of_kind("review.signed")]),
    ]  # fmt: skip
    return [
        {
            "uuid": names("observation", key),
            "title": text,
            "description": told,
            "methods": [method],
            "types": ["control-objective"],
            "origins": [{"actors": [{"type": "tool", "actor-uuid": names("component", "skerry")}]}],
            "relevant-evidence": [{"href": "log/events.ndjson", "description": _entries(indices)}],
            "collected": material.last_time,
        }
        for key, text, told, method, indices in rows
        if indices and told
    ]


def _entries(indices: list[int]) -> str:
    return f"log entries {min(indices)} to {max(indices)}, {len(indices)} of them"


def _finding(found: Determination, names: _Names, known: set[str]) -> dict[str, Any]:
    observations = [{"observation-uuid": names("observation", key)} for key in found.observations]
    finding: dict[str, Any] = {
        "uuid": names("finding", found.objective),
        "title": f"{found.objective}: {found.words}",
        "description": "Determined by the tool from logged events; the conclusion on the control is the assessor's.",
        "target": {
            "type": "objective-id",
            "target-id": found.objective,
            "status": {"state": "satisfied" if found.satisfied else "not-satisfied"},
        },
    }
    observations = [each for each in observations if each["observation-uuid"] in known]
    if observations:
        finding["related-observations"] = observations
    return finding


def _risks(material: Material, names: _Names) -> list[dict[str, Any]]:
    """What a reviewer found, with the action that was decided on."""
    risks = []
    for review in material.reviews:
        for found in review.get("findings", []):
            told = str(found.get("text", ""))
            action = str(found.get("action", "none decided"))
            whose = f"{action}; owner {found.get('owner', '?')}, due {found.get('due', '?')}"
            remediation = {"uuid": names("remedy", found["id"]), "lifecycle": "planned", "title": action}
            risks.append(
                {
                    "uuid": names("risk", found["id"]),
                    "title": str(found["id"]),
                    "description": told,
                    "statement": told,
                    "status": "remediating",
                    "remediations": [remediation | {"description": whose}],
                }
            )
    return risks


def _log_entries(material: Material, names: _Names) -> list[dict[str, Any]]:
    entries = []
    operator = {"party-uuid": names("party", material.story.operator or "unknown"), "role-id": "operator"}
    for system in material.story.systems.values():
        for each in system.attempts:
            action = str((each.started.data.get("action") or {}).get("verb"))
            entry = {
                "uuid": names("attempt", system.name, each.step, each.mode, each.number, each.started.index),
                "title": f"{system.name}/{each.step} ({each.mode}, attempt {each.number}): {each.status}",
                "start": each.started.time,
                "props": [_prop("status", each.status), _prop("controls", " ".join(controls_of(action)) or "none")],
                "logged-by": [operator],
            }
            if each.finished:
                entry["end"] = each.finished.time
            entries.append(entry)
    return entries


def _attestations(material: Material, names: _Names) -> list[dict[str, Any]]:
    return [
        {
            "responsible-parties": [{"role-id": "reviewer", "party-uuids": [names("party", signed.by)]}],
            "parts": [
                {
                    "name": "review",
                    "title": "Review",
                    "prose": str(signed.statement.predicate.get("conclusion", "")) or "none",
                }
            ],
        }
        for signed in material.of_kind("review.signed")
    ]


def _resources(files: Mapping[str, bytes], names: _Names) -> list[dict[str, Any]]:
    def resource(path: str, key: str, text: str) -> dict[str, Any]:
        digest = hashlib.sha256(files[path]).hexdigest()
        link = {"href": path, "hashes": [{"algorithm": "SHA-256", "value": digest}]}
        return {"uuid": names(key), "title": text, "rlinks": [link]}

    plan = "plan.json" if "plan.json" in files else "log/events.ndjson"
    shown = ["log/checkpoint", "log/events.ndjson", *sorted(path for path in files if path.startswith("statements/"))]
    return [
        resource(plan, "plan", "The approved plan; it is the assessment procedure, there is no separate one"),
        *(resource(path, f"file/{path}", path) for path in shown),
    ]
