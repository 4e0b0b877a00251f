"""The rules that a run must keep, judged over its story alone: what ran is what was approved, in the order it allows.

Each rule returns what is wrong (empty: nothing) and the sentence for an auditor when nothing is. Which rules a run must
keep depends on its kind: see RULE_SETS. People, signatures and time are judged elsewhere.
"""

from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.evidence.drilled import drills_show_what_they_claim
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.gate_doors import went_round
from orchestrator.evidence.story import Attempt, RunStory, SystemStory, seconds_between
from orchestrator.evidence.way import sides_to_compare, way_of

Rule = Callable[[RunStory], tuple[list[str], str]]

GROUP = "EXECUTION"
UNDO_ATTEMPTS_MIN = 2  # an inverse that fails once is tried again, whatever the plan says
_MEASURED = ("rto", "rpo")
_RESULTS = ("passed", "rolled_back", "partial", "failed")
CLOCK_STEP_SECONDS = 1.0  # what two readings of one clock may differ by, rounding included


def judge_execution(story: RunStory, findings: Findings) -> None:
    """Every rule of the run's kind, each as one check."""
    rules = RULE_SETS.get(story.kind)
    if rules is None:
        findings.fail(GROUP, f"there are no rules for runs of the kind {story.kind!r}")
        return
    for rule in rules:
        problems, good = rule(story)
        findings.judge(GROUP, problems, good)


def the_plan_is_the_one_named(story: RunStory) -> tuple[list[str], str]:
    problems = []
    if not story.plan:
        problems.append("the plan is not on record: its artifact is missing or withheld")
    created = story.of("run.created")
    if not created or not story.of("run.started"):
        problems.append("the run was never created and started")
    for event in created:
        reference = event.data.get("planArtifact", {}).get("digest")
        if event.data.get("plan") != story.plan_digest or reference != story.plan_digest:
            problems.append(f"entry {event.index}: the plan on record is not the one that the run names")
        if story.plan and event.data.get("wave") != story.plan.get("wave"):
            problems.append(f"entry {event.index}: the run is told of another wave than its plan is for")
        if event.data.get("operator") != story.operator or event.data.get("kind") != story.kind:
            problems.append(f"entry {event.index}: the run was created twice, by different words")
    problems += [
        f"entry {event.index}: another plan or operator was started than created"
        for event in story.of("run.started")
        if event.data.get("plan") != story.plan_digest or event.data.get("operator") != story.operator
    ]
    unknown = sorted(set(story.systems) - {each["system"]["name"] for each in story.plan.get("systems", [])})
    problems += [f"{name}: a system that the plan does not know" for name in unknown]
    named = f"{story.plan.get('runbook')} {story.plan.get('runbook_version')}"
    return problems, f"the plan that ran is {story.plan_digest[:23]}…, made from the runbook {named}"


def files_are_those_of_the_plan(story: RunStory) -> tuple[list[str], str]:
    closure, files = story.plan.get("closure", {}), story.files
    problems = [f"{path} is not on record" for path in sorted(set(closure) - set(files))]
    problems += [f"{path} is on record, but not part of the plan" for path in sorted(set(files) - set(closure))]
    different = [path for path in sorted(closure) if path in files and files[path]["digest"] != closure[path]]
    problems += [f"{path} is on record with another content than approved" for path in different]
    return problems, f"{len(closure)} files that decide what runs are on record as approved"


def steps_follow_the_plan(story: RunStory) -> tuple[list[str], str]:
    problems: list[str] = []
    count = 0
    for system in story.systems.values():
        planned = story.planned(system.name)
        for attempt in system.attempts:
            count += 1
            problems += _out_of_plan(system, attempt, planned.get(attempt.step))
    return problems, f"{count} attempts of steps, all of the plan, after the steps they need, with their gates passed"


def _out_of_plan(system: SystemStory, attempt: Attempt, step: dict[str, Any] | None) -> Iterator[str]:
    where = f"entry {attempt.started.index}: {system.name}/{attempt.step}"
    if step is None:
        yield f"{where} is not a step of the plan"
        return
    undo = attempt.mode == "undo"
    action = step["inverse"].get("action") if undo else step["action"]
    if attempt.started.data.get("action") != action:
        yield f"{where} did something else than its {'inverse' if undo else 'action'} in the plan"
    if _phase(attempt) != step["phase"]:
        yield f"{where} is told of the phase {_phase(attempt)!r}, in the plan it is {step['phase']!r}"
    allowed = max(UNDO_ATTEMPTS_MIN, step["retry"]["attempts_max"]) if undo else step["retry"]["attempts_max"]
    persons_word = _settled_by_a_person(system, attempt)
    if attempt.number > allowed and not persons_word:
        yield f"{where}: attempt {attempt.number}, where the plan allows {allowed}"
    if undo:
        return
    for needed in step["needs"]:
        before = system.passed(needed)
        if before is None or before.finished is None or before.finished.index > attempt.started.index:
            yield f"{where} started before {needed} had passed"
    if step.get("gate"):
        gates = [event for event in system.of("gate.passed") if event.step == attempt.step]
        held = any(event.index < attempt.started.index and _gate_holds(step["gate"], event.data) for event in gates)
        if not held and not went_round(system, attempt, step["gate"]["id"]):
            yield f"{where} started without its gate {step['gate']['id']} passed"


