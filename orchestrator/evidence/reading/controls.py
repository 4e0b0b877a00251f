"""Which controls a run gives evidence for, by what its steps do.

The NIST SP 800-53 ids are checked against the catalogue by a test. The other frameworks stand here as a proposal: the
agency's compliance officer confirms them before they are relied on, and reading copies say so.
"""

from dataclasses import dataclass

from orchestrator.evidence.reading.comparisons import comparisons
from orchestrator.evidence.story import RunStory

NIST_BY_VERB: dict[str, tuple[str, ...]] = {
    "approval": ("cm-3", "cp-2", "ac-5", "au-10"),
    "preflight": ("cp-2", "au-8"),
    "provision_target": ("cp-7", "cm-2"),
    "end_target": ("cp-10", "cm-3"),
    "seed_image": ("cp-6", "cp-9"),
    "start_test_machine": ("cp-4", "sc-7"),
    "end_test_machine": ("cp-4",),
    "replicate": ("cp-6", "cp-6.1", "cp-9"),
    "take_recovery_point": ("cp-9", "cp-9.8"),
    "drill_in_bubble": ("cp-4", "cp-10", "sc-7"),
    "drill_at_cloud": ("cp-4", "cp-10", "sc-7"),
    "verify_digests": ("cp-9.1", "si-7"),
    "run_playbook": ("cp-10", "cm-3"),
    "move_authority": ("cp-7", "cp-10"),
    "promote": ("cp-7", "cp-10"),
    "carry_back": ("cp-10", "cp-10.2"),
    "follow": ("cp-6", "cp-6.1", "cp-9"),
    "account_writes": ("cp-10", "cp-10.2"),
    "weigh_window": ("cp-2", "cp-10"),
    "seize_authority": ("cp-7", "cp-10"),
    "promote_alone": ("cp-7", "cp-10"),
    "prepare_front": ("cp-7", "cp-10"),
    "switch_front": ("cp-7", "cp-10"),
    "check": ("cp-4", "cp-10"),
    "watch": ("cp-10",),
    "commit": ("cp-10", "cm-3"),
    "manual": ("cm-3",),
    "decision": ("cm-3", "ac-5"),
    "wait": (),
}
NIST_OF_EVIDENCE = ("au-3", "au-8", "au-9", "au-10", "au-11", "au-12")

Clauses = dict[str, tuple[str, ...]]  # framework → clauses

