"""The laws of contracts.target.Front. Inherit, and give the fixtures named in the class."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.contracts.target import Front, FrontAnswer
from orchestrator.foundation.errors import TargetError
from orchestrator.model.system import Route53Front

FRONT = Route53Front(name="filing.skerry.test", zone="skerry.test", ttl_seconds=1)


class FrontLaws:
    """Fixtures: `front`, the driver, with clients sent nowhere yet; `wish`, a front that it serves; `other`, another
    one beside it; `unknown`, one that does not exist; `authority`, where clients of a wish are sent now (an address, or
    None), as seen by themselves. `addresses` are those of two sides.
    """

    addresses = ("10.10.1.11", "10.30.1.11")

    def test_before_a_switch_there_is_no_answer(self, front: Front[Any], wish: Any) -> None:
        assert front.current(wish) is None
        assert front.lower_ttl(wish, 5, key="k") is None
        front.settle(wish, key="k")
        assert front.current(wish) is None

    def test_a_switch_is_in_force_at_the_authority_when_it_returns(
        self, front: Front[Any], wish: Any, authority: Callable[[Any], str | None]
    ) -> None:
        for address in (*self.addresses, self.addresses[0]):
            before = front.current(wish)
            assert front.switch(wish, address, key="k") == before
            assert authority(wish) == address
            told = front.current(wish)
            assert told is not None
            assert told.address == address

    def test_the_same_switch_twice_is_one(
        self, front: Front[Any], wish: Any, authority: Callable[[Any], str | None]
    ) -> None:
        front.switch(wish, self.addresses[1], key="k")
        front.switch(wish, self.addresses[1], key="k")
        assert authority(wish) == self.addresses[1]

    def test_how_long_answers_are_kept_never_moves_clients(
        self, front: Front[Any], wish: Any, authority: Callable[[Any], str | None]
    ) -> None:
        front.switch(wish, self.addresses[1], key="k")
        before = front.current(wish)
        assert front.lower_ttl(wish, 0, key="k") == before
        assert authority(wish) == self.addresses[1]
        front.settle(wish, key="k")
        assert front.current(wish) == before
        assert authority(wish) == self.addresses[1]

    def test_others_keep_their_answer(
        self, front: Front[Any], wish: Any, other: Any, authority: Callable[[Any], str | None]
    ) -> None:
        front.switch(other, self.addresses[0], key="k")
        front.switch(wish, self.addresses[1], key="k")
        assert authority(other) == self.addresses[0]

    def test_an_unknown_one_is_an_error_that_names_it(self, front: Front[Any], unknown: Any) -> None:
        with pytest.raises(TargetError, match="nowhere"):
            front.current(unknown)
        with pytest.raises(TargetError, match="nowhere"):
            front.switch(unknown, self.addresses[0], key="k")


class NamedFrontLaws(FrontLaws):
    """Of fronts that are names: resolvers keep their answers for a time. `wish` has one of 1 s."""

    @pytest.fixture
    def wish(self) -> Route53Front:
        return FRONT

    @pytest.fixture
    def other(self) -> Route53Front:
        return Route53Front(name="archive.skerry.test", zone="skerry.test")

    @pytest.fixture
    def unknown(self) -> Route53Front:
        return Route53Front(name="a.nowhere.test", zone="nowhere.test")

    def test_the_time_to_live_is_the_estates(self, front: Front[Any], wish: Any) -> None:
        front.switch(wish.model_copy(update={"ttl_seconds": 30}), self.addresses[1], key="k")
        assert front.current(wish) == FrontAnswer(address=self.addresses[1], ttl_seconds=30)

    def test_a_lowered_time_to_live_leaves_the_address_and_stays_until_it_is_settled(
        self, front: Front[Any], wish: Any, authority: Callable[[Any], str | None]
    ) -> None:
        usual = wish.model_copy(update={"ttl_seconds": 300})
        front.switch(usual, self.addresses[1], key="k")
        assert front.lower_ttl(usual, 5, key="k") == FrontAnswer(address=self.addresses[1], ttl_seconds=300)
        for _ in range(2):
            assert front.current(usual) == FrontAnswer(address=self.addresses[1], ttl_seconds=5)
            assert front.lower_ttl(usual, 60, key="k") == FrontAnswer(address=self.addresses[1], ttl_seconds=5)
        assert authority(wish) == self.addresses[1]
        front.switch(usual, self.addresses[0], key="k")
        assert front.current(usual) == FrontAnswer(address=self.addresses[0], ttl_seconds=5)
        front.settle(usual, key="k")
        assert front.current(usual) == FrontAnswer(address=self.addresses[0], ttl_seconds=300)
        assert authority(wish) == self.addresses[0]