def _gate_holds(gate: dict[str, Any], data: dict[str, Any]) -> bool:
    """Whether every criterion that the plan's gate has was judged, and all of them passed."""
    criteria = data.get("criteria") or []
    judged = {each.get("id") for each in criteria}
    asked = {each["id"] for each in gate["criteria"]}
    same = data.get("gate") == gate["id"] and asked <= judged
    return same and bool(criteria) and all(each.get("passed") is True for each in criteria)


def _settled_by_a_person(system: SystemStory, attempt: Attempt) -> bool:
    return any(event.step == attempt.step for event in system.of("deviation.recorded"))


def steps_ended(story: RunStory) -> tuple[list[str], str]:
    problems = []
    for system in story.systems.values():
        planned = story.planned(system.name)
        for attempt in system.attempts:
            if attempt.finished is None:
                problems.append(f"{system.name}/{attempt.step} ({attempt.mode}) never ended")
            elif not attempt.passed and not _is_accounted_for(system, attempt):
                problems.append(f"{system.name}/{attempt.step} ended {attempt.status}, and nothing followed from it")
        if system.was_committed:
            missing = [step for step in planned if system.passed(step) is None]
            problems += [f"{system.name} is committed, but {step} never passed" for step in missing]
    whole = sum(system.has_succeeded for system in story.systems.values())
    return problems, f"every step ended; {whole} of {len(story.systems)} systems passed all of theirs"


def _is_accounted_for(system: SystemStory, attempt: Attempt) -> bool:
    """A step that did not pass was tried again, or led to a rollback, a stop, or a person's word on record."""
    after = attempt.finished.index if attempt.finished else attempt.started.index
    again = any(
        (later.step, later.mode) == (attempt.step, attempt.mode) and later.started.index > after
        for later in system.attempts
    )
    kinds = ("rollback.started", "deviation.recorded", "system.changed")
    return again or any(event.index > after for kind in kinds for event in system.of(kind))


def rollbacks_undo_in_reverse(story: RunStory) -> tuple[list[str], str]:
    problems: list[str] = []
    for system in story.systems.values():
        begun = system.of("rollback.started")
        undone = [each for each in system.attempts if each.mode == "undo"]
        if not begun:
            problems += [f"{system.name}/{each.step} was undone without a rollback" for each in undone[:1]]
            continue
        if not system.was_rolled_back:
            continue
        planned = story.planned(system.name)
        ended = {each.step for each in system.attempts if each.mode == "do" and each.finished is not None}
        # The plan's order, in which every step follows what it needs; steps beside each other end in any order.
        due = [step for step in reversed(planned) if step in ended and _has_inverse(planned, step)]
        done = list(dict.fromkeys(each.step for each in undone if each.passed))
        if done != due:
            problems.append(f"{system.name}: undone were {', '.join(done) or 'no steps'}; due were {', '.join(due)}")
    count = sum(system.was_rolled_back for system in story.systems.values())
    return problems, f"{count} systems rolled back, each step undone by its inverse, the plan's last first"


def _has_inverse(planned: dict[str, dict[str, Any]], step: str) -> bool:
    return bool(planned.get(step, {}).get("inverse", {}).get("action"))


def playbooks_are_told_whole(story: RunStory) -> tuple[list[str], str]:
    problems = []
    count = 0
    closure = story.plan.get("closure", {})
    for attempt in (each for system in story.systems.values() for each in system.attempts):
        where = f"{attempt.system}/{attempt.step}/{attempt.number}"
        for played in attempt.played:
            count += 1
            if played.finished is None:
                if attempt.starts == 1 and attempt.passed:
                    problems.append(f"{where}: {played.playbook} has no end")
                continue
            if played.finished.get("digest") != closure.get(played.path):
                problems.append(f"{where}: another {played.playbook} ran than was approved")
            told = len(played.counters)  # the number that a log claims may be larger than any memory
            if played.finished["events"] != told or played.counters != list(range(1, told + 1)):
                problems.append(f"{where}: events of {played.playbook} are missing, or out of order")
            if attempt.passed and played.finished.get("status") != "successful" and played is attempt.played[-1]:
                problems.append(f"{where} passed, but its playbook {played.playbook} did not")
    return problems, f"{count} runs of playbooks and programs, each as approved, every event in order of its counter"