# Proposals from the texts of the frameworks' owners; none of them is confirmed by anybody.
_ISO, _CONTINUITY, _SOC, _DORA, _HIPAA, _PCI = (
    *("ISO/IEC 27001:2022", "ISO 22301:2019", "SOC 2", "DORA"),
    *("HIPAA 164.308(a)(7)", "PCI DSS 4.0.1"),
)
_CHANGE: Clauses = {_ISO: ("A.8.32",), _SOC: ("CC8.1",)}
_FAIL_OVER: Clauses = {
    _ISO: ("A.5.30", "A.8.14"),
    _SOC: ("A1.3", "CC7.5"),
    _DORA: ("Art. 11",),
    _HIPAA: ("(ii)(B)", "(ii)(C)"),
}
_ACCEPT: Clauses = {
    _CONTINUITY: ("8.5",),
    _SOC: ("A1.3",),
    _DORA: ("Art. 24",),
    _HIPAA: ("(ii)(D)",),
    _PCI: ("12.10.2",),
}
TO_BE_CONFIRMED: dict[str, Clauses] = {
    "approval": {_ISO: ("A.5.30",), _CONTINUITY: ("8.4",), _SOC: ("A1.2", "CC8.1"), _DORA: ("Art. 11",)},
    "preflight": {_ISO: ("A.8.17",), _SOC: ("CC7.1",), _DORA: ("Art. 11",), _HIPAA: ("(ii)(B)",), _PCI: ("10.6",)},
    "provision_target": {_ISO: ("A.5.30", "A.8.9"), _SOC: ("A1.2",), _DORA: ("Art. 11",)},
    "end_target": _CHANGE,
    "seed_image": {_ISO: ("A.8.13", "A.8.14"), _SOC: ("A1.2",), _DORA: ("Art. 12",), _HIPAA: ("(ii)(A)",)},
    "start_test_machine": _ACCEPT,
    "end_test_machine": _ACCEPT,
    "replicate": {_ISO: ("A.8.13", "A.8.14"), _SOC: ("A1.2",), _DORA: ("Art. 12",), _HIPAA: ("(ii)(A)",)},
    "take_recovery_point": {_ISO: ("A.8.13",), _SOC: ("A1.2",), _DORA: ("Art. 12",), _HIPAA: ("(ii)(A)",)},
    "drill_in_bubble": _ACCEPT,
    "drill_at_cloud": _ACCEPT,
    "verify_digests": {_ISO: ("A.8.13",), _SOC: ("A1.3",), _DORA: ("Art. 12",), _HIPAA: ("(ii)(D)",)},
    "run_playbook": _CHANGE,
    "move_authority": _FAIL_OVER,
    "promote": _FAIL_OVER,
    "carry_back": {_CONTINUITY: ("8.4.5",), _SOC: ("CC7.5",), _DORA: ("Art. 11",), _HIPAA: ("(ii)(B)",)},
    "follow": {_ISO: ("A.8.13", "A.8.14"), _SOC: ("A1.2",), _DORA: ("Art. 12",), _HIPAA: ("(ii)(A)",)},
    "account_writes": {_CONTINUITY: ("8.4.5",), _SOC: ("CC7.5",), _DORA: ("Art. 11",), _HIPAA: ("(ii)(B)",)},
    "weigh_window": _CHANGE,
    "seize_authority": _FAIL_OVER,
    "promote_alone": _FAIL_OVER,
    "prepare_front": _CHANGE,
    "switch_front": _FAIL_OVER,
    "check": _ACCEPT,
    "watch": _ACCEPT,
    "commit": _CHANGE,
    "manual": _CHANGE,
    "decision": _CHANGE,
    "wait": {},
}


@dataclass(frozen=True)
class Determination:
    """What the logged events say on one objective of NIST SP 800-53A."""

    control: str
    objective: str
    words: str
    satisfied: bool
    observations: tuple[str, ...]


def controls_of(verb: str) -> tuple[str, ...]:
    return NIST_BY_VERB.get(verb, ())


def all_controls(story: RunStory) -> list[str]:
    verbs = {
        str((each.started.data.get("action") or {}).get("verb")) for s in story.systems.values() for each in s.attempts
    }
    return sorted({control for verb in verbs for control in controls_of(verb)} | set(NIST_OF_EVIDENCE) | {"cp-4"})


def determinations(story: RunStory, *, approved: bool, reviewed: bool) -> list[Determination]:
    """What the tool can say; the conclusion on a control is the assessor's."""
    systems = list(story.systems.values())
    compared = [{each.dataset: each.equal for each in comparisons(system)} for system in systems]  # the last of each
    points = [event for system in systems for event in system.of("recovery_point.held")]
    ended = bool(systems) and all(system.has_succeeded or system.was_rolled_back for system in systems)
    measured = [event for system in systems for event in system.of("objective.measured")]
    met = bool(measured) and all(event.data.get("met") is True for event in measured)
    equal = bool(systems) and all(of_system and all(of_system.values()) for of_system in compared)
    return [
        Determination("cp-4", "cp-4_obj.a-1", "the plan was carried out as approved", ended, ("steps",)),
        Determination("cp-4", "cp-4_obj.b", "results were reviewed by another person", reviewed, ("review",)),
        Determination(
            "cp-9", "cp-9_obj.d-2", "recovery points are held and their integrity known", bool(points), ("points",)
        ),
        Determination("cp-9.1", "cp-9.1_obj-2", "copies were tested for integrity at every site", equal, ("digests",)),
        Determination(
            "cp-10", "cp-10_obj-1", "the systems were recovered to a known state", ended and met, ("objectives",)
        ),
        Determination(
            "au-10", "au-10_obj", "approvals are signed with the persons' own keys", approved, ("approvals",)
        ),
    ]
