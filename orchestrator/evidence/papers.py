"""The papers of a run, out of the catalogue and from beside the program: what persons signed, and what was approved."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.written_file import digest_of_bytes
from orchestrator.model.approval import SignedApproval, SignedOrder

NOT_LIVE = ("drill", "tabletop", "walkthrough")  # kinds of runs that leave service as it is


class RunPapers:
    """What a run rests on, by the digest of its plan.

    `shipped` gives the place of a file that came with skerry, `surroundings` clock and environment.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        clock: Clock,
        shipped: Callable[[str], Path],
        surroundings: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._catalogue, self._clock, self._shipped, self._surroundings = catalogue, clock, shipped, surroundings

    def words(self, plan: str) -> list[SignedApproval]:
        """Approvals, rejections and revocations of a plan, the oldest first."""
        return words_on(self._catalogue, plan)

    def orders(self, plan: str, run: str, operator: str) -> list[SignedOrder]:
        """The operator's newest start order that is unused and has not expired. From now on it is this run's."""
        now = timestamp(self._clock.now())
        kept = [
            (key, SignedOrder.model_validate(each)) for key, each in self._catalogue.list("start_order", prefix=plan)
        ]
        own = [(key, order) for key, order in kept if order.person == operator]
        used = [order for _, order in own if order.used_by == run]
        if used:
            return used
        for key, order in own:
            if not order.used_by and order.expires_at > now:
                taken = order.model_copy(update={"used_by": run})
                self._catalogue.put("start_order", key, taken.model_dump(mode="json"))
                return [taken]
        return []

    def files(self, plan: str) -> dict[str, bytes]:
        """The files of the plan's closure: shipped ones, and the runbook that it was made from with what that includes.

        One that is gone, or another by now, is in the closure by its digest alone.
        """
        origin = self._catalogue.get("plan_origin", plan)
        own = Path(origin["runbook"]).parent if origin else None
        found: dict[str, bytes] = {}
        for path, digest in self._plan(plan).get("closure", {}).items():
            if (shipped := self._shipped(path)).is_file():
                found[path] = shipped.read_bytes()
            for place in (own / path, own / path.partition("/")[2]) if own else ():
                if path not in found and place.is_file() and digest_of_bytes(content := place.read_bytes()) == digest:
                    found[path] = content
        return found

    def facts(self, plan: str, kind: str) -> dict[str, Any]:
        """What `run.created` says beside the plan itself: mode, params, clock and environment."""
        inputs = self._plan(plan).get("inputs", {})
        params = {"digest": digest_of(inputs), "values": inputs}
        return {"mode": "drill" if kind in NOT_LIVE else "live", "params": params, **self._surroundings()}

    def _plan(self, plan: str) -> dict[str, Any]:
        return self._catalogue.get("plan", plan) or {}


def words_on(catalogue: Catalogue, plan: str) -> list[SignedApproval]:
    """Every signed word over a plan's digest that is kept, the oldest first."""
    kept = (*catalogue.list("approval", prefix=f"{plan}/"), *catalogue.list("revocation", prefix=f"{plan}/"))
    words = [SignedApproval.model_validate(document) for _, document in kept]
    return sorted(words, key=lambda signed: signed.statement.at)
