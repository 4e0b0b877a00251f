"""A side that comes back: what it may start, who says so, and what a person's word about it is worth then."""

import pytest

from orchestrator.foundation.errors import AuthorityError, HostUnreachable
from orchestrator.model.action import Preflight, SeizeAuthority
from orchestrator.model.site import Side
from orchestrator.steps.handlers import handlers_over
from orchestrator.steps.seizing import SeizeAuthorityHandler
from orchestrator.steps.starts import guard_starts, is_guarded, look_at_starts, unguard_starts
from tests.fakes.drivers import CLOUD, SOURCE, FakeWorld, a_deed
from tests.fakes.handlers import SimulatedCrash
from tests.unit import test_switch_runbooks as switches
from tests.unit.test_switch_runbooks import a_word, go, lives_at, replicated, told


def guard(world: FakeWorld, *, held_down: bool = False):
    return guard_starts(world.drivers, a_deed(Preflight()), world.tell, held_down=lambda: held_down)


def lose(world: FakeWorld, host) -> None:
    """Nothing of it answers, programs neither."""
    switches.lose(world, host)
    world.playbooks.unreachable[host.name] = HostUnreachable(f"{host.name} cannot be reached: no route")


def find(world: FakeWorld, host) -> None:
    switches.find(world, host)
    world.playbooks.unreachable.clear()


@pytest.fixture
def world():
    """The source serves, and starts are guarded there."""
    here = replicated()
    assert guard(here).did == ("guarded",)
    return here


def test_a_guard_is_put_while_the_side_serves_and_is_put_once(world):
    lives_at(world, Side.SOURCE)
    assert guard(world).did == ()
    assert [each["hosts"] for each in told(world, "starts.guarded")] == [[SOURCE.name]]
    assert is_guarded(world.drivers, "filing", Side.SOURCE)
    assert not is_guarded(world.drivers, "filing", Side.CLOUD)


def test_a_host_that_has_booted_serves_again_once_somebody_has_looked(world):
    world.reboot(SOURCE)
    assert not world.takes_writes(SOURCE)
    done = guard(world)
    assert done.did == ("permitted",)
    assert set(done.started) == {"filing-app", "filing-mail"}
    lives_at(world, Side.SOURCE)
    [said] = told(world, "starts.permitted")
    assert said["boots"] == {SOURCE.name: "boot 1 of source-filing1"}
    assert guard(world).did == ()


def test_a_side_that_was_given_up_while_it_was_dead_comes_back_silent_and_stays_so(world):
    lose(world, SOURCE)
    a_word(world, "side_is_down", Side.SOURCE)
    state = go(world, "failover")
    assert state.status == "committed", state.reason
    find(world, SOURCE)
    world.reboot(SOURCE)
    assert SOURCE.name not in world.fenced, "nobody could reach it"
    assert SOURCE.name in world.enabled
    for _ in range(3):
        guard(world)
        world.reboot(SOURCE)
        assert not world.takes_writes(SOURCE)
    world.look_for_violations()
    lives_at(world, Side.CLOUD)
    [row] = look_at_starts(world.drivers, a_deed(Preflight()), Side.SOURCE).hosts
    assert (row.guarded, row.permitted, row.running) == (True, False, ())
    assert told(world, "authority.moved")[-1]["confirmed"]["starts_guarded"] is True


def test_a_word_given_while_the_side_was_down_is_spent_once_it_is_back(world):
    a_word(world, "side_is_down", Side.SOURCE)
    world.reboot(SOURCE)
    guard(world)
    lose(world, SOURCE)
    state = go(world, "failover")
    assert state.status == "failed"
    assert "nobody has seen that source is stopped" in state.reason
    assert world.authority.read("filing").side is Side.SOURCE
    [said] = told(world, "starts.permitted")
    assert [word["because"] for word in said["words_spent"]] == ["the building burnt"]
    a_word(world, "side_is_down", Side.SOURCE)
    assert go(world, "failover").status == "committed", "said of it as it is now, it counts"


def test_who_was_about_to_take_over_comes_too_late_once_the_side_is_permitted(world):
    """It had read the word, and slept; meanwhile the side was back, and was told that it may serve."""
    a_word(world, "side_is_down", Side.SOURCE)
    lose(world, SOURCE)
    slept: list[str] = []

    def permitted_meanwhile(name: str) -> None:
        """What guard_starts does, without its threads: this one holds up every call of theirs."""
        if name == "move:before" and not slept:
            slept.append(name)
            find(world, SOURCE)
            world.reboot(SOURCE)
            seen = world.starts.boot_of(SOURCE.name)
            world.authority.order("filing", Side.SOURCE)
            world.starts.obey(SOURCE.name, "permit", seen, None)

    world.interruption.on_place = permitted_meanwhile
    world.tickets += 1
    deed = a_deed(SeizeAuthority(from_side=Side.SOURCE, to_side=Side.CLOUD), ticket=world.tickets)
    with pytest.raises(AuthorityError, match="too late"):
        SeizeAuthorityHandler(world.drivers).act(deed, lambda _progress: None, world.tell)
    assert slept
    lives_at(world, Side.SOURCE)


