"""What was just made at EC2 is not known everywhere at once, and is not ready at once.

Sources: EC2 developer guide, "Eventual consistency" ("an EC2 resource you created … might not be immediately visible to
all subsequent commands"), for ids, lists and tags; API reference, error codes Invalid….NotFound and
InvalidAMIID.Unavailable, and the states `creating` of volumes, `pending` of images and `attaching` of attachments.
For `seconds` a new id is unknown and new tags are not shown; for as long again it is not ready. Nothing is new until
`begin`: calls that are replayed at the start named what was known when they were made.
"""

import json
import re
import time
from collections.abc import Callable, Iterable
from xml.etree import ElementTree as ET

from orchestrator.lab.cloud.answers import Answer, AwsError, json_answer
from orchestrator.lab.cloud.call import AwsCall

SECONDS_DEFAULT = 0.1
NOT_FOUND = {
    "i-": ("InvalidInstanceID.NotFound", "The instance ID '{}' does not exist"),
    "vol-": ("InvalidVolume.NotFound", "The volume '{}' does not exist."),
    "snap-": ("InvalidSnapshot.NotFound", "The snapshot '{}' does not exist."),
    "ami-": ("InvalidAMIID.NotFound", "The image id '[{}]' does not exist"),
}
# The list's call: its element with the id; the element with the state, and what that is until it is ready.
LISTS = {
    "DescribeInstances": ("instanceId", "", ""),
    "DescribeVolumes": ("volumeId", "status", "creating"),
    "DescribeSnapshots": ("snapshotId", "", ""),
    "DescribeImages": ("imageId", "imageState", "pending"),
}
MADE_BY = {
    "RunInstances": rb"<instanceId>(i-[0-9a-f]+)</instanceId>",
    "CreateVolume": rb"<volumeId>(vol-[0-9a-f]+)</volumeId>",
    "CreateSnapshot": rb"<snapshotId>(snap-[0-9a-f]+)</snapshotId>",
    "RegisterImage": rb"<imageId>(ami-[0-9a-f]+)</imageId>",
}


class Freshness:
    """Who is new. EC2 and the EBS direct APIs share one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds = 0.0
        self._made: dict[str, float] = {}
        self._tagged: dict[tuple[str, str], float] = {}
        self._attached: dict[str, float] = {}

    def begin(self) -> None:
        self._seconds = SECONDS_DEFAULT

    def control(self, method: str, body: bytes) -> Answer:
        """`/_lab/freshness`: POST {"seconds": N} says how long new things are unknown, also those made already."""
        if method == "POST":
            self._seconds = float(json.loads(body)["seconds"])
        return json_answer({"seconds": self._seconds})

    def note(self, call: AwsCall, answer: Answer) -> Answer:
        """Remember what a call made; an attachment is told as one that is under way."""
        if call.action in MADE_BY:
            self.made(found.decode() for found in re.findall(MADE_BY[call.action], answer.body))
        if call.action == "CreateTags":
            keys = [value for name, value in call.parameters.items() if re.fullmatch(r"Tag\.\d+\.Key", name)]
            for identifier in call.listed("ResourceId"):
                self._tagged.update({(identifier, key): self._clock() for key in keys})
        if call.action == "AttachVolume":
            self._attached[call.parameters.get("VolumeId", "")] = self._clock()
            under_way = answer.body.replace(b"<status>attached</status>", b"<status>attaching</status>")
            return _with_body(answer, under_way)
        return answer

    def made(self, identifiers: Iterable[str]) -> None:
        self._made.update({identifier: self._clock() for identifier in identifiers})

    def check(self, call: AwsCall) -> None:
        """Refuse a call that names what is not known yet, or needs what is not ready. Filters name nothing: a list that
        is filtered by a new id is empty.
        """
        for name, value in call.parameters.items():
            if not name.startswith("Filter.") and self._is_new(self._made.get(value)):
                code, message = NOT_FOUND[value.partition("-")[0] + "-"]
                raise AwsError(code, message.format(value))
        image, volume = call.parameters.get("ImageId", ""), call.parameters.get("VolumeId", "")
        if call.action == "RunInstances" and self._is_new(self._made.get(image), turns=2):
            raise AwsError("InvalidAMIID.Unavailable", f"The image id '[{image}]' is not yet available")
        if call.action == "AttachVolume" and self._is_new(self._made.get(volume), turns=2):
            raise AwsError("IncorrectState", f"{volume} is not 'available'.")

    def shown(self, call: AwsCall, answer: Answer) -> Answer:
        """A list as somebody gets it who asks a place that has not heard of the newest."""
        if call.action not in LISTS or not self._any_new():
            return answer
        identifier, state, not_ready = LISTS[call.action]
        root = ET.fromstring(answer.body)  # noqa: S314 - it is our own
        holders = {child: holder for holder in root.iter() for child in holder}
        asked = _tags_asked_for(call)
        for named in root.findall(f".//{{*}}{identifier}"):
            item, value = holders[named], str(named.text)
            new_tags = {key for (tagged, key), since in self._tagged.items() if tagged == value and self._is_new(since)}
            if self._is_new(self._made.get(value)) or new_tags & asked:
                _remove(item, holders)
                continue
            for tag in item.findall("./{*}tagSet/{*}item"):
                if tag.findtext("./{*}key") in new_tags:
                    _remove(tag, holders)
            if state and self._is_new(self._made.get(value), turns=2):
                _say(item, f"./{{*}}{state}", not_ready)
            if self._is_new(self._attached.get(value)):
                _say(item, "./{*}attachmentSet/{*}item/{*}status", "attaching")
        return _with_body(answer, ET.tostring(root, encoding="utf-8", xml_declaration=True))

    def _is_new(self, since: float | None, *, turns: int = 1) -> bool:
        return since is not None and self._clock() - since < turns * self._seconds

    def _any_new(self) -> bool:
        moments = (*self._made.values(), *self._tagged.values(), *self._attached.values())
        return any(self._is_new(since, turns=2) for since in moments)


def _tags_asked_for(call: AwsCall) -> set[str]:
    """Keys of tags that the list is filtered by."""
    found: set[str] = set()
    number = 1
    while (name := call.parameters.get(f"Filter.{number}.Name")) is not None:
        found |= {name.removeprefix("tag:")} if name.startswith("tag:") else set()
        found |= set(call.listed(f"Filter.{number}.Value")) if name == "tag-key" else set()
        number += 1
    return found


def _remove(item: ET.Element, holders: dict[ET.Element, ET.Element]) -> None:
    """A reservation without instances goes too."""
    holder = holders[item]
    if item in holder:
        holder.remove(item)
    if not len(holder) and holder.tag.endswith("}instancesSet"):
        _remove(holders[holder], holders)


def _say(item: ET.Element, path: str, text: str) -> None:
    for found in item.findall(path):
        found.text = text


def _with_body(answer: Answer, body: bytes) -> Answer:
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Length"}
    return Answer(answer.status, headers, body)
