"""Every verb of the shipped migration, out and back, obeys the laws of a handler, over fakes that obey theirs."""

from dataclasses import dataclass, field

import pytest

from orchestrator.contracts.handler import Deed
from orchestrator.model.outcome import Probe
from orchestrator.model.step import Step
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import RUN, FakeWorld, the_plan
from tests.laws.handler_laws import HandlerLaws, quiet

PLAN = the_plan()
STEPS = {step.id: step for step in PLAN.systems[0].steps}
LAST = "watch"  # from beyond it nothing is undone


def deed_of(step: Step, mode: str, earlier: dict) -> Deed:
    return Deed(
        run=RUN,
        plan=PLAN,
        system_plan=PLAN.systems[0],
        step=step,
        mode=mode,
        attempt=1,
        key=f"{RUN}/filing/{step.id}/{mode}",
        earlier=earlier,
    )


@dataclass
class Ground:
    world: FakeWorld = field(default_factory=FakeWorld)
    earlier: dict = field(default_factory=dict)
    told_before: int = 0  # events of the deeds that led here

    def __post_init__(self) -> None:
        self.interruption, self.state = self.world.interruption, self.world.state
        self.emit, self.tell = self.world.emit, self.world.tell
        self.deed: Deed

    @property
    def handler(self):
        return handlers_over(self.world.drivers)(self.deed.action.verb)

    def told(self) -> set[str]:
        return {kind for kind, _ in self.world.events[self.told_before :]}

    def walk(self, step: Step, mode: str) -> None:
        """Do a deed, with clients at work before it."""
        self.world.client_files()
        self.deed = deed_of(step, mode, dict(self.earlier))
        outcome = self.handler.act(self.deed, quiet, self.tell)
        assert outcome.passed, f"{step.id} {mode}: {outcome.message}"
        self.earlier[step.id if mode == "do" else f"{step.id}.undo"] = outcome.observed


@dataclass
class Scene:
    """The world as it is when the run comes to `step`, on its way out or back."""

    step: str
    mode: str

    def set(self) -> Ground:
        ground = Ground()
        for step in STEPS.values():
            if self.mode == "do" and step.id == self.step:
                break
            ground.walk(step, "do")
            if self.mode == "undo" and step.id == LAST:
                self._walk_back(ground)
                break
        ground.deed = deed_of(STEPS[self.step], self.mode, dict(ground.earlier))
        ground.told_before = len(ground.world.events)
        return ground

    def _walk_back(self, ground: Ground) -> None:
        for step in reversed(list(STEPS.values())[: list(STEPS).index(LAST) + 1]):
            if step.id == self.step:
                return
            if step.inverse.action is not None:
                ground.walk(step, "undo")


FORWARD = [(step.id, "do") for step in STEPS.values()]
BACKWARD = [(step.id, "undo") for step in STEPS.values() if step.inverse.action is not None]


class TestHandlers(HandlerLaws):
    @pytest.fixture(params=FORWARD + BACKWARD, ids=lambda pair: f"{pair[0]}.{pair[1]}")
    def scene(self, request):
        return Scene(*request.param)


def test_every_verb_that_has_a_handler_is_tried():
    tried = {STEPS[step].action.verb for step, _ in FORWARD}
    tried |= {STEPS[step].inverse.action.verb for step, _ in BACKWARD}
    verbs = (
        "preflight provision_target replicate take_recovery_point run_playbook verify_digests move_authority promote "
        "carry_back prepare_front switch_front check watch commit end_target follow account_writes weigh_window"
    )
    assert tried == set(verbs.split())


JUDGED = {criterion.step for step in STEPS.values() if step.gate for criterion in step.gate.criteria}


@pytest.mark.parametrize("step", sorted(JUDGED))
def test_what_a_gate_judges_is_observed_also_by_a_deed_that_was_cut_off(step):
    """Found applied, nothing would be observed, and the gate would stay closed for ever."""
    ground = Scene(step, "do").set()
    ground.walk(STEPS[step], "do")
    assert ground.handler.probe(ground.deed) is Probe.ABSENT
