"""The shipped switches (cutover, failback, failover, rollback, drill) over fakes: out, home, cut off anywhere.

Clients file before and after every deed, wherever the front sends them. Reducer and handlers are the product's own.
"""

from typing import Any

import pytest

from orchestrator.contracts.databases import Role
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import HostUnreachable
from orchestrator.model.action import AccountWrites, Manual
from orchestrator.model.plan import Plan
from orchestrator.model.site import Side
from orchestrator.model.step import Step
from orchestrator.model.word import SignedWord
from orchestrator.steps.accounting import account_writes
from orchestrator.steps.meetings import note_meetings
from orchestrator.steps.words import word_key
from tests.fakes.drivers import ATTACHMENTS, CLOUD, DR, HOSTS, REGISTER, SOURCE, SYSTEM, FakeWorld, a_deed, the_plan
from tests.fakes.handlers import SimulatedCrash
from tests.fakes.plans import shipped_steps
from tests.fakes.run_in_hand import RunInHand
from tests.fakes.trees import FakeFile

HOME = {"from": "cloud", "to": "source"}
CUTOVER = shipped_steps("cutover")


def plan_of(runbook: str, **inputs: str) -> Plan:
    return the_plan(steps=shipped_steps(runbook, inputs=inputs))


def go(world: FakeWorld, runbook: str, **inputs: str) -> Any:
    return RunInHand(world, plan_of(runbook, **inputs)).live()


def at_the_cloud() -> FakeWorld:
    """A world after a migration and a cutover home and out again would be no different."""
    world = FakeWorld()
    state = go(world, "migrate")
    assert state.status == "committed", state.reason
    return world


def replicated() -> FakeWorld:
    """The source serves; DR and the cloud are replicas."""
    world = at_the_cloud()
    state = go(world, "cutover", **HOME)
    assert state.status == "committed", state.reason
    return world


def lives_at(world: FakeWorld, side: Side) -> None:
    host = HOSTS[f"{side.value}-filing1"]
    assert world.violations == []
    assert world.lost(host) == []
    assert world.authority.read("filing").side is side
    assert world.front.records[SYSTEM.front.name].address == host.address
    assert world.takes_writes(host)
    assert host.name not in world.fenced


def follows(world: FakeWorld, *hosts: Any) -> None:
    """Databases stream on by themselves; trees are as they were at the last pass."""
    for host in hosts:
        assert world.databases.role(REGISTER, host) is Role.STANDBY
        assert set(world.acknowledged) <= set(world.databases.rows(REGISTER, host))


def a_word(world: FakeWorld, kind: str, side: Side, *, number: int | None = None, valid: bool = True) -> None:
    present = world.authority.read("filing").number if number is None else number
    word = SignedWord(
        kind=kind,
        system="filing",
        side=side,
        number=present,
        person="ana",
        role="system-owner",
        because="the building burnt",
        at=timestamp(world.clock.now()),
        expires_at="2999-01-01T00:00:00.000Z" if valid else "2000-01-01T00:00:00.000Z",
        envelope="{}",
        key_fingerprint="SHA256:x",
    )
    key = word_key(word.kind, "filing", side, present) + "n1"
    world.catalogue.put("word", key, word.model_dump(mode="json"))


def lose(world: FakeWorld, host: Any) -> None:
    """The host is gone. Its tree had just been passed on; a database passes on all the time."""
    world.trees.copy(ATTACHMENTS, host, DR)
    world.transports(host).trouble = HostUnreachable(f"{host.name} cannot be reached: no route")
    world.trees.hosts.cut.add(host.name)
    world.serving[host.name].clear()


def find(world: FakeWorld, host: Any) -> None:
    """It is back, as a machine is that lost its power: its services would start, did nothing keep them from it."""
    world.transports(host).trouble = None
    world.trees.hosts.cut.discard(host.name)


def told(world: FakeWorld, kind: str) -> list[dict[str, Any]]:
    return [data for found, data in world.events if found == kind]


# -- cutover


def test_a_cutover_goes_out_and_home_again_and_again():
    world = replicated()
    for direction, side in (({}, Side.CLOUD), (HOME, Side.SOURCE), ({}, Side.CLOUD), (HOME, Side.SOURCE)):
        state = go(world, "cutover", **direction)
        assert state.status == "committed", state.reason
        lives_at(world, side)
    assert world.authority.read("filing").number == 7


