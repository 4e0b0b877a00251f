"""Metrics: what is remembered of replication as OpenMetrics text, which Prometheus and its textfile collector read.

Rules: a family is its HELP, TYPE and UNIT once, then its samples; a name ends with its unit, a counter's samples with
_total; no sample has a time of its own, for the collector refuses those; the text ends with `# EOF`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.model.replication import HistorySize, RoundTotals
from orchestrator.operations.lag import SystemLag

MEDIA_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass
class Family:
    """One metric with its samples: (labels, value)."""

    name: str
    kind: str  # gauge or counter
    about: str
    unit: str = ""
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, **labels: str) -> None:
        """A value that is not known is left out: a missing series alerts, a made-up number does not."""
        if value is not None:
            self.samples.append((labels, value))


def exposition(families: Sequence[Family]) -> str:
    """The whole text. Families without samples are left out."""
    lines = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escaped(family.about)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        suffix = "_total" if family.kind == "counter" else ""
        for labels, value in family.samples:
            told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            lines.append(f"{family.name}{suffix}{f'{{{told}}}' if told else ''} {_number(value)}")
    return "".join(f"{line}\n" for line in [*lines, "# EOF"])


def replication_families(
    systems: Sequence[SystemLag],
    totals: Sequence[RoundTotals],
    size: HistorySize,
    points: Mapping[str, int],
    verified_at: Mapping[tuple[str, str], str],
) -> list[Family]:
    """Everything an alert on replication needs. `verified_at`: (system, `read` or `scrub`) → when it passed last."""
    lag = Family("skerry_replication_lag_seconds", "gauge", "Seconds that DR is certainly behind.", "seconds")
    behind = Family("skerry_replication_lag_bytes", "gauge", "Bytes behind when it was last looked at.", "bytes")
    rpo = Family("skerry_replication_rpo_objective_seconds", "gauge", "Recovery point objective.", "seconds")
    met = Family("skerry_replication_rpo_met", "gauge", "1 where the recovery point objective is met, else 0.")
    seen = Family("skerry_replication_seen_timestamp_seconds", "gauge", "When the lag was last looked at.", "seconds")
    good = Family("skerry_replication_good_timestamp_seconds", "gauge", "The moment DR is proved to hold.", "seconds")
    damaged = Family("skerry_replication_damaged", "gauge", "1 where DR is not what it was proved to be, else 0.")
    kept = Family("skerry_recovery_points", "gauge", "Recovery points in the catalogue.")
    passed = Family("skerry_verification_passed_timestamp_seconds", "gauge", "When one passed last.", "seconds")
    rounds = Family("skerry_replication_rounds", "counter", "Rounds by how they ended.")
    wire = Family("skerry_replication_wire_bytes", "counter", "Bytes that crossed the network.", "bytes")
    busy = Family("skerry_replication_round_seconds", "counter", "Time spent in rounds.", "seconds")
    samples = Family("skerry_replication_history_samples", "gauge", "Samples of lag in the state store.")
    held = Family("skerry_replication_history_size_bytes", "gauge", "Size of samples and rounds, about.", "bytes")
    for system in systems:
        kept.add(points.get(system.system, 0), system=system.system)
        wrong = {each.dataset for each in system.damaged}
        for row in system.datasets:
            labels = {"system": row.system, "dataset": row.dataset}
            lag.add(row.seconds_behind, **labels)
            behind.add(row.bytes_behind, **labels)
            rpo.add(row.rpo_seconds, **labels)
            met.add(1 if row.met else 0, **labels)
            seen.add(_epoch(row.seen_at), **labels)
            good.add(_epoch(row.good_at), **labels)
            damaged.add(1 if row.dataset in wrong else 0, **labels)
    for total in totals:
        rounds.add(total.rounds, system=total.system, result=total.result)
        wire.add(total.bytes_wire, system=total.system, result=total.result)
        busy.add(total.seconds, system=total.system, result=total.result)
    for (system_name, kind), at in sorted(verified_at.items()):
        passed.add(_epoch(at), system=system_name, kind=kind)
    samples.add(size.samples)
    held.add(size.bytes_about)
    return [lag, behind, rpo, met, seen, good, damaged, kept, passed, rounds, wire, busy, samples, held]


def _epoch(at: str) -> float | None:
    return datetime.fromisoformat(at).timestamp() if at else None


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
