"""Which things in the cloud nobody needs any more. Pure; nothing is ever deleted here: a person looks first.

Kept are: machines of hosts that the estate names, images that machines start from now, the snapshots under these and
the newest proved snapshot of each volume, which the next one builds upon, and volumes of kept machines.
"""

from collections.abc import Sequence

from orchestrator.contracts.cloud_things import CloudThing
from orchestrator.model.frozen import Frozen

HOST_TAG, SYSTEM_TAG, RUN_TAG = "skerry:host", "skerry:system", "skerry:run"
DATASET_TAG, PROVED_TAG = "skerry:dataset", "skerry:digest"


class Orphan(Frozen):
    """A thing that carries our tags and serves nothing that is known, with why that is said."""

    thing: CloudThing
    why: str
    per_month: float | None = None


def find_orphans(
    things: Sequence[CloudThing], *, hosts: frozenset[str], images: frozenset[str], names: frozenset[str] = frozenset()
) -> list[Orphan]:
    """`hosts`: names of machines that the estate has; `images`: ids that its machines start from now; `names`: those
    that clients of its systems use.
    """
    machines = {each.id: each for each in things if each.kind == "machine"}
    kept_machines = {each.id for each in machines.values() if each.tags.get(HOST_TAG) in hosts}
    newest = _newest_proved(things)
    found = []
    for thing in things:
        why = ""
        if thing.kind == "machine" and thing.id not in kept_machines:
            name = thing.tags.get(HOST_TAG, "no host")
            why = f"a test machine that was left: {name}" if name.endswith("-drill") else f"the estate has no {name}"
        elif thing.kind == "volume" and thing.part_of not in kept_machines:
            why = f"of {thing.part_of}, which is one itself" if thing.part_of else "attached to nothing"
        elif thing.kind == "image" and thing.id not in images:
            why = "no machine starts from it now"
        elif thing.kind == "upload":
            why = "begun and not completed: the same store goes on with it"
        elif thing.kind == "record" and thing.part_of not in names:
            why = f"no system of the estate is called {thing.part_of}"
        elif thing.kind == "snapshot" and thing.part_of not in images and thing.id not in newest:
            if thing.state != "completed":
                why = f"never completed: {thing.state}"
            elif PROVED_TAG not in thing.tags:
                why = "completed and never proved"
            else:
                why = f"under {thing.part_of}, which is one itself" if thing.part_of else "a newer one was proved"
        if why:
            found.append(Orphan(thing=thing, why=why))
    return found


def _newest_proved(things: Sequence[CloudThing]) -> set[str]:
    newest: dict[tuple[str, str], CloudThing] = {}
    for each in things:
        if each.kind == "snapshot" and each.state == "completed" and PROVED_TAG in each.tags:
            key = (each.tags.get(SYSTEM_TAG, ""), each.tags.get(DATASET_TAG, ""))
            if key not in newest or each.made_at > newest[key].made_at:
                newest[key] = each
    return {each.id for each in newest.values()}
