"""Where clients are sent is seen as they see it: by name, from a host like theirs; and a HAProxy is told in order."""

import json
from collections.abc import Sequence

import pytest

from orchestrator.foundation.errors import HostUnreachable, TargetError
from orchestrator.model import action as actions
from orchestrator.model.host import Host
from orchestrator.model.site import Side
from orchestrator.model.system import HaproxyFront, HttpCheck, Route53Front
from orchestrator.steps.handlers import handlers_over
from orchestrator.targets.haproxy import HaproxyTraffic
from tests.fakes.drivers import DR, FRONT, SOURCE, FakeWorld, a_deed
from tests.fakes.transport import FakeTransport

THROUGH = actions.Check(side=Side.SOURCE, through_front=True, levels=("technical",))
STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight
3 filing 1 source 10.10.1.11 2 4 1
3 filing 2 cloud 10.30.1.11 0 5 1
4 archive 1 source 10.10.1.12 2 0 1
"""
PROXY = Host(name="onprem-lb1", site="onprem", address="10.10.1.9")
BEHIND = HaproxyFront(name="filing.test", host=PROXY.name, backend="filing", port=80)


@pytest.fixture
def world():
    return FakeWorld()


def checked(world):
    handler = handlers_over(world.drivers)(THROUGH.verb)
    return handler.act(a_deed(THROUGH, step="check_front"), lambda _: None, world.emit)


def told(world, kind):
    return [data for event, data in world.events if event == kind]


def test_a_client_that_asks_the_name_hears_the_side_that_serves(world):
    outcome = checked(world)
    assert outcome.passed
    assert outcome.observed["seen"]["from"] == DR.name
    [seen] = told(world, "front.seen")
    assert (seen["name"], seen["side"], seen["from"]) == (FRONT.name, "source", DR.name)
    playbook, hosts, values = world.playbooks.ran[-1]
    assert (playbook, hosts) == ("check", (DR.name,))
    assert values["skerry_checks"][0]["url"] == f"http://{FRONT.name}:8080/healthz"
    assert values["skerry_checks"][0]["expected"] == {"read_only": False, "site": SOURCE.site}


def test_a_client_that_is_still_sent_elsewhere_fails_the_check_once_the_name_must_have_been_dropped(world):
    world.stale_name = DR.address
    outcome = checked(world)
    assert not outcome.passed
    assert f"{FRONT.name}, seen from {DR.name}: " in outcome.message
    assert world.clock.monotonic_seconds() >= FRONT.ttl_seconds
    assert told(world, "front.seen") == []


def test_where_no_client_host_can_be_reached_that_is_told_and_holds_nothing_up(world):
    world.playbooks.unreachable[DR.name] = HostUnreachable(f"{DR.name} cannot be reached")
    outcome = checked(world)
    assert outcome.passed
    assert "seen" not in outcome.observed
    assert told(world, "front.not_seen") == [
        {"name": FRONT.name, "from": DR.name, "why": f"{DR.name} cannot be reached"}
    ]


def test_an_expected_site_is_the_one_that_is_asked():
    check = HttpCheck(name="answers", port=8080, path="/up", expected={"site": "{site}", "rows": 3, "ready": True})
    assert check.asked_at("filing.test", "cloud", port=80) == {
        "name": "answers",
        "url": "http://filing.test:80/up",
        "expected_status": 200,
        "expected": {"site": "cloud", "rows": 3, "ready": True},
        "notes": [],
        "level": "technical",
    }


class _Haproxy:
    """What the program on the proxy's host was asked, and what it answers."""

    def __init__(self, *said: str) -> None:
        self.asked: list[list[str]] = []
        self._said = said

    def __call__(self, words: Sequence[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        request = json.loads(words[-1])
        self.asked.append(request["words"])
        said = [*self._said, *([""] * len(request["words"]))][: len(request["words"])]
        return 0, b"result " + json.dumps({"said": said, "state": STATE}).encode() + b"\n", b""

    def front(self) -> HaproxyTraffic:
        return HaproxyTraffic(lambda host: FakeTransport(host, programs={"python3": self}), {PROXY.name: PROXY})


def test_the_others_are_put_away_before_the_wanted_server_is_made_ready():
    haproxy = _Haproxy()
    haproxy.front().switch(BEHIND, "10.30.1.11", key="k")
    assert haproxy.asked[-1] == [
        "set server filing/source state maint",
        "shutdown sessions server filing/source",
        "set server filing/cloud state ready",
    ]


def test_a_server_disabled_in_the_configuration_and_made_ready_since_is_the_one_that_serves():
    answer = _Haproxy().front().current(BEHIND)
    assert answer is not None
    assert (answer.address, answer.ttl_seconds) == ("10.10.1.11", 0)


def test_words_that_haproxy_refuses_are_repeated():
    with pytest.raises(TargetError, match=r"asked to set server filing/source state maint: No such server"):
        _Haproxy("No such server.").front().switch(BEHIND, "10.30.1.11", key="k")


@pytest.mark.parametrize(("routing", "check"), [("failover", ""), ("simple", "c-1"), ("weighted", "c-1")])
def test_a_health_check_belongs_to_failover_and_failover_needs_one(routing, check):
    with pytest.raises(ValueError, match="health_check"):
        Route53Front(name="a.test", zone="test", routing=routing, health_check=check)


def test_a_front_without_a_check_is_written_as_before_there_were_any():
    assert "health_check" not in Route53Front(name="a.test", zone="test").model_dump(mode="json")
    assert "sees_fronts" not in SOURCE.model_dump(mode="json")
    assert DR.model_dump(mode="json")["sees_fronts"] is True