def test_after_the_switch_replication_runs_the_other_way_before_and_after_the_commit():
    world = replicated()
    go(world, "cutover")
    follows(world, DR, SOURCE)
    # Databases go on by themselves: what is filed now is at home at once.
    world.client_files()
    rows = world.databases.rows(REGISTER, SOURCE)
    assert world.acknowledged[-1] in rows
    chains = [data["chain"] for data in told(world, "replication.follows")]
    assert chains[-2:] == [["cloud", "dr", "source"]] * 2


def test_the_account_of_writes_is_on_record_before_the_commit():
    world = replicated()
    state = go(world, "cutover")
    account = state.earlier["account"]
    assert account["complete"]
    assert account["transactions"] == 0, "the old side follows: nothing is at the new one alone"
    assert account["business"]["passed"]
    assert told(world, "writes.accounted")


def counted(world: FakeWorld, at: Side, beside: Side) -> dict[str, Any]:
    deed = a_deed(AccountWrites(at=at, beside=beside))
    return account_writes(world.drivers, deed, at, beside, lambda _: None, lambda *_: None)


def test_an_account_knows_from_copies_whose_change_a_file_is():
    world = replicated()
    assert go(world, "cutover").status == "committed"
    here, there = (world.trees.hosts.trees[host.name, ATTACHMENTS.path] for host in (CLOUD, SOURCE))
    there.update(here)
    now = int(world.clock.now().timestamp() * 1e9) + 10**9
    here["new"] = FakeFile(b"new", mtime_ns=now)
    for name, files in (("changed", (here,)), ("both", (here, there))):
        here[name] = there[name] = FakeFile(b"as it was")
        for files_of in files:
            files_of[name] = FakeFile(b"%d" % id(files_of), mtime_ns=now)
    there["gone"] = FakeFile(b"gone")
    found = counted(world, Side.CLOUD, Side.SOURCE)["datasets"]["attachments"]
    assert (found["paths"], found["only"], found["changed"], found["changed_both"]) == (3, 1, 1, 1)
    assert found["beside_only"] == 1
    assert "new: only at cloud-filing1" in found["named"]
    # What a round brings home is nobody's change; what is written after it is one again, at one side.
    world.clock.sleep(5)
    note_meetings(world.drivers, "filing", (Side.CLOUD, Side.DR, Side.SOURCE), world.clock.now())
    later = int(world.clock.now().timestamp() * 1e9) + 10**9
    here["both"] = FakeFile(b"later", mtime_ns=later)
    found = counted(world, Side.CLOUD, Side.SOURCE)["datasets"]["attachments"]
    assert found["changed"] == 1
    assert "changed_both" not in found


@pytest.mark.parametrize("broken", [step.id for step in CUTOVER if step.on_failure == "rollback"])
@pytest.mark.parametrize("direction", ["out", "home"])
def test_a_cutover_that_fails_anywhere_is_rolled_back_with_every_write(broken, direction):
    world = replicated() if direction == "out" else at_the_cloud_by_cutover()
    inputs = {} if direction == "out" else HOME
    plan = plan_of("cutover", **inputs)
    run = Failing(world, plan, broken)
    state = run.live()
    assert state.status == "rolled_back", state.reason
    old, new = (Side.SOURCE, Side.CLOUD) if direction == "out" else (Side.CLOUD, Side.SOURCE)
    lives_at(world, old)
    assert HOSTS[f"{new.value}-filing1"].name in world.fenced
    follows(world, DR, HOSTS[f"{new.value}-filing1"])
    # And what the way back leaves does not stand in the way of the same plan.
    assert go(world, "cutover", **inputs).status == "committed"
    lives_at(world, new)


def at_the_cloud_by_cutover() -> FakeWorld:
    world = replicated()
    assert go(world, "cutover").status == "committed"
    return world


