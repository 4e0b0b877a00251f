"""The after-action report, in the form of HSEEP: overview, analysis of objectives, strengths, improvement plan.

What can be read out of the log stands here at once; what only people can say comes from the signed review.
"""

import base64
from collections.abc import Mapping
from typing import Any

from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.reading.comparisons import comparisons
from orchestrator.evidence.reading.material import Material, Signed
from orchestrator.evidence.reading.report_parts import Cell, Html, chip, code, facts, table, whole
from orchestrator.evidence.reading.words import duration, outcome, text, title
from orchestrator.evidence.story import RunStory, SystemStory, as_logged
from orchestrator.evidence.told_surroundings import scope_rows

RATINGS = {
    "P": "performed without challenges",
    "S": "performed with some challenges",
    "M": "performed with major challenges",
    "U": "unable to be performed",
}


_TYPES = {"drill": "drill", "tabletop": "tabletop exercise", "walkthrough": "walkthrough"}
_SHOWN = ("image/png", "image/jpeg")
_SHOWN_BYTES_MAX = 256 * 1024
_ASKED = {"rto": "recovery time", "rpo": "recovery point"}


def rating(system: SystemStory) -> str:
    """HSEEP's letter, proposed from the log: first tries only, repeats needed, way back taken, neither."""
    if system.was_rolled_back:
        return "M"
    if not system.has_succeeded:
        return "U"
    return "P" if all(each.passed and each.starts == 1 for each in system.attempts) else "S"


def after_action(material: Material) -> str:
    """The section, as HTML."""
    parts = (_overview, _attendance, _analysis, _machines, _strengths, _improvements)
    return "".join(part(material) for part in parts)


def _overview(material: Material) -> str:
    story = material.story
    people = sorted({signed.by for signed in material.signed} | {story.operator, story.author} - {""})
    said = scope_rows(story.plan)
    pairs: list[tuple[str, Cell]] = [
        ("Name", title(story)),
        ("Dates", f"{story.events[0].time} to {material.ended}"),
        ("Type", _TYPES.get(story.kind, "operation on live systems")),
        ("Scope", ", ".join(story.systems) or "none"),
        *_objectives(story),
        ("Took part, by signature or by name", ", ".join(people)),
    ]
    return "<h3>Overview</h3>" + facts([*pairs, *said])


def _attendance(material: Material) -> str:
    """Who signed that they were there, and whether it was announced to them; nothing where nobody did."""
    rows: list[list[Cell]] = []
    for signed in material.of_kind("attendance.signed"):
        said = signed.statement.predicate
        knew = "announced" if said.get("announced") is True else "not announced"
        rows.append([signed.by, signed.role, knew, str(said.get("saw", "")), signed.event.index])
    head = ["Participant", "As", "To them it was", "What they say", "Log entry"]
    return "<h3>Who was there, by signature</h3>" + table(head, rows, numbers=(4,)) if rows else ""


def _objectives(story: RunStory) -> list[tuple[str, Cell]]:
    """What each system was to reach: one row for all that were to reach the same."""
    systems: dict[str, list[str]] = {}
    for name in story.systems:
        asked = story.objectives(name)
        told = [f"{words} {duration(asked[key])}" for key, words in _ASKED.items() if key in asked]
        systems.setdefault(", ".join(told), []).append(name)
    several = len(systems) > 1
    return [
        ("Objectives", f"{', '.join(names)}: {told}" if several else told) for told, names in systems.items() if told
    ]


def _analysis(material: Material) -> str:
    rows: list[list[Cell]] = []
    for name, system in material.story.systems.items():
        letter = rating(system)
        repeated = sum(each.number > 1 for each in system.attempts)
        told = f"{outcome(system)}; {len(system.attempts)} attempts, {repeated} of them repeats"
        rows.append([name, told, chip(letter), RATINGS[letter]])
    words = '<p class="note">Ratings are proposed from the log (P, S, M, U as in HSEEP); the reviewer decides.</p>'
    return "<h3>Analysis by system</h3>" + table(["System", "What happened", "Rating", "Meaning"], rows) + words


