"""Sites and the three sides that a move knows."""

from enum import StrEnum

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import SiteName


class Side(StrEnum):
    """The part a site plays for one system. Exactly one side has authority to take writes."""

    SOURCE = "source"
    DR = "dr"
    CLOUD = "cloud"

    @property
    def told(self) -> str:
        """As people say where: at …"""
        return {"dr": "DR"}.get(self.value, f"the {self.value}")


class Site(Frozen):
    """A place with hosts."""

    name: SiteName
    side: Side
    region: str = ""  # what a residency rule compares; for AWS the region's name
