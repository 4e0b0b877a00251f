"""skerry state: all that must not be lost, in one file, and a home made of it on another machine."""

import time
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.group("state")
def commands() -> None:
    """Copy the state of runs, the ledger and its keys into one file, and make a home of it elsewhere."""


@commands.command("backup", epilog=exit_codes_of("UsageError", "EngineUnavailable"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--every", type=click.FloatRange(min=1), metavar="SECONDS", help="Again and again, until Ctrl-C.")
@JSON_OPTION
def backup(file: Path, every: float | None, as_json: bool) -> None:
    """Copy the state into FILE, also while a worker runs; FILE is replaced whole or not at all.

    It holds private keys: keep it as you keep those. Have it made on the DR site's disk, so that all goes on from there
    when this site is lost. Where a database is shared, that keeps the runs; FILE then brings a machine the log's keys.
    """
    from orchestrator.operations.state_copy import back_up

    while True:
        _tell(back_up(file.absolute()), file, as_json=as_json)
        if every is None:
            return
        time.sleep(every)


def _tell(made: dict[str, Any], file: Path, *, as_json: bool) -> None:
    from orchestrator.cli.words import print_json

    if as_json:
        print_json(made)
    else:
        click.echo(f"{made['made_at']}  {file}: {made['files']} files, {made['bytes']} bytes; it holds private keys")


@commands.command("restore", epilog=exit_codes_of("UsageError", "EngineUnavailable", "BrokenLog"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@JSON_OPTION
def restore(file: Path, as_json: bool) -> None:
    """Make this home out of FILE. It must have no state yet, and the machine that FILE is of must not go on.

    Runs that were under way pause: look, then ask them to resume or to roll back; of each step that FILE does not know
    the hosts are asked first. Orders of the machine that was left count as older from now on, and hosts refuse them. A
    log that others saw grow beyond FILE is refused at the first writing: bring the newest copy.
    """
    from orchestrator.cli.words import print_json
    from orchestrator.operations.state_copy import restore as restored

    made = restored(file.absolute())
    if as_json:
        print_json(made)
        return
    click.echo(f"this home is as it was at {made['made_at']}: {made['log_size']} entries of the log {made['origin']}")
    if made["systems_paused"]:
        told = "systems wait for a word: skerry runs list, then skerry runs ask resume|rollback"
        click.echo(f"{made['systems_paused']} {told}")
