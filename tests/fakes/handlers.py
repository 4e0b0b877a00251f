"""Handlers over the simulated site, and handlers that do nothing; lawful, with faults and crashes to order."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.contracts.handler import Deed, Emit, Handler
from orchestrator.contracts.progress import ProgressSink
from orchestrator.model import action as actions
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from tests.fakes.simulated_site import Refused, SimulatedSite, SimulatedSystem

# Verbs that the engine carries itself: they never reach a handler.
PERSON_STEPS = ("approval", "manual", "decision", "wait")


class SimulatedCrash(BaseException):
    """Not an Exception: no except clause of the product may swallow a crash."""


@dataclass
class Faults:
    """What goes wrong, by deed (`<step>` or `<step>.undo`): so many failed outcomes before the deed works."""

    failures: Counter[str] = field(default_factory=Counter)
    retryable: bool = False
    # Called before and after each deed took effect, with the deed's name and "before" or "after"; may crash.
    boundary: Callable[[str, str], None] = lambda _deed, _when: None
    unknown: set[str] = field(default_factory=set)  # deeds of which the world says nothing
    instead: dict[str, list[Outcome]] = field(default_factory=dict)  # given, and the deed takes no effect
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)  # given, after the deed took effect
    errors: dict[str, str] = field(default_factory=dict)  # the error of its failures, where it is another
    cut: set[str] = field(default_factory=set)  # sides that nobody reaches
    struck: set[str] = field(default_factory=set)  # deeds at which something went wrong as ordered

    def take(self, name: str) -> bool:
        if self.failures[name] > 0:
            self.failures[name] -= 1
            self.struck.add(name)
            return True
        return False


def sides_of(action: Any) -> list[str]:
    """The sides that an action touches."""
    found: list[str] = []
    for value in dict(action).values() if action is not None else ():
        values = value if isinstance(value, tuple) else (value,)
        found += [each.value for each in values if isinstance(each, Side)]
    return found


def name_of(deed: Deed) -> str:
    return deed.step.id if deed.mode == "do" else f"{deed.step.id}.undo"


class SimulatedHandler:
    """Any verb, over the simulated site. Probes answer from the world."""

    def __init__(self, site: SimulatedSite, faults: Faults) -> None:
        self._site = site
        self._faults = faults

    def probe(self, deed: Deed) -> Probe:
        # Every effect here may be repeated, and what is observed is needed later.
        return Probe.UNKNOWN if name_of(deed) in self._faults.unknown else Probe.ABSENT

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        name = name_of(deed)
        self._faults.boundary(name, "before")
        if instead := self._faults.instead.get(name):
            self._faults.struck.add(name)
            return instead.pop(0)
        if self._faults.take(name):
            error = self._faults.errors.get(name, "HostUnreachable")
            return Outcome.failed(f"{name} was told to fail", error=error, retryable=self._faults.retryable)
        cut_off = self._faults.cut.intersection(sides_of(deed.action))
        if cut_off:
            return Outcome.failed(f"{cut_off} cannot be reached", error="HostUnreachable", retryable=True)
        try:
            with self._site.changing(deed.system_plan.system.name) as system:
                observed = do(system, deed)
                if name not in system.state["deeds"]:
                    system.state["deeds"].append(name)
        except Refused as refused:
            return Outcome.failed(str(refused), error="CommandFailed")
        self._faults.boundary(name, "after")
        if ordered := self._faults.outcomes.get(name):
            self._faults.struck.add(name)
            return ordered.pop(0)
        return Outcome.done(**observed)


def do(system: SimulatedSystem, deed: Deed) -> dict[str, Any]:
    """The effect of one action, and what is observed of it."""
    match deed.action:
        case actions.Replicate() as action:
            system.replicate(action.source.value, action.replica.value)
            return {"hop": f"{action.source.value}_to_{action.replica.value}"}
        case actions.RunPlaybook() as action:
            system.playbook(action.playbook, action.side.value)
            return {"finished_at": "now"}
        case actions.VerifyDigests() as action:
            equal = system.digests_equal([side.value for side in action.sides])
            if not equal:
                raise Refused("digests differ")
            return {"equal": equal}
        case actions.MoveAuthority() as action:
            return system.move_authority(action.from_side.value, action.to_side.value, deed.key)
        case actions.Promote() as action:
            system.promote(action.side.value, action.old_side.value)
            return {}
        case actions.CarryBack() as action:
            system.carry_back(action.from_side.value, action.to_side.value)
            return {}
        case actions.SwitchFront() as action:
            system.state["front"] = action.side.value
            return {"side": action.side.value}
        case actions.Check() as action:
            if not system.serves(action.side.value, through_front=action.through_front):
                raise Refused(f"{action.side.value} does not serve")
            return {"finished_at": "now"}
        case actions.Watch() as action:
            if not system.serves(action.side.value, through_front=True):
                raise Refused(f"{action.side.value} does not serve")
            return {"rounds": 1}
        case actions.Commit() as action:
            if system.state["authority"]["side"] != action.side.value:
                raise Refused("authority is elsewhere")
            return {"side": action.side.value}
        case _:
            return do_towards_a_switch(system, deed)


def do_towards_a_switch(system: SimulatedSystem, deed: Deed) -> dict[str, Any]:
    """The same, of the verbs that only a switch between replicated sides needs."""
    match deed.action:
        case actions.Follow() as action:
            system.follow([side.value for side in action.chain])
            return {"bytes_wire": 0}
        case actions.TakeRecoveryPoint():
            return {"point": "p-1", "digest": "sha256:" + "0" * 64}
        case actions.DrillInBubble() | actions.DrillAtCloud():
            return {"isolated": True, "left_behind": False, "production_changed": 0, "replication_streamed": True}
        case actions.AccountWrites() as action:
            return {"transactions": system.only_at(action.at.value, action.beside.value)}
        case actions.SeedImage():
            return {"images": {"disk": "image-1"}}
        case actions.StartTestMachine():
            return {"machines": ["machine-1"]}
        case actions.WeighWindow():
            return {"spare_seconds": 1.0}
        case actions.SeizeAuthority() as action:
            return system.seize_authority(action.from_side.value, action.to_side.value, deed.key)
        case actions.PromoteAlone() as action:
            system.promote_alone(action.side.value)
            return {}
        case _:
            return {}


class SimulatedHandlers:
    """All verbs over one site."""

    def __init__(self, site: SimulatedSite, faults: Faults | None = None) -> None:
        self._handler = SimulatedHandler(site, faults or Faults())

    def __call__(self, verb: str) -> Handler:
        return self._handler


@dataclass
class NoOpHandlers:
    """Does nothing, and counts. `seconds` is how long each deed takes; `act` may be replaced by a script."""

    seconds: float = 0.0
    script: Callable[[Deed, Emit], Outcome | None] | None = None
    verdict: Probe = Probe.ABSENT
    acted: list[str] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)
    under_way_max: int = 0
    _under_way: int = 0

    def __call__(self, verb: str) -> Handler:
        return self

    def probe(self, deed: Deed) -> Probe:
        self.probed.append(name_of(deed))
        return self.verdict

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        self._under_way += 1
        self.under_way_max = max(self.under_way_max, self._under_way)
        try:
            self.acted.append(f"{deed.system_plan.system.name}/{name_of(deed)}")
            if self.seconds:
                time.sleep(self.seconds)
            outcome = self.script(deed, emit) if self.script is not None else None
            return outcome if outcome is not None else Outcome.done()
        finally:
            self._under_way -= 1
