"""Estate: find it, read it, say what is in it."""

import os
import re
from pathlib import Path
from typing import Any

from orchestrator.foundation.errors import InventoryError
from orchestrator.foundation.limits import INVENTORY_FILE_BYTES_MAX
from orchestrator.foundation.places import shipped_folder, skerry_home
from orchestrator.foundation.written_file import read_written_file
from orchestrator.inventory.load import load_inventory
from orchestrator.model.inventory import Inventory
from orchestrator.model.site import Side


def inventory_folder(named: Path | None = None) -> Path:
    """The folder meant: named, else $SKERRY_INVENTORY, else the lab's that came with skerry."""
    from_environment = os.environ.get("SKERRY_INVENTORY")
    return named or (Path(from_environment) if from_environment else shipped_folder("inventories") / "lab")


def content_of(path: Path, *, missing_hint: str) -> bytes:
    """What people wrote beside the estate, as far as it may be long; InventoryError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(INVENTORY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InventoryError(f"{path}:1: cannot be read: {error.strerror or error}", hint=missing_hint) from error


def read_estate(folder: Path | None = None, *, hosts_file: Path | None = None) -> Inventory:
    """The estate in `folder` (see `inventory_folder`), its hosts from `hosts_file` or $SKERRY_HOSTS where given."""
    from_environment = os.environ.get("SKERRY_HOSTS")
    chosen = hosts_file or (Path(from_environment) if from_environment else None)
    return load_inventory(_near(inventory_folder(folder)), home=skerry_home(), hosts_file=chosen)


def _near(folder: Path) -> Path:
    """The folder as a person would name it from here, since messages begin with it."""
    try:
        return folder.absolute().relative_to(Path.cwd())
    except ValueError:
        return folder


def place_of(folder: Path | None, file: str, *location: str) -> str:
    """`FILE:LINE: ` of what an estate says there, for a message to begin with; empty where the file tells no line."""
    name = f"group_vars/skerry/{file}"
    written = read_written_file(folder / name, str(_near(folder) / name), []) if folder is not None else None
    return f"{written.name}:{written.line_of(location)}: " if written is not None else ""


def with_places(problems: str, folder: Path | None) -> str:
    """Reasons why there is no plan, one a line; those about a system's objectives with the file and line of these."""

    def placed(line: str) -> str:
        found = re.match(r"system ([a-z0-9-]+)(?:: the last delta|: its replica| changes )", line)
        return line if found is None else place_of(folder, "systems.yml", "systems", found[1], "objectives") + line

    return "\n".join(placed(line) for line in problems.splitlines())


def refuse_warnings(inventory: Inventory) -> None:
    """Raise the warnings of an estate as an InventoryError, for those who want none."""
    if inventory.warnings:
        raise InventoryError("\n".join(inventory.warnings))


def estate_as_data(inventory: Inventory) -> dict[str, Any]:
    """What `skerry estate show --json` prints; docs/cli_json.md is its contract."""
    return {
        "digest": inventory.digest,
        "files": inventory.files,
        "sites": [
            {
                "name": site.name,
                "side": site.side.value,
                "region": site.region,
                "hosts": sorted(host.name for host in inventory.hosts.values() if host.site == site.name),
            }
            for site in inventory.sites.values()
        ],
        "systems": [
            {
                "name": system.name,
                "title": system.title,
                "owner": system.owner,
                "criticality": system.criticality,
                "data_classes": list(system.data_classes),
                "strategy": system.strategy,
                "objectives": system.objectives.model_dump(mode="json"),
                "depends_on": [dependency.model_dump(mode="json") for dependency in system.depends_on],
                "hosts": {side.value: system.host_of(side) for side in Side},
                "datasets": [{"name": item.name, "kind": item.kind} for item in system.datasets],
                "front": system.front.name,
            }
            for system in inventory.systems.values()
        ],
        "people": [
            {"id": person.id, "name": person.name, "roles": list(person.roles), "keys": len(person.keys)}
            for person in inventory.people.values()
        ],
        "warnings": list(inventory.warnings),
    }
