"""Options that the evidence commands share."""

from pathlib import Path

import click

JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
LEDGER = click.option(
    "--ledger", type=click.Path(path_type=Path, file_okay=False), help="The ledger's folder [$SKERRY_HOME/ledger]."
)


def ledger_or_default(named: Path | None) -> Path:
    """The ledger's folder that is meant."""
    from orchestrator.foundation.places import ledger_folder

    return named or ledger_folder()