def digests_are_equal(story: RunStory) -> tuple[list[str], str]:
    """No claim contradicts the digests beside it; authority moved on only with all datasets proved equal."""
    problems: list[str] = []
    compared = 0
    for system in story.systems.values():
        for event in system.of("digests.compared"):
            compared += 1
            sides = event.data.get("sides") or {}
            equal = len(sides) > 1 and len({side.get("digest") for side in sides.values()}) == 1
            if event.data.get("match") is not equal:
                problems.append(f"entry {event.index}: {system.name}: the claim does not follow from the digests")
        goal = way_of(story, system.name).goal
        for moved in system.of("authority.moved"):
            if moved.data.get("to") == goal:
                problems += _unproved(story, system, moved, goal)
    if not compared and not problems:
        return [], "no step of this run compared the digests of sites"
    return problems, f"digests made independently at each site agree with what was claimed, {compared} comparisons"


def _unproved(story: RunStory, system: SystemStory, moved: LoggedEvent, goal: str) -> Iterator[str]:
    proved: dict[str, bool] = {}
    asked = sides_to_compare(story, system.name, moved, goal)
    for event in system.of("digests.compared"):
        if event.index < moved.index and asked <= set(event.data.get("sides") or {}):
            proved[str(event.data.get("dataset"))] = event.data.get("match") is True
    planned = next((each for each in story.plan.get("systems", []) if each["system"]["name"] == system.name), None)
    for dataset in planned["system"]["datasets"] if planned else []:
        if not proved.get(dataset["name"]):
            yield f"{system.name}: authority moved to the {goal} before {dataset['name']} was proved equal everywhere"


def one_side_has_authority(story: RunStory) -> tuple[list[str], str]:
    problems = []
    moves = 0
    for system in story.systems.values():
        way = way_of(story, system.name)
        side, number, last = way.start, -1, ("", "", -1)
        for event in system.of("authority.moved"):
            data = event.data
            move = str(data.get("from")), str(data.get("to")), int(data.get("number", -1))
            # A step that was cut off after its move tells the same move again.
            told_again, last = move == last, move
            moves += 0 if told_again else 1
            if not told_again and (data.get("from") != side or int(data.get("number", -1)) <= number):
                problems.append(f"entry {event.index}: {system.name}: authority did not move on from where it was")
            if not data.get("confirmed"):
                problems.append(f"entry {event.index}: {system.name}: the old side was not confirmed stopped")
            side, number = str(data.get("to")), int(data.get("number", -1))
        wanted = way.goal if system.was_committed else way.start if system.was_rolled_back else side
        if not system.of("authority.moved") and system.was_committed:
            side = wanted  # it was there already, which the plan's own commit confirmed
        if side != wanted:
            problems.append(f"{system.name} ended at the {wanted}, but authority is at the {side}")
    return problems, f"authority moved {moves} times, each with a higher number and the old side confirmed stopped"


def clients_are_where_the_system_is(story: RunStory) -> tuple[list[str], str]:
    problems = []
    for system in story.systems.values():
        switched, way = system.of("front.switched"), way_of(story, system.name)
        last = str(switched[-1].data.get("side")) if switched else way.start
        if system.was_committed and last != way.goal:
            problems.append(f"{system.name} is committed, but clients were last sent to the {last}")
        if system.was_rolled_back and last != way.start:
            problems.append(f"{system.name} was rolled back, but clients were last sent to the {last}")
    return problems, "clients were sent to where each system lives now"


def objectives_follow_from_the_events(story: RunStory) -> tuple[list[str], str]:
    problems: list[str] = []
    told = []
    for system in story.systems.values():
        targets = story.objectives(system.name)
        for event in system.of("objective.measured"):
            name, achieved = str(event.data.get("objective")), event.data.get("achieved_seconds")
            target = event.data.get("target_seconds")
            where = f"entry {event.index}: {system.name}: {name.upper()}"
            if target != targets.get(name):
                problems.append(f"{where} is measured against {target}, the plan says {targets.get(name)}")
            met = achieved is not None and target is not None and achieved <= target
            if event.data.get("met") is not met:
                problems.append(f"{where}: whether it was met does not follow from the figures")
            if achieved is not None:
                problems += _beside_the_events(system, name, float(achieved), where)
                told.append(f"{system.name} {name.upper()} {achieved:g} s of {target:g} s")
        measured = {str(event.data.get("objective")) for event in system.of("objective.measured")}
        missing = [name.upper() for name in _MEASURED if name in targets and name not in measured]
        if system.was_committed and missing:
            problems.append(f"{system.name} is committed, but its objectives were not measured: {', '.join(missing)}")
    return problems, "recomputed: " + (", ".join(told) or "nothing was to be measured")


