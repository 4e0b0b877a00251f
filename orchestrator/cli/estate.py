"""skerry estate: the wish as people wrote it."""

from typing import Any

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.group("estate")
def commands() -> None:
    """Check and show the estate: sites, hosts, systems, people, policy."""


@commands.command("check", epilog=exit_codes_of("InventoryError"))
@click.option("--strict", is_flag=True, help="Warnings count as problems.")
@JSON_OPTION
def check(strict: bool, as_json: bool) -> None:
    """Read the whole estate; every problem is told with file and line. No host is asked, no secret resolved."""
    from orchestrator.cli.console import print_json
    from orchestrator.operations.estate import estate_as_data, inventory_folder, read_estate, refuse_warnings

    estate = read_estate()
    if strict:
        refuse_warnings(estate)
    if as_json:
        data = estate_as_data(estate)
        counts = {"sites": len(estate.sites), "hosts": len(estate.hosts), "systems": len(estate.systems)}
        kept = {key: data[key] for key in ("digest", "warnings")}
        print_json({"inventory": str(inventory_folder()), **counts, **kept})
        return
    for warning in estate.warnings:
        click.echo(click.style("warning: ", fg="yellow") + warning, err=True)
    click.echo(
        f"{inventory_folder()} holds together: {len(estate.systems)} systems on {len(estate.hosts)} hosts "
        f"at {len(estate.sites)} sites, {len(estate.people)} people"
    )
    click.echo(f"digest {estate.digest}")


@commands.command("show", epilog=exit_codes_of("InventoryError"))
@JSON_OPTION
def show(as_json: bool) -> None:
    """Show sites, systems and people as tables."""
    from orchestrator.cli.console import print_json
    from orchestrator.operations.estate import estate_as_data, read_estate

    data = estate_as_data(read_estate())
    if as_json:
        print_json(data)
    else:
        _draw(data)


def _draw(data: dict[str, Any]) -> None:
    from orchestrator.cli.console import console, table
    from orchestrator.foundation.amounts import seconds_text

    screen = console()
    sites = [(site["name"], site["side"], site["region"], ", ".join(site["hosts"])) for site in data["sites"]]
    screen.print(table(("site", "side", "region", "hosts"), sites))
    rows = []
    for system in data["systems"]:
        objectives = system["objectives"]
        rows.append(
            (
                system["name"],
                system["owner"],
                system["criticality"],
                seconds_text(objectives["rto"]),
                seconds_text(objectives["rpo"]),
                seconds_text(objectives["mtpd"]),
                ", ".join(f"{item['name']} ({item['kind']})" for item in system["datasets"]),
                " → ".join(system["hosts"].values()),
                system["front"],
            )
        )
    screen.print()
    columns = ("system", "owner", "criticality", ">RTO", ">RPO", ">MTPD", "datasets", "source → dr → cloud", "front")
    screen.print(table(columns, rows))
    screen.print()
    people = [
        (
            person["id"],
            person["name"],
            ", ".join(person["roles"]),
            str(person["keys"]) if person["keys"] else "none yet",
        )
        for person in data["people"]
    ]
    screen.print(table(("person", "name", "roles", ">keys"), people))
