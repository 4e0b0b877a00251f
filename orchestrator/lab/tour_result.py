"""What a tour came to: per system the outcome, what clients saw, what moved, what was proved. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.contracts.engine import RunStatus, StepStatus, SystemStatus
from orchestrator.model.frozen import Frozen
from orchestrator.model.plan import Plan


class ClientView(Frozen):
    """What clients of one system saw: filings acknowledged, how many of them are gone, the longest time without one."""

    acknowledged: int
    lost: int
    differing: int = 0
    longest_gap_seconds: float
    gap_from: str = ""
    gap_to: str = ""


class SystemResult(Frozen):
    """One row of the tour's table; the contract of `skerry lab tour --json`."""

    name: str
    outcome: str
    downtime_seconds: float
    acknowledged: int
    lost: int
    bytes_per_hop: dict[str, int]
    digests: dict[str, str]
    rto_seconds: float | None
    rpo_seconds: float | None
    rto_objective_seconds: float
    rpo_objective_seconds: float
    reason: str = ""
    source_read_while_seeding: int | None = None


class EvidenceResult(Frozen):
    path: str
    verified: bool
    entries: int = 0


class TourResult(Frozen):
    systems: tuple[SystemResult, ...]
    evidence: EvidenceResult
    run: str = ""
    plan: str = ""
    phases_seconds: dict[str, float] = {}


def system_result(plan: Plan, status: SystemStatus, clients: ClientView) -> SystemResult:
    """Read off what the run's own steps observed."""
    done: dict[tuple[str, str], StepStatus] = {
        (step.step, step.mode): step for step in status.steps if step.state == "done"
    }
    observed = {step: row.observed for (step, mode), row in done.items() if mode == "do"}
    objectives = plan.system_plan(status.system).system.objectives
    digests: Mapping[str, str] = next(
        (values["digests"] for values in observed.values() if values.get("equal") is True), {}
    )
    return SystemResult(
        name=status.system,
        outcome=status.state,
        downtime_seconds=clients.longest_gap_seconds,
        acknowledged=clients.acknowledged,
        lost=clients.lost + clients.differing,
        bytes_per_hop=_bytes_per_hop(list(done.values())),
        digests=dict(digests),
        rto_seconds=_recovery_seconds(status, done),
        rpo_seconds=0.0 if digests and clients.lost + clients.differing == 0 else None,
        rto_objective_seconds=objectives.rto,
        rpo_objective_seconds=objectives.rpo,
        reason=status.reason,
        source_read_while_seeding=_source_read(observed.get("seed_cloud", {})),
    )


def _bytes_per_hop(steps: list[StepStatus]) -> dict[str, int]:
    hops: dict[str, int] = {}
    for step in steps:
        if "hop" in step.observed:
            hop = str(step.observed["hop"])
            hops[hop] = hops.get(hop, 0) + int(step.observed["bytes_wire"])
        for name, count in step.observed.get("trees", {}).items():
            hop = name.split(".", 1)[-1]
            hops[hop] = hops.get(hop, 0) + int(count)
    return hops


def _recovery_seconds(status: SystemStatus, done: Mapping[tuple[str, str], StepStatus]) -> float | None:
    """From the start of the drain until the service was verified again: at the cloud, or back at the source."""
    drained = done.get(("drain", "do"))
    restored = done.get(("check_front", "do")) if status.state == "committed" else None
    if status.state == "rolled_back":
        restored = done.get(("check_source", "undo")) or done.get(("drain", "undo"))
    if drained is None or restored is None:
        return None
    start, end = datetime.fromisoformat(drained.started_at), datetime.fromisoformat(restored.finished_at)
    return round((end - start).total_seconds(), 3)


def _source_read(seeded: Mapping[str, Any]) -> int | None:
    """Sessions and connections by which DR or cloud asked the source while the cloud was seeded; None: not seen."""
    if "source_read" not in seeded:
        return None
    return sum(
        int(host["ssh_sessions_from_dr_and_cloud"]) + int(host["database_connections_from_cloud"])
        for host in seeded["source_read"].values()
    )


def tour_result(
    plan: Plan, status: RunStatus, clients: Mapping[str, ClientView], evidence: EvidenceResult, phases: dict[str, float]
) -> TourResult:
    systems = tuple(system_result(plan, system, clients[system.system]) for system in status.systems)
    return TourResult(systems=systems, evidence=evidence, run=status.run, plan=plan.digest, phases_seconds=phases)
