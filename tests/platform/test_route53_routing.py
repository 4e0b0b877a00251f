"""Route 53's routing policies, driven: weighted and failover records under the laws of a front, and the way back."""

from collections.abc import Callable

import pytest

from orchestrator.foundation.errors import TargetError
from orchestrator.model.system import Route53Front
from orchestrator.targets.aws.traffic import Route53Traffic
from tests.fakes.aws_cloud import AwsCloud
from tests.laws.front_laws import FRONT, NamedFrontLaws

pytestmark = pytest.mark.platform("ssh")


@pytest.fixture
def front(cloud: AwsCloud) -> Route53Traffic:
    cloud.forget_records()
    return Route53Traffic(cloud.session())


class _AtTheNameServer(NamedFrontLaws):
    @pytest.fixture
    def authority(self, cloud: AwsCloud) -> Callable[[Route53Front], str | None]:
        return lambda wish: cloud.answered_address(wish.name)


class TestWeightedRecords(_AtTheNameServer):
    @pytest.fixture
    def wish(self) -> Route53Front:
        return FRONT.model_copy(update={"routing": "weighted"})

    def test_a_switch_moves_the_weight_and_the_way_back_is_there(
        self, front: Route53Traffic, cloud: AwsCloud, wish: Route53Front
    ) -> None:
        front.switch(FRONT, "10.10.1.11", key="k")  # simple, as it was found
        front.switch(wish, "10.30.1.11", key="k")
        assert cloud.answered_address(FRONT.name) == "10.30.1.11"
        assert cloud.weights(FRONT.name) == {"10.10.1.11": 0, "10.30.1.11": 100}
        front.switch(wish, "10.10.1.11", key="k")
        assert cloud.answered_address(FRONT.name) == "10.10.1.11"
        assert cloud.weights(FRONT.name) == {"10.10.1.11": 100, "10.30.1.11": 0}
        with pytest.raises(TargetError, match="not simple"):
            front.switch(FRONT, "10.30.1.11", key="k")


class TestFailoverRecords(_AtTheNameServer):
    @pytest.fixture
    def check(self, cloud: AwsCloud) -> str:
        """A disabled check: Route 53 takes it for healthy until it is inverted."""
        return cloud.disabled_health_check()

    @pytest.fixture
    def wish(self, check: str) -> Route53Front:
        return FRONT.model_copy(update={"routing": "failover", "health_check": check})

    def test_a_switch_changes_places_and_the_way_back_is_the_secondary(
        self, front: Route53Traffic, cloud: AwsCloud, wish: Route53Front
    ) -> None:
        front.switch(FRONT, "10.10.1.11", key="k")  # simple, as it was found
        front.switch(wish, "10.30.1.11", key="k")
        assert cloud.places(FRONT.name) == {"PRIMARY": "10.30.1.11", "SECONDARY": "10.10.1.11"}
        front.switch(wish, "10.20.1.11", key="k")
        assert cloud.places(FRONT.name) == {"PRIMARY": "10.20.1.11", "SECONDARY": "10.30.1.11"}
        front.switch(wish, "10.30.1.11", key="k")
        assert cloud.places(FRONT.name) == {"PRIMARY": "10.30.1.11", "SECONDARY": "10.20.1.11"}
        front.switch(wish, "10.30.1.11", key="k")
        assert cloud.places(FRONT.name) == {"PRIMARY": "10.30.1.11", "SECONDARY": "10.20.1.11"}
        with pytest.raises(TargetError, match="not weighted"):
            front.switch(FRONT.model_copy(update={"routing": "weighted"}), "10.30.1.11", key="k")

    def test_a_primary_that_is_found_ill_sends_clients_to_the_secondary(
        self, front: Route53Traffic, cloud: AwsCloud, wish: Route53Front
    ) -> None:
        for address in ("10.10.1.11", "10.30.1.11"):
            front.switch(wish, address, key="k")
        for ill, answered in ((True, "10.10.1.11"), (False, "10.30.1.11")):
            cloud.client("route53").update_health_check(HealthCheckId=wish.health_check, Inverted=ill)
            cloud.await_answer(FRONT.name, answered)
