"""A plan: runbook, wish and facts compiled into what will run. Its digest is what people approve."""

import hashlib
from functools import cached_property
from typing import ClassVar
from uuid import uuid4

from pydantic import Field

from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.model.frozen import Frozen, Grown
from orchestrator.model.host import Host
from orchestrator.model.names import Digest, HostName, Name, SystemName
from orchestrator.model.price import SizeChoice
from orchestrator.model.scope import Scope
from orchestrator.model.step import Step
from orchestrator.model.system import ApprovalRule, MachineSpec, System
from orchestrator.model.wave import WaveTerms


class SystemPlan(Frozen):
    """What happens to one system, and all a handler needs to know of it."""

    system: System
    steps: tuple[Step, ...] = Field(min_length=1)
    bytes_expected: int = 0  # over all hops, before the drain
    copy_seconds_expected: float = 0.0  # for those bytes, at the links' measured rates; 0 where no rate is known
    approval: ApprovalRule = ApprovalRule()

    def step(self, step_id: str) -> Step:
        return next(step for step in self.steps if step.id == step_id)


class Plan(Grown):
    """Frozen; what runs is exactly this. No clock, no secret value, no path of the machine that planned it."""

    later: ClassVar[tuple[str, ...]] = ("terms",)
    wave: Name
    author: Name
    runbook: Name
    runbook_version: str
    runbook_digest: Digest
    scope: Scope | None = None  # as the runbook has it
    inputs: dict[Name, str | int | float | bool] = {}  # what the runbook's inputs were given; the steps hold them too
    inventory_digest: Digest
    facts_digest: Digest
    closure: dict[str, Digest]  # every file that decides what runs: path → digest
    hosts: dict[HostName, Host]
    machines: dict[HostName, MachineSpec] = {}
    # What was chosen for those machines, on what figures, when the plan was made; see `skerry cloud size`.
    sizes: dict[HostName, SizeChoice] = Field(default={}, exclude_if=lambda sizes: not sizes)
    systems: tuple[SystemPlan, ...] = Field(min_length=1)
    terms: WaveTerms | None = None  # of a wave of waves.yml: its window, limits, soak and gates

    @cached_property
    def digest(self) -> str:
        """Over the plan's canonical JSON. Systems of a wave share their steps, which are written out once each."""
        document = self.model_dump(mode="json", exclude={"systems": {"__all__": {"steps"}}})
        marks: dict[tuple[int, ...], str] = {}  # what stands for the same steps, until they are written in its place
        for planned, system in zip(self.systems, document["systems"], strict=True):
            system["steps"] = marks.setdefault(tuple(map(id, planned.steps)), f"steps {uuid4().hex}")
        content = canonical_json(document)
        for planned in self.systems:
            mark = marks.pop(tuple(map(id, planned.steps)), None)
            if mark is not None:
                steps = canonical_json([step.model_dump(mode="json") for step in planned.steps])
                content = content.replace(canonical_json(mark), steps)
        return "sha256:" + hashlib.sha256(content).hexdigest()

    def system_plan(self, name: SystemName) -> SystemPlan:
        return next(planned for planned in self.systems if planned.system.name == name)