def test_a_permit_that_comes_late_meets_another_boot_or_a_side_that_was_given_up(world):
    """Its orchestrator saw the boot, got its order, and slept while the side died and was given up."""
    world.reboot(SOURCE)
    calls: list[object] = []

    def dies_as_it_sends(name: str) -> None:
        call = world.interruption.call
        if name == "run:before" and world.playbooks.ran[-1][0] == "look" and not calls:
            calls.append(call[1])
            if world.authority.read("filing").ticket == world.tickets:  # the order was given
                raise SimulatedCrash
            calls.clear()

    world.interruption.on_place = dies_as_it_sends
    with pytest.raises(SimulatedCrash):
        guard(world)
    world.interruption.on_place = lambda _name: None
    lose(world, SOURCE)
    a_word(world, "side_is_down", Side.SOURCE)
    assert go(world, "failover").status == "committed"
    find(world, SOURCE)
    world.reboot(SOURCE)
    [late] = calls
    result = late()  # type: ignore[operator]
    assert "has booted since" in result.failures[0]
    assert not world.takes_writes(SOURCE)
    lives_at(world, Side.CLOUD)


def test_a_side_that_lost_authority_is_given_no_order(world):
    world.reboot(SOURCE)
    deed = a_deed(Preflight())
    seen = look_at_starts(world.drivers, deed, Side.SOURCE)
    assert [each.waits for each in seen.hosts] == [True]
    world.authority.move("filing", expected_number=seen.number, to=Side.CLOUD, key="seized")
    with pytest.raises(AuthorityError):
        world.drivers.authority.order("filing", Side.SOURCE)


def test_a_state_that_was_left_behind_permits_nothing(world):
    """It was restored elsewhere, and the cloud took over from there; the machine that was left knows nothing of it."""
    world.reboot(SOURCE)
    number = world.authority.read("filing").number
    world.fenced.pop(CLOUD.name, None)
    world.obeyed[CLOUD.name] = (number + 1, 1_000_000)
    with pytest.raises(AuthorityError, match="this state was left behind"):
        guard(world)
    assert not world.takes_writes(SOURCE)
    world.playbooks.unreachable[CLOUD.name] = HostUnreachable("cloud-filing1 cannot be reached")
    assert guard(world).did == ("permitted",), "who cannot be asked cannot tell: a line that is cut ends no service"


def test_what_a_run_keeps_down_is_not_started_and_its_way_back_permits_it(world):
    world.reboot(SOURCE)
    assert guard(world, held_down=True).did == ()
    assert not world.takes_writes(SOURCE)


def test_a_cutover_and_its_way_back_are_as_they_were(world):
    assert go(world, "cutover").status == "committed"
    guard(world)
    lives_at(world, Side.CLOUD)
    assert go(world, "cutover", **{"from": "cloud", "to": "source"}).status == "committed"
    lives_at(world, Side.SOURCE)
    world.reboot(CLOUD)
    assert not world.takes_writes(CLOUD)
    assert SOURCE.name in world.starts.permitted


def test_a_host_that_cannot_be_asked_says_so_and_keeps_nobody_from_the_others(world):
    world.playbooks.unreachable[SOURCE.name] = HostUnreachable("source-filing1 cannot be reached")
    [row] = guard(world).hosts
    assert (row.boot, row.trouble) == ("", "source-filing1 cannot be reached")


def test_what_a_person_permitted_on_the_host_is_on_record_once(world):
    world.reboot(SOURCE)
    world.starts.by_hand[SOURCE.name] = ["2026-11-23T02:00:00Z ana: the line is cut"]
    for _ in range(2):
        guard(world)
    [said] = told(world, "starts.permitted_by_hand")
    assert said == {"host": SOURCE.name, "said": ["2026-11-23T02:00:00Z ana: the line is cut"]}


def test_guards_are_taken_away(world):
    unguard_starts(world.drivers, a_deed(Preflight()), Side.SOURCE, world.tell)
    assert not is_guarded(world.drivers, "filing", Side.SOURCE)
    world.reboot(SOURCE)
    lives_at(world, Side.SOURCE)


def test_whoever_is_asked_for_a_word_reads_what_keeps_the_side_down(world):
    lose(world, SOURCE)
    deed = a_deed(SeizeAuthority(from_side=Side.SOURCE, to_side=Side.CLOUD), ticket=world.tickets + 1)
    outcome = handlers_over(world.drivers)("seize_authority").act(deed, lambda _progress: None, world.tell)
    assert outcome.error == "AuthorityError"
    assert "guards stand at source" in outcome.hint