class Failing(RunInHand):
    """A run of which one step does its deed and then says that it failed."""

    def __init__(self, world: FakeWorld, plan: Plan, broken: str) -> None:
        super().__init__(world, plan)
        self._broken = broken

    def _perform(self, state: Any, key: Any) -> Any:
        ended = super()._perform(state, key)
        if key != (self._broken, "do"):
            return ended
        outcome = ended.outcome.model_copy(update={"result": "failed", "message": "ordered to fail"})
        return ended.model_copy(update={"outcome": outcome})


@pytest.mark.parametrize("first", range(1, 8))
def test_a_cutover_cut_off_anywhere_goes_on(first):
    world = replicated()
    world.interruption.arm()
    assert RunInHand(world, plan_of("cutover")).live().status == "committed"
    places = world.interruption.places
    assert places > 200
    for place in range(first, places, 35):
        world = replicated()
        run = RunInHand(world, plan_of("cutover"))
        world.interruption.arm(place)
        with pytest.raises(SimulatedCrash):
            run.live()
        world.interruption.arm()
        state = run.live()
        assert state.status == "committed", f"cut off at {place}: {state.reason}"
        lives_at(world, Side.CLOUD)


def test_without_a_commit_in_time_everything_is_rolled_back():
    world = replicated()
    steps = tuple(_asks_before_commit(step) for step in shipped_steps("cutover", inputs={"commit-within": "10m"}))
    state = RunInHand(world, the_plan(steps=steps)).live()
    assert state.status == "rolled_back"
    assert "commit: not passed within 600 s after switch_front" in state.reason
    lives_at(world, Side.SOURCE)
    follows(world, DR, CLOUD)


def _asks_before_commit(step: Step) -> Step:
    """The account waits for a person, who does not come."""
    if step.id != "account":
        return step
    return step.model_copy(update={"action": Manual(text="look at the account"), "timeout": 86400.0})


def test_a_window_too_short_for_the_way_back_closes_the_gate_before_clients_are_switched():
    world = replicated()
    state = go(world, "cutover", window="5m", rollback="5m", reserve="1m")
    assert state.status == "rolled_back"
    assert "G5 is closed: way_back_fits: weigh_window.spare_seconds" in state.reason
    assert not told(world, "front.switched")[2:], "clients were never sent there"
    lives_at(world, Side.SOURCE)


# -- failback


def test_a_failback_brings_everything_home():
    world = at_the_cloud_by_cutover()
    for _ in range(5):
        world.client_files()
    state = go(world, "failback")
    assert state.status == "committed", state.reason
    lives_at(world, Side.SOURCE)
    follows(world, DR, CLOUD)


# -- failover


def test_a_failover_takes_a_person_s_word_and_nothing_less():
    world = replicated()
    lose(world, SOURCE)
    run = RunInHand(world, plan_of("failover"))
    state = run.live()
    assert state.status == "failed"
    assert "nobody has seen that source is stopped" in state.reason
    assert world.authority.read("filing").side is Side.SOURCE
    a_word(world, "side_is_down", Side.SOURCE, valid=False)
    a_word(world, "side_is_down", Side.SOURCE, number=world.authority.read("filing").number - 1)
    assert go(world, "failover").status == "failed", "neither an expired word nor one for another number counts"
    a_word(world, "side_is_down", Side.SOURCE)
    state = go(world, "failover")
    assert state.status == "committed", state.reason
    lives_at(world, Side.CLOUD)
    follows(world, DR)
    moved = told(world, "authority.moved")[-1]
    assert moved["confirmed"]["word"]["person"] == "ana"
    assert state.earlier["commit"]["rpo_seconds"] is None, "what the lost side held nobody knows"


def test_a_cloud_that_is_lost_is_taken_over_from_by_the_source_and_none_of_its_machines_is_waited_for():
    world = at_the_cloud()
    lose(world, CLOUD)
    world.playbooks.unreachable[CLOUD.name] = HostUnreachable(f"{CLOUD.name} cannot be reached: no route")
    a_word(world, "side_is_down", Side.CLOUD)
    state = go(world, "failover", **HOME)
    assert state.status == "committed", state.reason
    lives_at(world, Side.SOURCE)
    assert state.earlier["provision_target"] == {}


