"""What a run says of where it took place and what it was for: in words for readers, and judged where it can be.

Pure. Clock and environment are the controller's own word; that the params are those of the plan can be checked.
"""

import hashlib
from typing import Any

from orchestrator.evidence.findings import Findings
from orchestrator.evidence.story import RunStory
from orchestrator.foundation.canonical_json import canonical_json

GROUP = "EXECUTION"
_LISTED = (
    ("assumptions", "Assumption"),
    ("success_criteria", "Success criterion"),
    ("participants", "Participant"),
    ("third_parties", "Third party"),
    ("observers", "Observer"),
)
_SINGLE = (
    ("bia_ref", "Business impact analysis"),
    ("risk_ref", "Risk assessment"),
    ("scenario", "Scenario"),
)


def judge_surroundings(story: RunStory, findings: Findings) -> None:
    """Params against the plan; the clock is told, and warned of where nobody keeps it."""
    params = story.created.get("params")
    if isinstance(params, dict) and story.plan:
        digest = "sha256:" + hashlib.sha256(canonical_json(story.plan.get("inputs", {}))).hexdigest()
        same = params.get("digest") == digest and params.get("values", story.plan.get("inputs", {})) == story.plan.get(
            "inputs", {}
        )
        problems = [] if same else ["the run is told with other params than its plan was made with"]
        findings.judge(GROUP, problems, f"the params are those of the plan, {digest[:23]}…")
    _judge_clock(story.created, "controller's clock", findings)
    for event in story.of("run.resumed"):
        _judge_clock(event.data, f"controller's clock when it was gone on with (entry {event.index})", findings)
        changed = _changed(story.created, event.data)
        if changed:
            findings.warn(
                GROUP, f"entry {event.index}: gone on with by another {', '.join(changed)} than it began with"
            )


def _judge_clock(told: dict[str, Any], name: str, findings: Findings) -> None:
    clock = told.get("clock")
    kept = isinstance(clock, dict) and clock.get("synchronised") is True
    words = f"{name}: {clock_words(told)}" + (", by its own word" if isinstance(clock, dict) else "")
    (findings.info if kept else findings.warn)(GROUP, words)


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Which parts of the environment are others than at the beginning; what one of both does not tell is none."""
    one, other = before.get("environment"), after.get("environment")
    if not isinstance(one, dict) or not isinstance(other, dict):
        return []
    return sorted(name for name in one.keys() & other.keys() - {"bootId"} if one[name] != other[name])


def clock_words(created: dict[str, Any]) -> str:
    """`synchronised by chrony (stratum 3, off by 0.000012 s)`."""
    clock = created.get("clock")
    if not isinstance(clock, dict):
        return "whether it was synchronised is not on record"
    source, known = str(clock.get("source", "unknown")), clock.get("synchronised")
    if known is True:
        told = [f"{name} {clock[key]}" for key, name in (("stratum", "stratum"), ("reference", "by")) if key in clock]
        inner = clock.get("kernel") if isinstance(clock.get("kernel"), dict) else {}
        offset = clock.get("offsetSeconds", (inner or {}).get("offsetSeconds"))
        told += [f"off by {offset:.6f} s"] if isinstance(offset, (int, float)) else []
        return f"synchronised ({source})" + (f", {', '.join(told)}" if told else "")
    return "NOT synchronised" if known is False else "nobody said whether it was synchronised"


def environment_rows(created: dict[str, Any]) -> list[tuple[str, str]]:
    """Programs and versions, the estate's commit, the clock, the params: name and text."""
    found = created.get("environment")
    environment: dict[str, Any] = found if isinstance(found, dict) else {}
    rows = [("Clock", clock_words(created))]
    skerry = environment.get("skerry")
    if isinstance(skerry, dict):
        rows.append(("Program", f"skerry {skerry.get('version', '?')}, {skerry.get('digest', '?')}"))
    names = (("os", "System"), ("kernel", "Kernel"), ("python", "Python"), ("ansible-core", "Ansible"), ("ssh", "SSH"))
    rows += [(name, str(environment[key])) for key, name in names if key in environment]
    estate = environment.get("estate")
    if isinstance(estate, dict):
        clean = estate.get("clean")
        state = ", nothing changed since" if clean is True else ", with changes that are not in it"
        signed = ", the commit carries a signature" if estate.get("signed") is True else ""
        commit = f"commit {estate.get('commit', '?')}"
        rows.append(("Estate", commit + (state if isinstance(clean, bool) else "") + signed))
    params = created.get("params")
    values = params.get("values") if isinstance(params, dict) else None
    if isinstance(values, dict):
        rows += [(f"Param {name}", str(value)) for name, value in sorted(values.items())]
    return rows


def scope_rows(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and text of everything that the runbook says of its purpose, in the order in which people read it."""
    found = plan.get("scope")
    scope: dict[str, Any] = found if isinstance(found, dict) else {}
    rows = [(name, str(scope[key])) for key, name in _SINGLE if scope.get(key)]
    for key, name in _LISTED:
        rows += [(name, _participant(each) if isinstance(each, dict) else str(each)) for each in scope.get(key) or ()]
    if scope.get("announced") is not None:
        rows.append(("Announced", "yes" if scope["announced"] is True else "no"))
    return rows


def _participant(said: dict[str, Any]) -> str:
    named = ", ".join(str(said[key]) for key in ("who", "organisation") if said.get(key))
    does = f": {said['does']}" if said.get("does") else ""
    return str(said.get("role", "?")) + (f" ({named})" if named else "") + does
