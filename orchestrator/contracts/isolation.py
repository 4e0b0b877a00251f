"""Whether a place in the cloud is one that nothing leads out of."""

from typing import Protocol

from orchestrator.model.frozen import Frozen
from orchestrator.model.system import MachineSpec


class IsolationProof(Frozen):
    """What the cloud itself says of a place: one line for each thing that was looked at."""

    network: str
    subnet: str
    security_group: str
    seen: tuple[str, ...]


class Isolation(Protocol):
    """Laws (tests/platform/test_aws_isolation.py):
      prove   reads back, never what was asked for: routes, rules, peerings, public addresses; changes nothing
      prove   TargetForbidden as soon as one thing leads out, naming it; also where a place cannot be read whole
      prove   with a machine looks at that machine's own groups and addresses besides
    Fails only with TargetError and its kin.
    """

    def prove(self, spec: MachineSpec, *, machine_id: str = "") -> IsolationProof: ...
