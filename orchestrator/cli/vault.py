"""skerry vault: a third copy of recovery points, where nobody can take it away before its time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of

PERSON = click.option("--as", "person", required=True, metavar="PERSON", help="Who does this; it is put on record.")


@click.group("vault")
def commands() -> None:
    """Keep recovery points in another form and place: encrypted, under a lock, verified by restoring them."""


@contextmanager
def _vault(person: str) -> Iterator[Any]:
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.vault import open_vault

    with open_vault(inventory_folder(), by=person) as vault:
        yield vault


@commands.command("check", epilog=exit_codes_of("MissingTool", "TargetError"))
@PERSON
@JSON_OPTION
def check(person: str, as_json: bool) -> None:
    """Say whether copies could be made now: the program on every DR host, the lock of the bucket."""
    from orchestrator.cli.console import print_json

    with _vault(person) as vault:
        hosts = vault.check()
        bucket, days = vault.settings.bucket, vault.settings.locked_days
    if as_json:
        print_json({"bucket": bucket, "locked_days": days, "hosts": hosts})
        return
    click.echo(f"{bucket} locks what comes in for {days} days or longer")
    for name, version in hosts.items():
        click.echo(f"{name}: {version}")


@commands.command("copy", epilog=exit_codes_of("MissingTool", "DataError", "TargetError", "TargetForbidden"))
@click.argument("system")
@click.option("--point", help="The recovery point; the newest where none is named.")
@PERSON
@JSON_OPTION
def copy(system: str, point: str | None, person: str, as_json: bool) -> None:
    """Put a recovery point of SYSTEM into the vault. The DR host that holds it sends it, encrypted."""
    from orchestrator.cli.console import print_json

    with _vault(person) as vault:
        made = vault.copy(system, point)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    click.echo(f"{made.point} of {system} is in the vault as {made.id}")
    click.echo(f"{made.objects_locked} objects are locked until {made.locked_until}; removal: {made.removal_refused}")
    click.echo(f"It was not restored yet. Do that with: skerry vault verify {made.id}")


@commands.command("list", epilog=exit_codes_of("InventoryError"))
@click.argument("system", required=False)
@JSON_OPTION
def list_(system: str | None, as_json: bool) -> None:
    """What is in the vault, newest first."""
    from orchestrator.cli.console import bad, console, good, print_json, table
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.vault import vault_list

    found = vault_list(inventory_folder(), system)
    if as_json:
        print_json({"copies": [each.model_dump(mode="json") for each in found]})
        return
    rows = [
        (
            each.id,
            each.system,
            each.point,
            each.at,
            ", ".join(item.dataset for item in each.datasets),
            each.locked_until,
            good(f"restored {each.verified_at}") if each.verified_at else bad("never restored"),
        )
        for each in found
    ]
    columns = ("copy", "system", "recovery point", "since", "datasets", "locked until", "verified")
    console().print(table(columns, rows))


@commands.command("verify", epilog=exit_codes_of("DigestMismatch", "NoSpace", "TargetError"))
@click.argument("copy_id", metavar="COPY")
@PERSON
@JSON_OPTION
def verify(copy_id: str, person: str, as_json: bool) -> None:
    """Restore COPY into a scratch folder at DR and compare its digests with the recovery point's.

    COPY is a copy's id or its beginning; of a recovery point or a system, its newest copy is meant.
    """
    from orchestrator.cli.console import print_json

    with _vault(person) as vault:
        found = vault.verify(copy_id)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    click.echo(f"{found.id}: restored at {found.verified_on}, every digest is that of {found.point}")


@commands.command("restore", epilog=exit_codes_of("DigestMismatch", "NoSpace", "TargetError"))
@click.argument("copy_id", metavar="COPY")
@click.option("--to", "folder", required=True, help="A folder of the DR host that is missing or empty.")
@click.option("--dataset", help="Only this one.")
@PERSON
@JSON_OPTION
def restore(copy_id: str, folder: str, dataset: str | None, person: str, as_json: bool) -> None:
    """Put the datasets of COPY below a folder of the DR host. Nothing that is there is written over."""
    from orchestrator.cli.console import print_json

    with _vault(person) as vault:
        paths = vault.restore(copy_id, folder, only=dataset)
    if as_json:
        print_json({"copy": copy_id, "paths": paths})
        return
    for name, path in paths.items():
        click.echo(f"{name}: {path}")
