"""The laws of contracts.target.Front. Inherit, and give the fixtures named in the class."""

from collections.abc import Callable

import pytest

from orchestrator.contracts.target import Front, FrontAnswer
from orchestrator.foundation.errors import TargetError
from orchestrator.model.system import Route53Front

FRONT = Route53Front(name="filing.skerry.test", zone="skerry.test", ttl_seconds=1)


class FrontLaws:
    """Fixtures: `front`, with the zone skerry.test and no record in it; `authority`, what its name servers answer now
    for a name (an address, or None).
    """

    def test_without_a_record_there_is_no_answer(self, front: Front) -> None:
        assert front.current(FRONT) is None

    def test_a_switch_is_in_force_at_the_authority_when_it_returns(
        self, front: Front, authority: Callable[[str], str | None]
    ) -> None:
        for address in ("10.10.1.11", "10.30.1.11", "10.10.1.11"):
            front.switch(FRONT, address, key="k")
            assert authority(FRONT.name) == address
            assert front.current(FRONT) == FrontAnswer(address=address, ttl_seconds=1)

    def test_the_same_switch_twice_is_one(self, front: Front, authority: Callable[[str], str | None]) -> None:
        front.switch(FRONT, "10.30.1.11", key="k")
        front.switch(FRONT, "10.30.1.11", key="k")
        assert authority(FRONT.name) == "10.30.1.11"

    def test_the_time_to_live_is_the_estates(self, front: Front) -> None:
        front.switch(FRONT.model_copy(update={"ttl_seconds": 30}), "10.30.1.11", key="k")
        assert front.current(FRONT) == FrontAnswer(address="10.30.1.11", ttl_seconds=30)

    def test_a_lowered_time_to_live_leaves_the_address(
        self, front: Front, authority: Callable[[str], str | None]
    ) -> None:
        assert front.lower_ttl(FRONT, 5, key="k") is None
        front.switch(FRONT.model_copy(update={"ttl_seconds": 300}), "10.30.1.11", key="k")
        assert front.lower_ttl(FRONT, 5, key="k") == FrontAnswer(address="10.30.1.11", ttl_seconds=300)
        assert front.current(FRONT) == FrontAnswer(address="10.30.1.11", ttl_seconds=5)
        assert front.lower_ttl(FRONT, 60, key="k") == FrontAnswer(address="10.30.1.11", ttl_seconds=5)
        assert front.current(FRONT) == FrontAnswer(address="10.30.1.11", ttl_seconds=5)
        assert authority(FRONT.name) == "10.30.1.11"

    def test_other_names_keep_their_answer(self, front: Front, authority: Callable[[str], str | None]) -> None:
        other = Route53Front(name="archive.skerry.test", zone="skerry.test")
        front.switch(other, "10.10.1.12", key="k")
        front.switch(FRONT, "10.30.1.11", key="k")
        assert authority(other.name) == "10.10.1.12"

    def test_an_unknown_zone_is_an_error_that_names_it(self, front: Front) -> None:
        elsewhere = Route53Front(name="a.nowhere.test", zone="nowhere.test")
        with pytest.raises(TargetError, match=r"nowhere\.test"):
            front.current(elsewhere)
        with pytest.raises(TargetError, match=r"nowhere\.test"):
            front.switch(elsewhere, "10.0.0.1", key="k")
