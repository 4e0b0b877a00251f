"""Audit: the evidence of this estate, verified from its files alone."""

from pathlib import Path

from orchestrator.evidence.verify_log import LogReport, own_keys, verify_log
from orchestrator.foundation.places import ledger_folder


def verify_ledger(folder: Path | None = None) -> LogReport:
    """Recompute the whole log with the keys that lie beside it; an auditor brings keys of their own instead."""
    place = folder or ledger_folder()
    return verify_log(place, vkeys=own_keys(place))
