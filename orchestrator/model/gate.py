"""What a gate found: each criterion with what was expected, what was observed, and whether that passed."""

from orchestrator.model.frozen import Frozen


class CriterionVerdict(Frozen):
    """One criterion, judged. `missing` says that there was nothing to judge, which never passes."""

    id: str
    step: str
    observed_key: str
    comparison: str
    expected: str | int | float | bool | None
    observed: str | int | float | bool | None = None
    missing: bool = False
    passed: bool


class GateVerdict(Frozen):
    """A gate, judged. A gate without criteria is closed, for nothing was judged."""

    gate: str
    passed: bool
    criteria: tuple[CriterionVerdict, ...] = ()
    message: str = ""