def _machines(material: Material) -> str:
    """Machines that were started from images, with where their console and screen are kept; nothing where none was."""
    seen = [event.data for system in material.story.systems.values() for event in system.of("machine.seen")]
    rows: list[list[Cell]] = []
    with as_logged():
        for said in seen:
            kept = [
                code(artifact_path(str(said[name]["digest"]))) if said[name] else "none"
                for name in ("console", "picture")
            ]
            up = Html(f"{chip('yes' if said['up'] is True else 'no').code} after {text(duration(said['seconds']))}")
            told = "; ".join(map(str, [*said["wrong"], *said["last_lines"][-1:]]))
            rows.append([str(said["dataset"]), f"{said['firmware']}, {said['accelerator']}", up, told, *kept])
        pictures = [_picture(material, said) for said in seen]
    head = ["Image", "Started by", "Up", "What it said last", "Its console", "Its screen"]
    return "<h3>Machines started from images</h3>" + table(head, rows) + "".join(pictures) if rows else ""


def _picture(material: Material, said: Mapping[str, Any]) -> str:
    """A machine's screen within the page, where it is kept, is a picture that browsers know, and no huge one."""
    kept = said["picture"] or {}
    content = material.core.get(artifact_path(str(kept["digest"]))) if kept else None
    if content is None or kept["mediaType"] not in _SHOWN or len(content) > _SHOWN_BYTES_MAX:
        return ""
    data = base64.b64encode(content).decode()
    about = text(f"The screen of the machine of {said['dataset']}")
    return f'<p><img style="max-width:100%" alt="{about}" src="data:{kept["mediaType"]};base64,{data}"></p>'


def _strengths(material: Material) -> str:
    systems = list(material.story.systems.values())
    compared = [each for system in systems for each in comparisons(system)]
    found = []
    if compared and all(each.equal for each in compared):
        found.append(f"Every one of {len(compared)} comparisons of data between sites was equal.")
    if systems and all(system.has_succeeded or system.was_rolled_back for system in systems):
        found.append("Every system ended in a state that was planned: moved, drilled, or back where it started.")
    measured = [event for system in systems for event in system.of("objective.measured")]
    if measured and all(event.data.get("met") is True for event in measured):
        found.append(f"All {len(measured)} measured objectives were met.")
    found += [str(each) for review in material.reviews for each in review.get("strengths", [])]
    listed = "".join(f"<li>{text(each)}</li>" for each in found)
    return "<h3>Strengths</h3>" + (f"<ul>{listed}</ul>" if listed else '<p class="note">None on record.</p>')


def _improvements(material: Material) -> str:
    rows: list[list[Cell]] = []
    for review in material.reviews:
        for each in review.get("findings", []):
            cells = [str(each.get(name, "")) for name in ("id", "text", "cause", "action", "owner")]
            rows.append([*cells, whole(str(each.get("due", ""))), chip("open")])
    conclusions = [
        f"<p><b>{text(signed.by)}</b> ({text(signed.role)}): "
        f"{text(signed.statement.predicate.get('conclusion', ''))}</p>"
        for signed in material.of_kind("review.signed")
    ]
    said = "".join(conclusions) or (
        "<p>No review is on record yet. A person other than author and operator reviews with <code>skerry evidence "
        "review</code>; findings, corrective actions, owners and dates then stand here.</p>"
    )
    said += "".join(
        f"<p>Reported to management: <b>{text(signed.by)}</b> ({text(signed.role)}) {text(_sign_off(signed))}</p>"
        for signed in material.of_kind("review.accepted")
    )
    head = ["Finding", "Observation", "Root cause", "Corrective action", "Owner", "Due", "State"]
    words = '<p class="note">A finding is open until the review of a later, passed drill closes it.</p>'
    return "<h3>Review and improvement plan</h3>" + said + (table(head, rows) + words if rows else "")


def _sign_off(signed: Signed) -> str:
    said = signed.statement.predicate
    verb = "accepted the review" if said.get("decision") == "accepted" else "sent the review back"
    return f"{verb} on {signed.event.time[:10]}" + (f": {said['comment']}" if said.get("comment") else ".")
