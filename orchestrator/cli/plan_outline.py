"""A plan as a contingency plan is laid out by NIST SP 800-34 Rev. 1, appendix A: Markdown, for a file or an auditor."""

from collections.abc import Iterable, Sequence

from orchestrator.cli.plan_show import action_text
from orchestrator.foundation.amounts import seconds_text, size_text
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.site import Side
from orchestrator.model.step import Phase, Step
from orchestrator.operations.approve import Standing

NOT_IN_THE_PLAN = "The plan says nothing of it."
_RECOVERY = frozenset(Phase) - {Phase.OBSERVE, Phase.COMMIT, Phase.CLOSURE}


def outline_text(plan: Plan, standing: Standing) -> str:
    """Every section of the layout, also those of which the plan says nothing: it says so."""
    steps = _steps_once(plan)
    about = f"Plan `{plan.digest}`, by {plan.author}, from runbook {plan.runbook} {plan.runbook_version}."
    lines = [
        f"# Contingency plan: wave {plan.wave}",
        "",
        f"Laid out by NIST SP 800-34 Rev. 1, appendix A. {about}",
        *_introduction(plan),
        *_concept(plan, steps),
        *_activation(plan, standing, steps),
        *_recovery(steps),
        *_reconstitution(steps),
        *_section("## Appendices", [f"{path}: {digest}" for path, digest in sorted(plan.closure.items())]),
    ]
    return "\n".join(lines) + "\n"


def _introduction(plan: Plan) -> list[str]:
    scope = plan.scope
    told = [("Business impact analysis", scope.bia_ref), ("Risk assessment", scope.risk_ref)] if scope else []
    systems = [
        f"{planned.system.name}: RTO {seconds_text(found.rto)}, RPO {seconds_text(found.rpo)}, "
        f"MTPD {seconds_text(found.mtpd)}"
        for planned in plan.systems
        for found in [planned.system.objectives]
    ]
    return [
        "",
        "## 1 Introduction",
        *_section("### 1.1 Background", [f"{name}: {text}" for name, text in told if text]),
        *_section("### 1.2 Scope", [*([scope.scenario] if scope and scope.scenario else []), *systems]),
        *_section("### 1.3 Assumptions", scope.assumptions if scope else ()),
    ]


def _concept(plan: Plan, steps: Sequence[Step]) -> list[str]:
    back = sum(step.inverse.action is not None for step in steps)
    phases = [
        "Activation and notification: approvals, and whatever the first gates ask (3)",
        f"Recovery: {sum(step.phase in _RECOVERY for step in steps)} steps, of which {back} have a way back (4)",
        f"Reconstitution: {sum(step.phase not in _RECOVERY for step in steps)} steps, from the watch to the end (5)",
    ]
    people = [f"{each.role}: {each.does}" for each in plan.scope.participants] if plan.scope else []
    owners = sorted({f"{step.owner_role} does, {step.verifier_role} verifies" for step in steps})
    return [
        "",
        "## 2 Concept of operations",
        *_section("### 2.1 System description", [_system_text(planned) for planned in plan.systems]),
        *_section("### 2.2 Overview of three phases", phases),
        *_section("### 2.3 Roles and responsibilities", [*people, *owners]),
    ]


def _system_text(planned: SystemPlan) -> str:
    system = planned.system
    where = " → ".join(system.host_of(side) for side in Side)
    data = ", ".join(f"{item.name} ({item.kind.replace('_', ' ')})" for item in system.datasets)
    needs = ", ".join(need.system for need in system.depends_on) or "no other system"
    return f"{system.name}: {where}; {data}; {size_text(planned.bytes_expected)} to move; needs {needs}"


def _activation(plan: Plan, standing: Standing, steps: Sequence[Step]) -> list[str]:
    rules = [
        f"{planned.system.name}: {planned.approval.persons_min} approval(s) by {', '.join(planned.approval.roles)}"
        for planned in plan.systems
    ]
    given = [f"approved by {each.statement.person} as {each.statement.role}" for each in standing.valid]
    window = plan.terms.window if plan.terms is not None else None
    when = [f"window: {window.start} to {window.end}"] if window is not None else []
    scope = plan.scope
    told = [*scope.observers, *scope.third_parties] if scope else []
    looks = [step for step in steps if step.phase is Phase.PREPARE]
    return [
        "",
        "## 3 Activation and notification",
        *_section("### 3.1 Activation criteria and procedure", [*rules, *given, *standing.missing, *when]),
        *_section("### 3.2 Notification", told),
        *_section("### 3.3 Outage assessment", [f"facts {plan.facts_digest}", *map(_step_text, looks)]),
    ]


def _recovery(steps: Sequence[Step]) -> list[str]:
    within = [step for step in steps if step.phase in _RECOVERY]
    order = [f"{step.id}, after {', '.join(step.needs) or 'nothing'}" for step in within]
    escalates = [f"{step.gate.id} before {step.id}: {step.gate.title}" for step in steps if step.gate is not None]
    escalates += [
        f"{step.id} not later than {seconds_text(step.not_later_than.seconds)} after {step.not_later_than.after}"
        for step in steps
        if step.not_later_than is not None
    ]
    escalates += [f"{step.id} is the point of no return" for step in steps if step.point_of_no_return]
    return [
        "",
        "## 4 Recovery",
        *_section("### 4.1 Sequence of recovery activities", order),
        *_section("### 4.2 Recovery procedures", [_step_text(step) for step in within]),
        *_section("### 4.3 Escalation", escalates),
    ]


def _reconstitution(steps: Sequence[Step]) -> list[str]:
    def those(*phases: Phase) -> list[str]:
        return [_step_text(step) for step in steps if step.phase in phases]

    points = [_step_text(step) for step in steps if step.action.verb == "take_recovery_point"]
    evidence = [f"{step.id}: {', '.join(step.evidence_required)}" for step in steps if step.evidence_required]
    return [
        "",
        "## 5 Reconstitution",
        *_section("### 5.1 Concurrent processing", ["None: one side alone may take writes at any moment."]),
        *_section("### 5.2 Validation data testing", those(Phase.VERIFY_DATA)),
        *_section("### 5.3 Validation functionality testing", those(Phase.VERIFY_SERVICE, Phase.OBSERVE)),
        *_section("### 5.4 Recovery declaration", those(Phase.COMMIT)),
        *_section("### 5.5 Notifications", ()),
        *_section("### 5.6 Cleanup", those(Phase.CLOSURE)),
        *_section("### 5.7 Offsite data storage", points),
        *_section("### 5.8 Data backup", points),
        *_section("### 5.9 Event documentation", ["every step stands in the ledger: skerry evidence", *evidence]),
        *_section("### 5.10 Deactivation", [step.id for step in steps if step.phase is Phase.COMMIT]),
    ]


def _step_text(step: Step) -> str:
    way_back = step.inverse.none_because if step.inverse.action is None else action_text(step.inverse.action)
    seen = f"; passes when {', '.join(step.success_criteria)}" if step.success_criteria else ""
    does = f"{action_text(step.action)}, within {seconds_text(step.timeout)}"
    return f"{step.id}: {step.title} ({does}){seen}; way back: {way_back}"


def _steps_once(plan: Plan) -> list[Step]:
    """Systems of one wave share the runbook: each step once, in order."""
    return list({step.id: step for planned in plan.systems for step in planned.steps}.values())


def _section(title: str, items: Iterable[str]) -> list[str]:
    return ["", title, "", *([f"- {item}" for item in items] or [NOT_IN_THE_PLAN])]
