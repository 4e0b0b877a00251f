"""Whether what the business asks for can be met, by what was measured. Pure."""

from collections.abc import Sequence

from orchestrator.model.step import Step
from orchestrator.model.system import System
from orchestrator.model.wave import WaveTerms
from orchestrator.planning.feasibility import Estimate
from orchestrator.planning.windows import length_seconds

REMEDY = "give the links more and measure them again, or have the owner agree to a longer"


def unmet_objectives(system: System, expected: Estimate) -> list[str]:
    """Why `system` could not keep its objectives; empty where it can, or where nobody measured.

    Unmeasured is not unmeetable: the run itself measures, and its evidence says what was achieved.
    """
    problems: list[str] = []
    change = expected.bytes_changed_per_second
    if expected.final_delta_seconds is None or change is None:
        return problems
    if expected.final_delta_seconds == float("inf"):
        problems.append(
            f"system {system.name} changes {change:.0f} bytes/s, more than its links carry: no pass would "
            "ever catch up; write less, or give the links more and measure them again"
        )
    elif expected.final_delta_seconds > system.objectives.rto:
        problems.append(
            f"system {system.name}: the last delta alone takes {expected.final_delta_seconds:.0f}s, "
            f"longer than its rto of {system.objectives.rto:g}s; {REMEDY} rto"
        )
    elif expected.final_delta_seconds > system.objectives.rpo:
        problems.append(
            f"system {system.name}: its replica stays {expected.final_delta_seconds:.0f}s behind, "
            f"more than its rpo of {system.objectives.rpo:g}s; {REMEDY} rpo"
        )
    return problems


def deadline_within_soak(steps: Sequence[Step], terms: WaveTerms | None) -> list[str]:
    """Why a wave could never be committed: its soak outlasts a deadline after which everything is rolled back."""
    if terms is None:
        return []
    return [
        f"step {step.id} must have passed {step.not_later_than.seconds:g}s after {step.not_later_than.after}, but the "
        f"wave soaks for {terms.soak_seconds:g}s before it is committed; make the soak shorter or the deadline later"
        for step in steps
        if step.not_later_than is not None and step.not_later_than.seconds <= terms.soak_seconds
    ]


def unmet_window(system: System, expected: Estimate, terms: WaveTerms | None) -> list[str]:
    """Why `system` could not be cut over within its wave's window; empty where it can, or where nobody measured."""
    if terms is None or terms.window is None or expected.final_delta_seconds in (None, float("inf")):
        return []
    spare = length_seconds(terms.window) - terms.rollback_seconds - terms.reserve_seconds
    needed = expected.final_delta_seconds or 0.0
    if needed <= spare:
        return []
    message = (
        f"system {system.name}: the last delta alone takes {needed:.0f}s; the window leaves {spare:.0f}s beside "
        f"the way back ({terms.rollback_seconds:g}s) and its reserve ({terms.reserve_seconds:g}s)"
    )
    return [message]
