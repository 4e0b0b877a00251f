"""Documents that outlive a run: plans, facts, approvals, recovery points, learned host keys."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

Kind = Literal[
    "plan",
    "plan_origin",
    "facts",
    "approval",
    "revocation",
    "start_order",
    "word",
    "lost_side",
    "recovery_point",
    "point_note",
    "damage",
    "verification",
    "meeting",  # system → when copies brought its sides together last
    "host_key",
    "tour",
    "wave_plan",
    "wave_run",
    "wave_word",
    "vault_copy",
    "cloud_image",
    "drill_plan",
    "drill_since",
    "drill_fire",
    "drill_result",
    "drill_inject",
    "commit_asked",
    "way_back",
    "retired_source",
    "host_use",  # host → the busiest that was seen of it
    "bucket",  # bucket of AWS that was stored into
    "starts_guarded",  # system/side → where guards of starts were seen to stand
    "starts_by_hand",  # system/host → how many permits that people gave there are on record
    "size",  # host → the machine that was chosen for it
]


class Catalogue(Protocol):
    """JSON documents by kind and key.

    Laws (tests/laws/catalogue_laws.py):
      put   is durable when it returns; the same key replaces
      get   of a missing key is None
      drop  of a missing key succeeds; what was dropped is missing
      list  newest first, (key, document)
    """

    def put(self, kind: Kind, key: str, document: dict[str, Any]) -> None: ...
    def get(self, kind: Kind, key: str) -> dict[str, Any] | None: ...
    def drop(self, kind: Kind, key: str) -> None: ...
    def list(self, kind: Kind, *, prefix: str = "", limit: int = 1000) -> Sequence[tuple[str, dict[str, Any]]]: ...
