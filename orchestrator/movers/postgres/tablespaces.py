"""Tablespaces outside the data directory: each arrives beside its place at the standby, and is put there at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.foundation.errors import DataError
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.fit import Tablespace, path_at

# The server keeps its files in a folder of its own, PG_<version>_<catalog>; anything else is somebody else's.
_FOREIGN = 'for place; do [ ! -e "$place" ] || ls -A "$place" | grep -v "^PG_" | sed "s|^|$place/|"; done'


@dataclass(frozen=True)
class MovedTablespace:
    """One on its way: where it is at the upstream, and where it arrives, lives and is kept once at the standby."""

    oid: str
    location: str
    place: str

    @property
    def incoming(self) -> str:
        return self._beside("incoming")

    @property
    def replaced(self) -> str:
        return self._beside("replaced")

    def _beside(self, what: str) -> str:
        place = PurePosixPath(self.place)
        return str(place.parent / f".skerry-{place.name}-{what}")

    @property
    def mapping(self) -> str:
        """The option of pg_basebackup."""
        pair = (path.replace("=", "\\=") for path in (self.location, self.incoming))
        return "--tablespace-mapping=" + "=".join(pair)


def moved_to(upstream: ClusterHost, standby: ClusterHost, spaces: Sequence[Tablespace]) -> list[MovedTablespace]:
    """Where each belongs at the standby: the same path, as that host calls it. Foreign files there are a DataError."""
    moved = [MovedTablespace(each.oid, each.location, path_at(upstream, standby, each.location)) for each in spaces]
    if moved:
        words = ["sh", "-c", _FOREIGN, "look", *(each.place for each in moved)]
        foreign = standby.transport.run(words, user="root").text.splitlines()
        if foreign:
            raise DataError(
                f"{standby.host.name}: a tablespace of {standby.cluster.name} belongs where something else lies:"
                f" {', '.join(foreign[:5])}",
                hint="Move that away, then run the same command again. Nothing was copied.",
            )
    return moved