def test_a_failover_from_a_side_that_answers_and_serves_is_refused():
    world = replicated()
    a_word(world, "side_is_down", Side.SOURCE)
    moved = told(world, "transfer.finished")
    state = go(world, "failover")
    assert state.status == "failed"
    assert state.reason.startswith("preflight: source-filing1: filing-app still serves"), "said first, and by name"
    assert told(world, "transfer.finished") == moved, "nothing was touched"
    lives_at(world, Side.SOURCE)


def test_a_failover_from_a_side_that_answers_and_could_be_started_again_is_refused():
    world = replicated()
    world.serving[SOURCE.name].clear()
    a_word(world, "side_is_down", Side.SOURCE)
    state = go(world, "failover")
    assert state.status == "failed"
    assert "no fence of filing stands there" in state.reason
    assert world.authority.read("filing").side is Side.SOURCE


def test_after_a_failover_the_lost_side_comes_home_and_no_write_of_it_is_overwritten_unasked():
    world = replicated()
    # The last filing never left the source.
    server = world.databases.servers[REGISTER.name, SOURCE.name]
    lose(world, SOURCE)
    server.role = Role.STOPPED
    server.records.append((server.timeline, "only-at-the-source"))
    world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path]["only-at-the-source"] = FakeFile(b"paper")
    a_word(world, "side_is_down", Side.SOURCE)
    assert go(world, "failover").status == "committed"
    find(world, SOURCE)
    server.role = Role.PRIMARY  # it started by itself

    state = go(world, "failback")
    assert state.status == "failed"
    assert "may hold writes that are nowhere else" in state.reason
    assert "only-at-the-source" in world.databases.rows(REGISTER, SOURCE)
    assert "only-at-the-source" in world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path]
    lives_at(world, Side.CLOUD)

    a_word(world, "loss_accepted", Side.SOURCE)
    state = go(world, "failback")
    assert state.status == "committed", state.reason
    lives_at(world, Side.SOURCE)
    lost = told(world, "loss.accepted")
    assert {each["dataset"] for each in lost} == {"register", "attachments"}
    assert all(each["word"]["person"] == "ana" for each in lost)
    point = next(each["kept_as_point"] for each in lost if "kept_as_point" in each)
    _, files = world.trees.hosts.points[SOURCE.name, ATTACHMENTS.name][point]
    assert "only-at-the-source" in files


# -- a rollback that carries nothing home, because a named person accepted the loss


def test_a_rollback_gives_up_what_cannot_be_carried_on_a_signed_word_and_on_nothing_less():
    world = replicated()
    run = LinkBreaks(world, plan_of("cutover"))
    assert run.live().status == "failed", "what the cloud writes is brought back to nobody"
    run.ask_rollback()
    state = run.live()
    assert state.status == "rollback_failed"
    assert "inverse of promote" in state.reason
    assert world.authority.read("filing").side is Side.CLOUD
    a_word(world, "loss_accepted", Side.CLOUD, valid=False)
    a_word(world, "loss_accepted", Side.SOURCE)
    run.ask("retry")
    assert run.live().status == "rollback_failed", "neither an expired word nor one about another side counts"

    before = world.databases.rows(REGISTER, SOURCE)
    a_word(world, "loss_accepted", Side.CLOUD)
    run.ask("retry")
    state = run.live()
    assert state.status == "rolled_back", state.reason
    assert world.violations == []
    assert world.takes_writes(SOURCE)
    assert world.authority.read("filing").side is Side.SOURCE
    assert world.databases.rows(REGISTER, SOURCE)[: len(before)] == before
    assert world.databases.rows(REGISTER, DR) == world.databases.rows(REGISTER, SOURCE), "DR follows home again"
    lost = [each for each in told(world, "loss.accepted") if each["side"] == "cloud"]
    assert {each["dataset"] for each in lost} == {"register", "attachments"}
    assert all(each["word"]["person"] == "ana" for each in lost)
    point = next(each["kept_as_point"] for each in lost if "kept_as_point" in each)
    assert run.filed_last in world.trees.hosts.points[CLOUD.name, ATTACHMENTS.name][point][1]


def test_a_rollback_without_the_record_obeys_the_same_word():
    world = at_the_cloud_by_cutover()
    world.client_files()
    a_word(world, "loss_accepted", Side.CLOUD)
    state = go(world, "rollback")
    assert state.status == "committed", state.reason
    assert state.earlier["carry_back"]["given_up"]["person"] == "ana"
    assert world.takes_writes(SOURCE)
    assert world.violations == []


