"""Options that the evidence commands share, and what they name."""

from pathlib import Path
from typing import Any

import click

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
LEDGER = click.option(
    "--ledger", type=click.Path(path_type=Path, file_okay=False), help="The ledger's folder [$SKERRY_HOME/ledger]."
)


def ledger_or_default(named: Path | None) -> Path:
    """The ledger's folder that is meant."""
    from orchestrator.foundation.places import ledger_folder

    return named or ledger_folder()


def named_run(folder: Path, run: str) -> str:
    """The id of the run that is meant; `last` is the log's newest."""
    if run != "last":
        return run
    from orchestrator.foundation.errors import UsageError

    runs = whole_population(folder).runs
    if not runs:
        raise UsageError("the log has no run yet")
    return str(runs[-1].run)


def whole_population(folder: Path) -> Any:
    """All runs of a ledger's log, which is verified first."""
    from orchestrator.evidence.export import read_entries
    from orchestrator.evidence.population import population
    from orchestrator.evidence.verify_log import own_keys, verify_log
    from orchestrator.foundation.errors import BrokenLog

    report = verify_log(folder, vkeys=own_keys(folder))
    if not report.verified:
        raise BrokenLog(f"the log in {folder} does not verify", hint=f"See: skerry evidence verify {folder}")
    found = population(read_entries(folder / "log", report.size))
    found.root = report.root
    return found
