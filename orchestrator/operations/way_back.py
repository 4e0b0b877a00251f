"""The way back of a run that waits: a round along the chain that its own step follows, whenever the engine asks; and
somebody who carries such a run where nobody does any more.
"""

from orchestrator.contracts.engine import KeepOpen, SystemState
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.observer import Recorder
from orchestrator.operations.estate import inventory_folder
from orchestrator.operations.replication import Replication, recording, rests_at_new_side, tell_nobody
from orchestrator.wiring.caretaker import leave_caretaker
from orchestrator.wiring.state import nobody_carries, open_runs
from orchestrator.wiring.workshop import Workshop

WAITING: tuple[SystemState, ...] = ("paused", "waiting", "failed")
RUNS_LOOKED_AT_MAX = 1000  # the newest
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


def take_up_what_waits() -> int:
    """Leave a caretaker where something waits in vain; its process, 0 where that is not so."""
    return leave_caretaker(inventory_folder()) if something_waits_in_vain() else 0


def something_waits_in_vain() -> bool:
    """Whether a run waits at its new side and nobody carries it any more, as after a reboot.

    Where a database is shared, workers see to it: False.
    """
    if not nobody_carries():
        return False
    with open_runs() as runs:
        return any(
            rests_at_new_side(runs, run.run, system.system, states=WAITING)
            for run in runs.list(limit=RUNS_LOOKED_AT_MAX)
            if run.state != "finished"
            for system in run.systems
        )