def _beside_the_events(system: SystemStory, name: str, achieved: float, where: str) -> Iterator[str]:
    if achieved < 0:
        yield f"{where} is below zero"
    if name == "rpo":
        if achieved == 0 and not any(event.data.get("match") is True for event in system.of("digests.compared")):
            yield f"{where} of 0 is claimed without equal digests"
        return
    bounds = outage_bounds(system)
    if bounds and not bounds[0] - CLOCK_STEP_SECONDS <= achieved <= bounds[1] + CLOCK_STEP_SECONDS:
        yield f"{where} of {achieved:g} s is claimed; the log says {bounds[0]:.1f} to {bounds[1]:.1f} s"


def outage_bounds(system: SystemStory) -> tuple[float, float] | None:
    """The least and the most that clients were without the service, by the log's own times."""
    away = [each for each in system.attempts if _phase(each) == "quiesce" and each.mode == "do" and each.passed]
    back = [each for each in system.attempts if each.mode == "do" and each.passed and _asks_as_clients_do(each)]
    later = [each for each in back if away and each.started.index > away[0].started.index]
    if not away or not later or away[0].finished is None or later[0].finished is None:
        return None
    least = seconds_between(away[0].finished.time, later[0].started.time)
    return max(0.0, least), seconds_between(away[0].started.time, later[0].finished.time)


def _phase(attempt: Attempt) -> str:
    return str(attempt.started.data.get("phase", ""))


def _asks_as_clients_do(attempt: Attempt) -> bool:
    action = attempt.started.data.get("action") or {}
    return action.get("verb") == "check" and action.get("through_front") is True


def the_end_says_what_happened(story: RunStory) -> tuple[list[str], str]:
    finished = story.of("run.finished")
    if not finished:
        return ["the run has no end on record"], ""
    problems = []
    states: dict[str, str] = {}
    named = finished[-1].data.get("systems") or {}
    planned = {each["system"]["name"] for each in story.plan.get("systems", [])} or set(story.systems)
    if story.created.get("systems"):
        # A run that does the rest of a wave has some of its plan's systems, and says so before it starts.
        planned &= set(story.created["systems"]) | set(story.systems)
    if named and set(named) != planned:
        problems.append("the end of the run is told of other systems than were planned")
    for name, said in named.items():
        states[name] = str(said.get("state"))
        system = story.systems.get(name)
        if system is None:
            problems.append(f"{name} ended {states[name]}, but nothing else is told of it")
            continue
        shown = (states[name] == "committed", states[name] == "rolled_back")
        if shown != (system.has_succeeded, system.was_rolled_back):
            problems.append(f"{name} is said to be {states[name]}, which its events do not show")
    ended = states or {name: _state_shown(story.systems.get(name)) for name in planned}
    result = finished[-1].data.get("result")
    if result not in _RESULTS or (result == "passed") is not (set(ended.values()) == {"committed"}):
        problems.append(f"the run is said to have {result}, its systems say otherwise")
    carried_out = {name for name in states if name in story.systems and story.systems[name].was_carried_out}
    shown_as = {name: "carried out, nothing committed" if name in carried_out else states[name] for name in states}
    told = ", ".join(f"{name} {state}" for name, state in shown_as.items()) or "more systems than are named"
    return problems, f"the run ended {story.result}: {told}"


def _state_shown(system: SystemStory | None) -> str:
    """Of a wave too large to name its systems at its end."""
    if system is None:
        return "not run"
    return "committed" if system.has_succeeded else "rolled_back" if system.was_rolled_back else "stopped"


_ALWAYS: tuple[Rule, ...] = (
    the_plan_is_the_one_named,
    files_are_those_of_the_plan,
    steps_follow_the_plan,
    steps_ended,
    playbooks_are_told_whole,
    digests_are_equal,
    the_end_says_what_happened,
)
_MOVES: tuple[Rule, ...] = (
    *_ALWAYS,
    rollbacks_undo_in_reverse,
    one_side_has_authority,
    clients_are_where_the_system_is,
    objectives_follow_from_the_events,
)

RULE_SETS: dict[str, tuple[Rule, ...]] = {
    "migrate": _MOVES,
    "cutover": _MOVES,
    "rollback": _MOVES,
    "failover": _MOVES,
    "failback": _MOVES,
    "drill": (*_ALWAYS, drills_show_what_they_claim),
    "tabletop": _ALWAYS,
    "walkthrough": _ALWAYS,
}
