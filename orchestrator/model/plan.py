"""A plan: runbook, wish and facts compiled into what will run. Its digest is what people approve."""

from functools import cached_property

from pydantic import Field

from orchestrator.foundation.canonical_json import digest_of
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import Digest, HostName, Name, SystemName
from orchestrator.model.step import Step
from orchestrator.model.system import ApprovalRule, MachineSpec, System


class SystemPlan(Frozen):
    """What happens to one system, and all a handler needs to know of it."""

    system: System
    steps: tuple[Step, ...] = Field(min_length=1)
    bytes_expected: int = 0  # over all hops, before the drain
    copy_seconds_expected: float = 0.0  # for those bytes, at the links' measured rates; 0 where no rate is known
    approval: ApprovalRule = ApprovalRule()

    def step(self, step_id: str) -> Step:
        return next(step for step in self.steps if step.id == step_id)


class Plan(Frozen):
    """Frozen; what runs is exactly this. No clock, no secret value, no path of the machine that planned it."""

    wave: Name
    author: Name
    runbook: Name
    runbook_version: str
    runbook_digest: Digest
    inventory_digest: Digest
    facts_digest: Digest
    closure: dict[str, Digest]  # every file that decides what runs: path → digest
    hosts: dict[HostName, Host]
    machines: dict[HostName, MachineSpec] = {}
    systems: tuple[SystemPlan, ...] = Field(min_length=1)

    @cached_property
    def digest(self) -> str:
        return digest_of(self.model_dump(mode="json"))

    def system_plan(self, name: SystemName) -> SystemPlan:
        return next(planned for planned in self.systems if planned.system.name == name)
