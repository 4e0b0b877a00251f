"""A way back, or a takeover, has no way back of its own: what fails in the middle of it is done again."""

import pytest

from orchestrator.engine.turns import Begun
from orchestrator.model.outcome import Outcome, Result
from orchestrator.model.step import Retry
from tests.fakes.plans import a_step
from tests.unit.test_reducer import LOOK, Driver


def a_way_back():
    """No step has an inverse; from `drain` on the system stands between its sides."""
    return Driver(
        a_step("count", LOOK, on_failure="stop"),
        a_step("drain", LOOK, needs=("count",), on_failure="stop", point_of_no_return=True),
        a_step("carry", LOOK, needs=("drain",), on_failure="stop"),
    )


def test_what_fails_beyond_it_is_done_again_and_the_run_keeps_its_system():
    driver = a_way_back()
    driver.outcomes["carry"] = [Outcome.failed("no room")]
    driver.take(Begun(at=0)).run()
    assert driver.state.status == "failed"
    assert not driver.state.is_over
    driver.ask("retry")
    driver.run()
    assert driver.state.status == "committed"
    assert driver.performed == ["count", "drain", "carry", "carry"]


def a_takeover():
    """Authority is seized by a step that may be tried three times."""
    seize = a_step("seize", LOOK, on_failure="stop", point_of_no_return=True)
    seize = seize.model_copy(update={"retry": Retry(attempts_max=3, wait_seconds=1.0)})
    return Driver(seize, a_step("open", LOOK, needs=("seize",), on_failure="stop"))


@pytest.mark.parametrize("result", [Result.TIMED_OUT, Result.FAILED])
def test_what_fails_at_it_may_have_taken_effect_so_it_is_tried_again(result):
    driver = a_takeover()
    driver.outcomes["seize"] = [Outcome(result=result, message="no answer came")]
    driver.take(Begun(at=0)).run()
    assert driver.performed == ["seize", "seize", "open"]
    assert driver.state.status == "committed"


def test_what_is_refused_at_it_is_not_tried_again():
    driver = a_takeover()
    driver.outcomes["seize"] = [Outcome.failed("nobody has seen that it is stopped", error="AuthorityError")]
    driver.take(Begun(at=0)).run()
    assert driver.performed == ["seize"]
    assert (driver.state.status, driver.state.is_over) == ("failed", True)


def test_nobody_is_told_that_it_was_rolled_back_when_nothing_was():
    driver = a_way_back()
    driver.outcomes["carry"] = [Outcome.failed("no room")]
    driver.take(Begun(at=0)).run().ask("rollback")
    driver.run()
    assert driver.state.status == "failed"
    assert ("request.refused", "") in driver.announced


def test_what_fails_before_it_is_planned_again():
    driver = a_way_back()
    driver.outcomes["count"] = [Outcome.failed("host down")]
    driver.take(Begun(at=0)).run()
    assert (driver.state.status, driver.state.is_over) == ("failed", True)


def test_what_asks_to_go_back_while_it_is_under_way_is_refused_once_it_is_done():
    driver = a_way_back()
    driver.take(Begun(at=0)).end("count").ask("rollback")
    driver.end("drain")
    assert driver.last_announced == "request.refused"
    driver.run()
    assert driver.state.status == "committed"
    assert driver.performed == ["count", "drain", "carry"]
