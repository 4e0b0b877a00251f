"""report.html: what a person opens first. One page that stands alone, on a screen and on paper."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.evidence.disclosure import logged_digests, read_disclosures
from orchestrator.evidence.reading.after_action import after_action
from orchestrator.evidence.reading.comparisons import comparisons
from orchestrator.evidence.reading.controls import TO_BE_CONFIRMED, determinations
from orchestrator.evidence.reading.drills import drills
from orchestrator.evidence.reading.material import Material, root_text
from orchestrator.evidence.reading.report_parts import Cell, Html, chip, code, digest, facts, figures, table, whole
from orchestrator.evidence.reading.report_style import STYLE
from orchestrator.evidence.reading.timeline import timeline, turning_points_told
from orchestrator.evidence.reading.words import duration, outcome, readable, shortened, size, text, title
from orchestrator.evidence.rules import outage_bounds
from orchestrator.evidence.story import SystemStory, seconds_between
from orchestrator.evidence.told_surroundings import environment_rows, scope_rows

Section = Callable[[Material], str]
_DEEDS = {
    "approval.granted": "approved the plan",
    "approval.refused": "rejected the plan",
    "approval.revoked": "took the approval back",
    "run.ordered": "ordered the start",
    "result.signed": "signed the result",
    "review.signed": "reviewed the results",
    "attendance.signed": "was there",
    "review.accepted": "signed the review off for management",
    "gate.decided": "decided at a gate of the wave",
    "waiver.given": "waived: it is no pass",
}

_OF_A_MOVE = (
    "Recovery time: from the moment clients lose the service to the moment it is verified again from where they are. "
    "Recovery point: 0 when digests taken after the last write were equal at every site."
)
_OF_A_DRILL = (
    "Recovery time: from the moment the drill began to the moment every check had passed where it reaches nobody; no "
    "client lost the service. Recovery point: how old the point was when the drill began."
)


def report_page(material: Material) -> bytes:
    """The whole page, as UTF-8."""
    sections: tuple[tuple[str, Section], ...] = (
        ("Outcome", _outcome),
        ("Timeline", _timelines),
        ("What ran, and who answers for it", _people),
        ("Recovery objectives", _objectives),
        *((("Drills", drills),) if material.story.of("drill.finished") else ()),
        ("Data proved equal at every site", _digests),
        ("Data moved", _transfers),
        ("Gates", _gates),
        ("Steps in order", _steps),
        ("Failures, deviations and rollbacks", _deviations),
        ("After-action report", after_action),
        ("Controls this run gives evidence for", _controls),
        ("Integrity of this evidence", _integrity),
    )
    body = [_header(material)]
    body += [
        f"<section><h2><span>{number}</span>{text(name)}</h2>{section(material)}</section>"
        for number, (name, section) in enumerate(sections, start=1)
    ]
    heading = text(f"{title(material.story)}, run {material.story.run}")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{heading}</title><style>{STYLE}</style></head><body><main>"
        + "\n".join(body)
        + f"<footer>Made from log entries up to {text(material.last_time)}. All times are UTC.</footer>"
        "</main></body></html>\n"
    )
    return page.encode()


def _header(material: Material) -> str:
    story = material.story
    back = any(system.was_rolled_back for system in story.systems.values())
    result = chip("passed" if story.result == "passed" else "rolled back" if back else story.result)
    systems = list(story.systems.values())
    drilled = sum(system.was_carried_out for system in systems)
    done = sum(system.was_committed for system in systems)
    returned = sum(system.was_rolled_back for system in systems)
    lead = f"{drilled or done} of {len(systems)} systems {'passed' if drilled else 'moved and committed'}"
    lead += f", {returned} brought back to where {'it' if returned == 1 else 'they'} started" if returned else ""
    seconds = duration(_span(material))
    return (
        f'<header><p class="over">Evidence report · {text(story.kind)}</p><h1>{text(title(story))} {result.code}</h1>'
        f'<p class="lead">{text(lead)}. It took {seconds}, from {whole(readable(story.events[0].time)).code} '
        f"to {whole(readable(material.ended)).code} UTC.</p>"
        f'<p class="note">Run <code>{text(story.run)}</code> · operator {text(story.operator)} · author of the plan '
        f"{text(story.author)} · plan {digest(story.plan_digest).code}</p></header>"
        '<div class="callout"><p><b>This page proves nothing by itself.</b> It is a reading copy, made from the log. '
        "Run <code>skerry evidence verify</code> on the bundle with your own trust policy: it checks the log, and that "
        "this page is exactly what the log says. README.txt tells how to do it with other people's programs.</p></div>"
    )


def _span(material: Material) -> float:
    return seconds_between(material.story.events[0].time, material.ended)


def _outcome(material: Material) -> str:
    cards = []
    for name, system in material.story.systems.items():
        bounds = outage_bounds(system)
        measured = {str(event.data.get("objective")): event.data for event in system.of("objective.measured")}
        compared = comparisons(system)
        equal = sum(each.equal for each in compared)
        authority = system.of("authority.moved")
        where = str(authority[-1].data.get("to")) if authority else "source"
        rows = [
            _figure("Recovery time", measured.get("rto")),
            _figure("Recovery point", measured.get("rpo")),
            ("Digests", f"{equal} of {len(compared)} equal", "made independently at each site")
            if compared
            else ("Digests", "–", "not compared in this run"),
            ("Authority to write", where, f"number {authority[-1].data.get('number')}" if authority else "never moved"),
        ]
        if not measured and bounds:
            rows[0] = ("Outage", duration(bounds[1]), "at most, by the log's times")
        heading = f"<h3>{text(name)} {chip(outcome(system)).code}</h3>"
        cards.append(f'<div class="card">{heading}{figures(rows)}</div>')
    return f'<div class="cards">{"".join(cards)}</div>' if cards else "<p>No system took part.</p>"


def _figure(name: str, measured: dict[str, object] | None) -> tuple[str, str, str]:
    if not measured:
        return name, "–", "not measured in this run"
    achieved, target = measured.get("achieved_seconds"), measured.get("target_seconds")
    value = duration(float(str(achieved))) if achieved is not None else "not shown"
    return name, value, f"{'met' if measured.get('met') else 'missed'}: objective {duration(float(str(target)))}"


def _timelines(material: Material) -> str:
    drawn = [
        f"<h3>{text(name)}</h3>{timeline(system)}{turning_points_told(system)}"
        for name, system in material.story.systems.items()
        if system.attempts
    ]
    legend = (
        '<p class="legend"><i style="background:#4a7fb5"></i>done<i style="background:#d99a2b"></i>undone'
        '<i style="background:#b3261e"></i>did not pass</p>'
    )
    return "".join(drawn) + legend


def _people(material: Material) -> str:
    story, created = material.story, material.story.created
    tool = created.get("tool", {})
    about = facts(
        [
            ("Runbook", f"{story.plan.get('runbook', '?')} version {story.plan.get('runbook_version', '?')}"),
            ("Plan", code(story.plan_digest)),
            (
                "Files that decide what runs",
                f"{len(story.plan.get('closure', {}))} (in runbook/, {len(story.files)} on record)",
            ),
            (
                "Tool",
                f"{tool.get('name', '?')} {tool.get('version', '?')} on {created.get('host', {}).get('name', '?')}",
            ),
        ]
    )
    rows: list[list[Cell]] = []
    for signed in material.signed:
        said = signed.statement.predicate
        what = _DEEDS.get(signed.event.type, signed.event.type)
        key = signed.envelope.signatures[0][0]
        existed = material.existed_by(signed.event.index) or "no timestamp"
        time = readable(str(said.get("statementTime", signed.event.time)))
        rows.append([signed.by, signed.role, what, time, existed, signed.event.index, code(key)])
    head = ["Who", "As", "What", "Says when", "Existed by (timestamp)", "Log entry", "Key"]
    scope = scope_rows(story.plan)
    purpose = "<h3>What it was for</h3>" + facts(scope) if scope else ""
    where = "<h3>Where it was run from</h3>" + facts(environment_rows(created))
    for event in story.of("run.resumed"):
        where += f"<h3>Gone on with at {text(readable(event.time))}</h3>" + facts(environment_rows(event.data))
    return about + table(head, rows, numbers=(5,)) + purpose + where


def _objectives(material: Material) -> str:
    rows: list[list[Cell]] = []
    for name, system in material.story.systems.items():
        for event in system.of("objective.measured"):
            achieved, target = event.data.get("achieved_seconds"), event.data.get("target_seconds")
            met = chip("met" if event.data.get("met") else "missed")
            rows.append([name, str(event.data.get("objective", "")).upper(), duration(target), duration(achieved), met])
            rows[-1].append(event.index)
    head = ["System", "Objective", "Asked for", "Achieved", "Verdict", "Log entry"]
    words = _OF_A_DRILL if material.story.of("drill.finished") else _OF_A_MOVE
    return table(head, rows, numbers=(2, 3, 5)) + f'<p class="note">{words}</p>'


def _digests(material: Material) -> str:
    rows: list[list[Cell]] = []
    for name, system in material.story.systems.items():
        for each in comparisons(system):
            found = {side: digest(made) for side, made in each.digests.items()}
            row: list[Cell] = [name, each.dataset, each.event.step]
            row += [found.get(side, Html("–")) for side in ("source", "dr", "cloud")]
            rows.append([*row, chip("equal" if each.equal else "different"), each.event.index])
    head = ["System", "Dataset", "In step", "Source", "DR", "Cloud", "Verdict", "Log entry"]
    return table(head, rows, numbers=(7,))


def _transfers(material: Material) -> str:
    rows: list[list[Cell]] = []
    for name, system in material.story.systems.items():
        for event in (*system.of("transfer.finished"), *system.of("transfer.verified")):
            data = event.data
            route = f"{data.get('source', '?')} → {data.get('replica', '?')}"
            held, wire = size(int(data.get("bytes_total", 0))), size(int(data.get("bytes_wire", 0)))
            method, seconds = str(data.get("method", "")), duration(data.get("seconds"))
            rows.append(
                [name, str(data.get("dataset", "")), str(data.get("hop", "")), route, method, held, wire, seconds]
            )
    head = ["System", "Dataset", "Hop", "Hosts", "Method", "Holds", "On the wire", "Time"]
    return table(head, rows, numbers=(5, 6, 7))


def _gates(material: Material) -> str:
    rows = [_decision(event.data, event.index) for event in material.story.of("gate.decided")]
    for name, system in material.story.systems.items():
        for event in sorted((*system.of("gate.passed"), *system.of("gate.closed")), key=lambda each: each.index):
            verdict = chip("passed" if event.type == "gate.passed" else "failed")
            for each in event.data.get("criteria") or [{}]:
                expected = each.get("expected")
                wanted = f"{each.get('comparison', '')} {'' if expected is None else expected}".replace(
                    "_", " "
                ).strip()
                seen = "missing" if each.get("missing") else str(each.get("observed", ""))
                gate = f"{event.data.get('gate', '')} before {event.step}"
                rows.append([name, gate, str(each.get("id", "none judged")), wanted, seen, verdict, event.index])
    head = ["System", "Gate", "Criterion", "Wanted", "Observed", "Verdict", "Log entry"]
    return table(head, rows, numbers=(6,))


def _decision(data: Mapping[str, Any], index: int) -> list[Cell]:
    """What a person decided at a gate of the wave, and on which values."""
    said = data.get("said")
    seen = ", ".join(f"{key} {value}" for key, value in said.items()) if isinstance(said, dict) else ""
    who, gate = f"{data.get('by', '?')} ({data.get('role', '?')})", f"{data.get('gate', '')} of the wave"
    return ["all", gate, who, "go", seen, chip("passed" if data.get("decision") == "go" else "no"), index]


def _steps(material: Material) -> str:
    rows: list[list[Cell]] = []
    attempts = [each for system in material.story.systems.values() for each in system.attempts]
    for each in sorted(attempts, key=lambda attempt: attempt.started.index):
        label = Html(f"{text(each.step)}<br><span class='note'>{text(each.started.data.get('title', ''))}</span>")
        tries = f"{each.number}" + (f", resumed {each.starts - 1}×" if each.starts > 1 else "")
        what = "inverse" if each.mode == "undo" else ""
        time = each.started.time[11:23]
        entries = f"{each.started.index}–{each.last_index}"
        rows.append([each.system, label, what, tries, chip(each.status), time, duration(each.seconds), entries])
    return table(["System", "Step", "", "Try", "Status", "Began", "Took", "Log entries"], rows, numbers=(6,))


def _deviations(material: Material) -> str:
    rows: list[list[Cell]] = [
        ["all", f"gate {event.data.get('gate', '?')} was skipped", _by_whom(event.data), event.index]
        for event in material.story.of("gate.skipped")
    ]
    rows += [
        [str(event.data.get("system") or "all"), "waived: no pass", _by_whom(event.data), event.index]
        for event in material.story.of("waiver.given")
    ]
    for name, system in material.story.systems.items():
        found: list[tuple[int, str, str]] = []
        found += [
            (
                each.finished.index,
                f"{each.step} ({'inverse' if each.mode == 'undo' else 'step'}) {each.status}",
                each.message,
            )
            for each in system.attempts
            if each.finished is not None and not each.passed
        ]
        found += [
            (event.index, "rollback began", str(event.data.get("because", "")))
            for event in system.of("rollback.started")
        ]
        found += [(event.index, "rollback ended", _back(system)) for event in system.of("rollback.finished")]
        found += [
            (
                event.index,
                f"deviation: {event.data.get('what', '')}",
                f"by {event.data.get('by', '?')}: {event.data.get('reason', '')}",
            )
            for event in system.of("deviation.recorded")
        ]
        rows += [[name, what, why, index] for index, what, why in sorted(found)]
    return table(["System", "What", "Why", "Log entry"], rows, numbers=(3,))


def _by_whom(data: Mapping[str, Any]) -> str:
    return f"by {data.get('by', '?')}: {data.get('because', '')}"


def _back(system: SystemStory) -> str:
    undone = [each.step for each in system.attempts if each.mode == "undo" and each.passed]
    return f"{len(undone)} steps undone by their inverses, the last first"


def _controls(material: Material) -> str:
    approved, reviewed = bool(material.of_kind("approval.granted")), bool(material.of_kind("review.signed"))
    rows: list[list[Cell]] = [
        [code(each.objective), each.words, chip("yes" if each.satisfied else "not shown")]
        for each in determinations(material.story, approved=approved, reviewed=reviewed)
    ]
    verbs = {
        str((each.started.data.get("action") or {}).get("verb"))
        for system in material.story.systems.values()
        for each in system.attempts
    }
    named = [verb for verb in sorted(verbs & set(TO_BE_CONFIRMED)) if TO_BE_CONFIRMED[verb]]
    frameworks = sorted({framework for verb in named for framework in TO_BE_CONFIRMED[verb]})
    others: list[list[Cell]] = [[verb, *(_clauses(verb, framework) for framework in frameworks)] for verb in named]
    words = (
        '<p class="note">NIST SP 800-53A objectives. A determination says that logged events meet the objective\'s '
        "wording; the conclusion on the control is the assessor's.</p>"
    )
    more = "<h3>Other frameworks, proposed: to be confirmed by the compliance officer</h3>"
    return (
        table(["Objective", "What the run shows", "Shown"], rows)
        + words
        + more
        + table(["Step kind", *frameworks], others)
    )


def _clauses(verb: str, framework: str) -> str:
    """`Art. 11` stays in one line."""
    return ", ".join(TO_BE_CONFIRMED[verb].get(framework, ("–",))).replace(". ", ".\N{NO-BREAK SPACE}")


def _integrity(material: Material) -> str:
    head = material.head
    keys = Html("<br>".join(f"<code>{text(shortened(str(key)))}</code>" for key in material.policy.log_policy.logs))
    witnesses = (
        ", ".join(material.policy.log_policy.witnesses) or "none: nobody else vouches that this is the only history"
    )
    stamps = f"{len(material.bounds)}" if material.bounds else "none: times are the controller's own word"
    about = facts(
        [
            ("Log", head.origin),
            ("Head in this bundle", Html(f"{head.size} entries, root {code(root_text(head)).code}")),
            (
                "Entries of this run",
                f"{material.indices[0]} to {material.indices[-1]}, {len(material.indices)} of them",
            ),
            ("Keys of the log", keys),
            ("Witnesses", witnesses),
            ("Timestamps", stamps),
            ("Withheld", _withheld(material)),
        ]
    )
    rows: list[list[Cell]] = [[bound.size, bound.time.strftime("%Y-%m-%dT%H:%M:%SZ")] for bound in material.bounds]
    return (
        about
        + (table(["Log size", "Timestamp (RFC 3161)"], rows, numbers=(0,)) if rows else "")
        + (
            '<p class="note">Not shown by this bundle: events never logged; whether what was logged is true; other '
            "runs of the log; anything before the first key in your policy; whether the controls as a whole are "
            "effective.</p>"
        )
    )


def _withheld(material: Material) -> str:
    logged, shown = logged_digests(material.story.events, material.core), read_disclosures(material.core)
    if not logged:
        return "nothing"
    return f"{len(logged) - len(shown)} of {len(logged)} protected values; each can be shown later, bound by its digest"
