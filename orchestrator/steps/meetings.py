"""When two sides last held the same files, as far as copies of them tell: what changed later changed at one side alone.

Noted by every copy but the last before a switch, for which clients wait: then it is the switch itself.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from orchestrator.contracts.drivers import Drivers
from orchestrator.foundation.clock import timestamp
from orchestrator.model.site import Side
from orchestrator.steps.words import is_lost


def note_meetings(drivers: Drivers, system: str, chain: Sequence[Side], began: datetime) -> None:
    """Each side of `chain` holds now what the one before it held when its copies `began`."""
    known = drivers.catalogue.get("meeting", system) or {}
    hops = {_hop(*hop): timestamp(began) for hop in pairwise(chain)}
    drivers.catalogue.put("meeting", system, {**known, **hops})


def last_meeting(drivers: Drivers, system: str, present: Side, beside: Side) -> datetime | None:
    """None where nobody knows. A side from which authority was seized kept for itself what it wrote last."""
    known = drivers.catalogue.get("meeting", system) or {}
    chains = [(present, beside), (present, Side.DR, beside)]
    ways = [[_hop(*hop) for hop in pairwise(chain)] for way in chains for chain in (way, way[::-1])]
    moments = [min(known[hop] for hop in way) for way in ways if all(hop in known for hop in way)]
    authority = drivers.authority.read(system)
    if authority.side is present and authority.at and not is_lost(drivers, system, beside):
        moments.append(authority.at)
    return max((datetime.fromisoformat(moment) for moment in moments), default=None)


def _hop(source: Side, replica: Side) -> str:
    return f"{source.value}>{replica.value}"