class BootsBefore(RunInHand):
    """A run in which the cloud's host dies and comes back just before a step is done."""

    def __init__(self, world: FakeWorld, plan: Plan, step: str) -> None:
        super().__init__(world, plan)
        self._step = step

    def _perform(self, state: Any, key: Any) -> Any:
        if key[0] == self._step:
            self.world.reboot(CLOUD)
        return super()._perform(state, key)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_left_side_whose_host_booted_and_is_held_back_is_carried_home_from_behind_its_fence(guarded):
    """Nobody looked since the boot, or the fence came first: its database holds what is nowhere else."""
    world = at_the_cloud_by_cutover()
    world.client_files()
    if guarded:
        world.starts.guarded.add(CLOUD.name)
        world.reboot(CLOUD)
        assert not world.takes_writes(CLOUD)
    state = BootsBefore(world, plan_of("rollback"), "" if guarded else "carry_back").live()
    assert state.status == "committed", state.reason
    assert world.takes_writes(SOURCE)
    assert world.lost(SOURCE) == []
    assert world.violations == []
    [opened] = told(world, "databases.recovered")
    assert opened["units"] == ["filing-db"]
    assert not world.may_start(CLOUD.name)


# -- an orchestrator that was left behind, whose state was restored elsewhere and brought to its end there


class LeftBehind(Failing):
    """A run that finds, before `step` is done or undone, that another orchestrator opened the source meanwhile."""

    def __init__(self, world: FakeWorld, plan: Plan, step: str, mode: str) -> None:
        super().__init__(world, plan, "check_front" if mode == "undo" else "")
        self._at = (step, mode)

    def _perform(self, state: Any, key: Any) -> Any:
        if key == self._at:
            self.world.fenced.pop(SOURCE.name, None)
            self.world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path]["filed since"] = FakeFile(b"paper")
        return super()._perform(state, key)


@pytest.mark.parametrize(("step", "mode"), [("promote", "undo"), ("follow_back", "do"), ("keep_following", "do")])
def test_an_orchestrator_that_was_left_behind_writes_over_nothing_at_a_side_that_was_opened_since(step, mode):
    world = replicated()
    state = LeftBehind(world, plan_of("cutover"), step, mode).live()
    assert "filed since" in world.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path], "what clients wrote is there"
    assert "nothing of filing is written over at source, which may serve" in state.reason


class LeftBehindAtTheLast(Failing):
    """A run that finds, before it brings the last delta, that another orchestrator opened the cloud meanwhile."""

    def __init__(self, world: FakeWorld, plan: Plan, step: str) -> None:
        super().__init__(world, plan, "")
        self._at = (step, "do")

    def _perform(self, state: Any, key: Any) -> Any:
        if key == self._at:
            self.world.fenced.pop(CLOUD.name, None)
            self.world.trees.hosts.trees[CLOUD.name, ATTACHMENTS.path]["filed since"] = FakeFile(b"paper")
        return super()._perform(state, key)


@pytest.mark.parametrize(("runbook", "step"), [("cutover", "final_delta"), ("migrate", "final_delta_cloud")])
def test_the_last_delta_of_who_was_left_behind_writes_over_nothing_at_a_side_that_was_opened_since(runbook, step):
    world = replicated() if runbook == "cutover" else FakeWorld()
    state = LeftBehindAtTheLast(world, plan_of(runbook), step).live()
    assert "filed since" in world.trees.hosts.trees[CLOUD.name, ATTACHMENTS.path], "what clients wrote is there"
    assert "nothing of filing is written over at cloud, which may serve" in state.reason


class CallsCounted(RunInHand):
    """A run that notes which plays a step has run, and where."""

    counted: dict[str, list[tuple[str, tuple[str, ...]]]]

    def _perform(self, state: Any, key: Any) -> Any:
        before = len(self.world.playbooks.ran)
        ended = super()._perform(state, key)
        self.counted = {**getattr(self, "counted", {}), key[0]: [run[:2] for run in self.world.playbooks.ran[before:]]}
        return ended


