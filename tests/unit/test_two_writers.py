"""Whatever happens, in whatever order: one side takes writes, nothing acknowledged is lost, and a way back is open.

A system is moved again and again by the product's reducer and handlers, over the world of tests/fakes/drivers.py.
Orchestrators die at any call and another one goes on; what a dead one had sent may arrive at its host much later;
hosts die and come back; people start services by hand, ask for roll-back and for pauses.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.contracts.databases import Role
from orchestrator.contracts.requests import Operation
from orchestrator.foundation.errors import HostUnreachable, OrchestratorError
from orchestrator.model.action import Preflight
from orchestrator.model.host import Host
from orchestrator.model.site import Side
from orchestrator.steps.starts import guard_starts
from tests.fakes.drivers import CLOUD, DR, REGISTER, SOURCE, SYSTEM, FakeWorld, a_deed, the_plan
from tests.fakes.handlers import SimulatedCrash
from tests.fakes.plans import shipped_steps
from tests.fakes.playbooks import PlayFails
from tests.fakes.run_in_hand import RunInHand

BACK = {"from": "cloud", "to": "source"}
# What moves the system on from each side; the first time it is replicated and seeded as well.
PLANS = {
    "migrate": the_plan(),
    Side.SOURCE: the_plan(steps=shipped_steps("cutover")),
    Side.CLOUD: the_plan(steps=shipped_steps("cutover", inputs=BACK)),
}
# Brings the system home from wherever another run left it as it stood.
TAKES_OVER = the_plan(steps=shipped_steps("rollback"))
HOSTS = {Side.SOURCE: SOURCE, Side.DR: DR, Side.CLOUD: CLOUD}
AT_LAST: dict[str, Operation] = {"failed": "rollback", "rollback_failed": "retry", "paused": "resume"}
LONG = os.environ.get("SKERRY_LONG") == "1"
PLACES_AHEAD_MAX = 90
LATE_MAX = 2
PLACES_TO_PERMIT_MAX = 14
# A command that was sent may arrive late; what only asks has no effect whenever it arrives.
WITH_EFFECT = ("run", "move", "shut_down", "switch", "start", "promote")


class TwoWriters(RuleBasedStateMachine):
    """One system, one estate, many runs and many orchestrators."""

    def __init__(self) -> None:
        super().__init__()
        self.world = FakeWorld()
        self.runs = 0
        self.late: list[tuple[str, Callable[[], Any]]] = []
        self.was_moved = False
        self.is_left_as_it_stands = False  # by a run, and no other has brought it home since
        self.hand = self.next_run()
        self.status = "waiting"
        self.disturbed = False  # something outside the run may have taken the service away

    def next_run(self) -> RunInHand:
        self.runs += 1
        if self.is_left_as_it_stands:
            return RunInHand(self.world, TAKES_OVER, run=f"run-{self.runs}")
        side = self.world.authority.read(SYSTEM.name).side
        self.was_moved |= side is Side.CLOUD
        return RunInHand(self.world, PLANS[side if self.was_moved else "migrate"], run=f"run-{self.runs}")

    @initialize(fails=st.booleans())
    def begin(self, fails: bool) -> None:
        if fails:
            self.world.failing_checks.add((CLOUD.name, "attachments-ready"))

    # ---- orchestrators

    @precondition(lambda self: not self.is_over)
    @rule(places=st.integers(1, PLACES_AHEAD_MAX), arrives_late=st.booleans())
    def go_on_and_die(self, places: int, arrives_late: bool) -> None:
        """An orchestrator takes the run up and dies at some call: before it had an effect, or after, or long before."""
        self.world.interruption.arm(places)
        try:
            self.status = self.hand.live().status
        except SimulatedCrash:
            name, call = self.world.interruption.call
            if arrives_late and name in WITH_EFFECT and len(self.late) < LATE_MAX:
                self.late.append((name, call))
        finally:
            self.world.interruption.arm()

    @precondition(lambda self: not self.is_over)
    @rule(places=st.integers(1, PLACES_AHEAD_MAX))
    def go_on_over_a_cut_network(self, places: int) -> None:
        """One call finds no way to its host; life goes on until the run is over or waits for a person."""
        self.world.interruption.arm(places, HostUnreachable("no route to host"))
        self.status = self.hand.live().status
        self.world.interruption.arm()

    @precondition(lambda self: self.status in ("failed", "rollback_failed", "paused"))
    @rule()
    def a_person_tries_again(self) -> None:
        self.hand.ask("resume" if self.status == "paused" else "retry")
        self.status = self.hand.live().status

    @precondition(lambda self: not self.is_over)
    @rule(operation=st.sampled_from(["rollback", "pause"]))
    def a_person_asks(self, operation: Operation) -> None:
        self.hand.ask(operation)

    @precondition(lambda self: self.is_over)
    @rule(fails=st.booleans())
    def another_run(self, fails: bool) -> None:
        """The system is moved, or moved again, from wherever it is to the other side."""
        self.world.failing_checks.clear()
        if fails and self.came_home():
            new = SOURCE if self.holder is CLOUD else CLOUD
            self.world.failing_checks.add((new.name, "attachments-ready"))
        self.hand, self.status = self.next_run(), "waiting"

    @precondition(lambda self: self.status in ("failed", "rollback_failed", "paused") and not self.is_over)
    @rule()
    def another_plan_takes_the_system_over_as_it_stands(self) -> None:
        """A run that stands is left; a plan without its record brings the system home."""
        self.hand.ask("leave")
        self.status = self.hand.live().status
        if self.status == "cancelled":
            self.world.failing_checks.clear()
            self.is_left_as_it_stands = True
            self.hand, self.status = self.next_run(), "waiting"

    # ---- hosts, the network, and people on hosts

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, LATE_MAX), repeated=st.booleans())
    def what_a_dead_orchestrator_sent_arrives(self, which: int, repeated: bool) -> None:
        _, call = self.late[which % len(self.late)]
        if not repeated:
            self.late.pop(which % len(self.late))
        served = set(self.serving())
        with suppress(OrchestratorError, PlayFails):
            call()
        primary = self.world.databases.role(REGISTER, self.holder) is Role.PRIMARY
        self.disturbed |= served != set(self.serving()) or (bool(served) and not primary)

    @rule(side=st.sampled_from([Side.SOURCE, Side.CLOUD]))
    def a_host_dies_and_returns(self, side: Side) -> None:
        self.world.reboot(HOSTS[side])

    @rule(places=st.integers(0, PLACES_TO_PERMIT_MAX), arrives_late=st.booleans(), held_down=st.booleans())
    def somebody_looks_which_hosts_have_booted(self, places: int, arrives_late: bool, held_down: bool) -> None:
        """And guards starts from then on; it may die at some call, and what it sent may arrive much later."""
        deed = a_deed(Preflight(), plan=PLANS["migrate"])
        served = set(self.serving())
        self.world.interruption.arm(places)
        try:
            guard_starts(self.world.drivers, deed, self.world.tell, held_down=lambda: held_down)
        except SimulatedCrash:
            name, call = self.world.interruption.call
            if arrives_late and name == "run" and len(self.late) < LATE_MAX:
                self.late.append((name, call))
        except OrchestratorError:
            pass
        finally:
            self.world.interruption.arm()
        self.disturbed |= served != set(self.serving())  # where nobody tells it what a run has stopped

    @rule(side=st.sampled_from([Side.SOURCE, Side.CLOUD]))
    def somebody_starts_the_services_by_hand(self, side: Side) -> None:
        """The guard on the host is asked, as at every start; what a new machine does not have yet is not started."""
        host = HOSTS[side]
        if host.name in self.world.enabled and self.world.may_start(host.name):
            with suppress(OrchestratorError):
                if self.world.databases.start(REGISTER, host) is Role.PRIMARY:
                    self.world.serving[host.name] = {service.name for service in SYSTEM.services}

    @rule(count=st.integers(1, 3))
    def clients_file(self, count: int) -> None:
        for _ in range(count):
            self.world.client_files()

    # ---- what always holds

    @invariant()
    def one_side_writes_and_nothing_is_lost(self) -> None:
        self.world.look_for_violations()
        assert self.world.violations == []
        assert self.world.lost(self.holder) == []

    @invariant()
    def what_could_start_holds_authority(self) -> None:
        """Once every host has been guarded and has booted, no side but the holder's comes up serving."""
        for host in (SOURCE, CLOUD):
            if host.name in self.world.starts.guarded and host is not self.holder:
                assert not (host.name in self.world.enabled and self.world.may_start(host.name)), host.name

    @invariant()
    def every_move_has_a_newer_number(self) -> None:
        numbers = [data["number"] for kind, data in self.world.events if kind == "authority.moved"]
        assert numbers == sorted(numbers)

    def teardown(self) -> None:
        """Once nothing more happens, and a person asks again for what failed, the system serves at one side."""
        for _ in range(6):
            if self.is_over and self.came_home():
                break
            if self.is_over:  # what was to bring it home was given up before it did
                self.hand, self.status = self.next_run(), "waiting"
            self.a_look()
            if self.status in ("failed", "rollback_failed", "paused"):
                self.hand.ask(
                    "retry" if self.hand.plan is TAKES_OVER and self.status == "failed" else AT_LAST[self.status]
                )
            self.status = self.hand.live().status
        assert self.is_over, self.status
        self.a_look()
        self.one_side_writes_and_nothing_is_lost()
        if not self.disturbed:
            assert self.world.takes_writes(self.holder), f"{self.status}, but {self.holder.name} takes no writes"

    def a_look(self) -> None:
        """Somebody looks all the time: what waits since its host booted is told that it may serve."""
        guard_starts(self.world.drivers, a_deed(Preflight(), plan=PLANS["migrate"]), self.world.tell, held_down=bool)

    # ---- small questions

    def came_home(self) -> bool:
        """Whether no run left the system as it stood, or another has brought it home since."""
        if self.hand.plan is TAKES_OVER and self.status == "committed":
            self.is_left_as_it_stands = False
        return not self.is_left_as_it_stands

    @property
    def is_over(self) -> bool:
        return self.status in ("committed", "rolled_back", "cancelled") or (
            self.status == "failed" and not self.hand.may_be_rolled_back()
        )

    @property
    def holder(self) -> Host:
        return HOSTS[self.world.authority.read(SYSTEM.name).side]

    def serving(self) -> list[str]:
        return [host.name for host in HOSTS.values() if self.world.takes_writes(host)]


TestTwoWriters = TwoWriters.TestCase
TestTwoWriters.settings = settings(
    max_examples=2000 if LONG else 80,
    stateful_step_count=40 if LONG else 20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
