"""What there is in the cloud that carries our tags."""

from collections.abc import Sequence
from typing import Literal, Protocol

from orchestrator.model.frozen import Frozen


class CloudThing(Frozen):
    """One thing that costs money, or could. `gib` is its nominal size: what is billed of a snapshot may be less."""

    kind: Literal["machine", "volume", "snapshot", "image", "upload", "record"]
    id: str
    state: str
    made_at: str = ""  # RFC 3339 UTC
    tags: dict[str, str] = {}
    gib: float = 0.0
    instance_type: str = ""
    part_of: str = ""  # machine of a volume, image of a snapshot; "" where it stands alone


class CloudThings(Protocol):
    """Laws (tests/platform/test_aws_things.py):
      all  everything that carries the tag of a run of ours, and nothing else; of what can carry no tag, uploads into
           buckets that were stored into, and records with our mark in zones of the estate; it changes nothing
    Fails only with TargetError and its kin.
    """

    def all(self) -> Sequence[CloudThing]: ...