def test_the_last_delta_asks_the_new_side_once_and_dr_never():
    """Clients wait: DR never serves, and one look will do for all trees."""
    run = CallsCounted(replicated(), plan_of("cutover"))
    assert run.live().status == "committed"
    assert run.counted["final_delta"] == [("confirm", (CLOUD.name,))]


# -- a way back whose home is not there


@pytest.mark.parametrize("lost", [SOURCE, DR])
@pytest.mark.parametrize("runbook", ["cutover", "migrate"])
def test_a_way_back_takes_clients_from_nobody_while_home_cannot_be_reached(runbook, lost):
    world = replicated() if runbook == "cutover" else FakeWorld()
    run = Failing(world, plan_of(runbook), "follow_back")
    assert run.live().status == "failed"
    world.transports(lost).trouble = HostUnreachable(f"{lost.name} cannot be reached: no route")
    run.ask_rollback()
    state = run.live()
    assert state.status == "rollback_failed"
    assert f"{lost.name} cannot be reached" in state.reason
    assert "clients are left where they are" in state.reason
    lives_at(world, Side.CLOUD)
    filed = len(world.acknowledged)
    world.client_files()
    assert len(world.acknowledged) == filed + 1

    world.transports(lost).trouble = None
    run.ask("retry")
    state = run.live()
    assert state.status == "rolled_back", state.reason
    lives_at(world, Side.SOURCE)


@pytest.mark.parametrize("lost", [SOURCE, DR])
def test_a_rollback_without_the_record_stops_nothing_while_home_cannot_be_reached(lost):
    world = at_the_cloud_by_cutover()
    world.transports(lost).trouble = HostUnreachable(f"{lost.name} cannot be reached: no route")
    state = go(world, "rollback")
    assert state.status == "failed"
    assert f"{lost.name} cannot be reached" in state.reason
    lives_at(world, Side.CLOUD)
    world.transports(lost).trouble = None
    assert go(world, "rollback").status == "committed"
    lives_at(world, Side.SOURCE)


class LinkBreaks(RunInHand):
    """A run whose new side takes one more filing once it serves; then nothing of its trees reaches DR any more."""

    filed_last = ""

    def _perform(self, state: Any, key: Any) -> Any:
        ended = super()._perform(state, key)
        if key == ("check_front", "do"):
            self.world.client_files()
            self.filed_last = self.world.acknowledged[-1]
            self.world.trees.hosts.cut.add(DR.name)
        return ended


# -- rollback as a plan of its own


def test_a_rollback_without_the_record_of_the_move_brings_everything_home():
    world = at_the_cloud_by_cutover()
    state = go(world, "rollback")
    assert state.status == "committed", state.reason
    lives_at(world, Side.SOURCE)
    follows(world, DR)


def test_a_rollback_goes_through_from_wherever_a_move_was_cut_off():
    for step in [step.id for step in CUTOVER if step.id != "commit"]:
        world = replicated()
        run = CutOff(world, plan_of("cutover"), step)
        with pytest.raises(SimulatedCrash):
            run.live()
        state = go(world, "rollback")
        assert state.status == "committed", f"after {step}: {state.reason}"
        lives_at(world, Side.SOURCE)


class CutOff(RunInHand):
    """A run whose process, and whose record, is gone after a step did its deed."""

    def __init__(self, world: FakeWorld, plan: Plan, last: str) -> None:
        super().__init__(world, plan)
        self._last = last

    def _perform(self, state: Any, key: Any) -> Any:
        ended = super()._perform(state, key)
        if key == (self._last, "do"):
            raise SimulatedCrash(self._last)
        return ended


# -- drill


def test_a_drill_leaves_production_alone_and_ends_when_the_evaluator_says_so():
    world = FakeWorld()
    state = go(world, "drill")  # nobody answers, and the time for it passes
    assert state.status == "failed"
    assert "nobody answered" in state.reason
    assert state.earlier["recovery_point"]["digest"].startswith("sha256:")
    bubble = state.earlier["bubble"]
    assert bubble["point"] == state.earlier["recovery_point"]["point"]
    assert (bubble["isolated"], list(bubble["carried_back"])) == (True, ["register", "attachments"])
    assert world.bubbles.open_on == {}
    lives_at(world, Side.SOURCE)
    follows(world, DR)
