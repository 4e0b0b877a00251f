"""The way back of a run that waits: a round along the chain that its own step follows, whenever the engine asks."""

from orchestrator.contracts.engine import KeepOpen
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.observer import Recorder
from orchestrator.operations.replication import Replication, recording, tell_nobody
from orchestrator.wiring.workshop import Workshop

BY = "skerry"  # nobody asked for these rounds: they are the run's own


def keeps_open(workshop: Workshop, recorder: Recorder) -> KeepOpen:
    """Rounds with all that rounds have: a look before, evidence, lag, and a place in the history."""

    def keep(deed: Deed) -> None:
        replication = Replication(
            workshop.inventory,
            workshop.drivers,
            workshop.handlers,
            workshop.runs,
            workshop.replication,
            recording(workshop, recorder),
            tell_nobody,
        )
        replication.round(deed.system_plan.system.name, by=BY, waiting=deed)

    return keep
