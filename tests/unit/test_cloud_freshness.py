"""What was just made at the lab's EC2: unknown for a while, then not ready, then there; by a clock that is set."""

from collections.abc import Callable

import pytest

from orchestrator.lab.cloud.answers import Answer, AwsError
from orchestrator.lab.cloud.call import AwsCall
from orchestrator.lab.cloud.strict.freshness import Freshness

SNAPSHOT, VOLUME, IMAGE, INSTANCE = "snap-00000001", "vol-00000001", "ami-00000001", "i-00000001"
TAGS = "<tagSet><item><key>proved</key><value>1</value></item><item><key>old</key><value>2</value></item></tagSet>"
LISTS = {
    "DescribeSnapshots": f"<snapshotSet><item><snapshotId>{SNAPSHOT}</snapshotId>{TAGS}</item></snapshotSet>",
    "DescribeVolumes": (
        f"<volumeSet><item><volumeId>{VOLUME}</volumeId><status>available</status><attachmentSet><item>"
        f"<volumeId>{VOLUME}</volumeId><status>attached</status></item></attachmentSet></item></volumeSet>"
    ),
    "DescribeImages": (
        f"<imagesSet><item><imageId>{IMAGE}</imageId><imageState>available</imageState></item></imagesSet>"
    ),
    "DescribeInstances": (
        f"<reservationSet><item><reservationId>r-1</reservationId><instancesSet><item><instanceId>{INSTANCE}"
        "</instanceId></item></instancesSet></item></reservationSet>"
    ),
}


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def freshness(now: list[float]) -> Freshness:
    made = Freshness(lambda: now[0])
    made.control("POST", b'{"seconds": 10}')
    return made


def a_call(action: str, **parameters: str) -> AwsCall:
    named = {name.replace("_", "."): value for name, value in parameters.items()}
    return AwsCall("ec2", action, "eu-central-1", "", "POST", "/", {}, {}, b"", named)


def shown(freshness: Freshness, action: str, **parameters: str) -> str:
    body = f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{LISTS[action]}</{action}Response>'
    return freshness.shown(a_call(action, **parameters), Answer(200, {}, body.encode())).body.decode()


@pytest.mark.parametrize(
    ("action", "identifier", "code"),
    [
        ("DescribeInstances", INSTANCE, "InvalidInstanceID.NotFound"),
        ("DescribeVolumes", VOLUME, "InvalidVolume.NotFound"),
        ("DescribeSnapshots", SNAPSHOT, "InvalidSnapshot.NotFound"),
        ("DescribeImages", IMAGE, "InvalidAMIID.NotFound"),
    ],
)
def test_what_is_new_is_unknown_by_its_id_and_in_lists(
    freshness: Freshness, now: list[float], action: str, identifier: str, code: str
) -> None:
    assert identifier in shown(freshness, action)
    freshness.made([identifier])
    freshness.check(a_call(action, Filter_1_Name="id", Filter_1_Value_1=identifier))  # a list, and an empty one
    with pytest.raises(AwsError, match=code):
        freshness.check(a_call("CreateTags", ResourceId_1=identifier))
    assert "<" + action in shown(freshness, action).replace("ns0:", "")
    assert identifier not in shown(freshness, action)
    assert "reservationId" not in shown(freshness, action)
    now[0] += 10
    freshness.check(a_call("CreateTags", ResourceId_1=identifier))
    assert identifier in shown(freshness, action)


REFUSED_UNTIL_READY: list[tuple[str, AwsCall, Callable[[Freshness], str], str]] = [
    (IMAGE, a_call("RunInstances", ImageId=IMAGE), lambda f: shown(f, "DescribeImages"), "pending"),
    (VOLUME, a_call("AttachVolume", VolumeId=VOLUME), lambda f: shown(f, "DescribeVolumes"), "creating"),
]


@pytest.mark.parametrize(("identifier", "use", "listed", "state"), REFUSED_UNTIL_READY)
def test_what_is_known_is_not_ready_at_once(
    freshness: Freshness,
    now: list[float],
    identifier: str,
    use: AwsCall,
    listed: Callable[[Freshness], str],
    state: str,
) -> None:
    freshness.made([identifier])
    now[0] += 10
    assert state in listed(freshness)
    with pytest.raises(AwsError, match="InvalidAMIID.Unavailable|IncorrectState"):
        freshness.check(use)
    now[0] += 10
    assert state not in listed(freshness)
    freshness.check(use)


def test_new_tags_are_not_shown_and_nothing_is_found_by_them(freshness: Freshness, now: list[float]) -> None:
    tagging = a_call("CreateTags", ResourceId_1=SNAPSHOT, Tag_1_Key="proved", Tag_1_Value="1")
    freshness.note(tagging, Answer(200))
    assert "proved" not in shown(freshness, "DescribeSnapshots")
    assert "old" in shown(freshness, "DescribeSnapshots", Filter_1_Name="tag:old", Filter_1_Value_1="2")
    for wish in ({"Filter_1_Name": "tag:proved"}, {"Filter_1_Name": "tag-key", "Filter_1_Value_1": "proved"}):
        assert SNAPSHOT not in shown(freshness, "DescribeSnapshots", **wish)
    now[0] += 10
    assert SNAPSHOT in shown(freshness, "DescribeSnapshots", Filter_1_Name="tag:proved")


def test_an_attachment_is_under_way_first(freshness: Freshness, now: list[float]) -> None:
    told = freshness.note(a_call("AttachVolume", VolumeId=VOLUME), Answer(200, {}, b"<status>attached</status>"))
    assert told.body == b"<status>attaching</status>"
    assert "attaching" in shown(freshness, "DescribeVolumes")
    now[0] += 10
    assert "attaching" not in shown(freshness, "DescribeVolumes")
