"""Data that are not what they were proved to be: noted when found, used by nothing until mended or found equal."""

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.foundation.errors import DigestMismatch
from orchestrator.model.damage import Damage
from orchestrator.model.names import DatasetName, PointId, SystemName
from orchestrator.model.site import Side

DAMAGES_MAX = 100_000


def note_damage(catalogue: Catalogue, damage: Damage) -> None:
    key = _key(damage.system, damage.dataset, damage.side, damage.point)
    catalogue.put("damage", key, damage.model_dump(mode="json"))


def note_sound(
    catalogue: Catalogue, system: SystemName, dataset: DatasetName, side: Side, point: PointId = ""
) -> None:
    """All of it was read, and is what it should be."""
    key = _key(system, dataset, side, point)
    if catalogue.get("damage", key) is not None:  # clients may wait, and a look costs less than a change
        catalogue.drop("damage", key)


def damages(catalogue: Catalogue, system: SystemName) -> list[Damage]:
    found = catalogue.list("damage", prefix=f"{system}/", limit=DAMAGES_MAX)
    return [Damage.model_validate(document) for _, document in found]


def refuse_damaged(catalogue: Catalogue, system: SystemName, side: Side, point: PointId = "") -> None:
    """DigestMismatch where something of the system at this side, or of this point there, is known to be damaged."""
    found = [each for each in damages(catalogue, system) if (each.side, each.point) == (side, point)]
    if found:
        told = "; ".join(f"{each.place} is damaged since {each.found_at}: {each.why}" for each in found)
        raise DigestMismatch(
            told,
            hint=f"Nothing uses it. A round mends live data: skerry replicate run {system} --as PERSON. What is sound "
            f"again, skerry verify {system} finds equal. Another point: skerry snapshot list {system}",
        )


def _key(system: SystemName, dataset: DatasetName, side: Side, point: PointId) -> str:
    return f"{system}/{dataset}/{side.value}/{point or 'live'}"
