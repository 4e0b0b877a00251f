"""skerry survey: what the hosts really are."""

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.command("survey", epilog=exit_codes_of("InventoryError"))
@JSON_OPTION
def command(as_json: bool) -> None:
    """Ask every host of the estate what it is, and keep the answers as facts for planning.

    Nothing is changed on any host. A host that cannot be reached is a fact too; planning says whether it matters.
    """
    from rich.text import Text

    from orchestrator.cli.console import bad, console, print_json, table
    from orchestrator.foundation.amounts import size_text
    from orchestrator.model.facts import HostFacts
    from orchestrator.operations.changing import changes_of_estate
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.survey import survey_estate

    def tell(host: HostFacts) -> None:
        if not as_json:
            click.echo(f"  {host.host}: {'answered' if host.reachable else host.why_not}", err=True)

    with open_desk(inventory_folder()) as desk:
        changes = changes_of_estate(desk.inventory, desk.catalogue, desk.replication)
        facts = survey_estate(desk.inventory, desk.survey, desk.catalogue, on_host=tell, changes=changes)
        systems = list(desk.inventory.systems)
    if as_json:
        print_json(facts.model_dump(mode="json"))
        return
    rows: list[tuple[str | Text, ...]] = []
    for name, host in sorted(facts.hosts.items()):
        if not host.reachable:
            rows.append((name, bad("not reached"), "", "", host.why_not))
            continue
        held = ", ".join(
            f"{item} {size_text(found.bytes_used)}" for item, found in host.datasets.items() if found.exists
        )
        missing = [tool for tool, version in host.tools.items() if not version]
        told = held or "no dataset yet"
        rows.append((name, host.operating_system, str(host.cpus), size_text(host.memory_bytes), told))
        if missing:
            rows.append(("", bad(f"lacks {', '.join(missing)}"), "", "", ""))
    screen = console()
    screen.print(table(("host", "system", ">cpus", ">memory", "holds"), rows))
    for name in systems:
        if name in changes:
            rate = size_text(round(changes[name].bytes_per_second))
            screen.print(f"{name} changes {rate} a second, by {changes[name].told}", soft_wrap=True)
        else:
            told = "not known yet: two rounds of skerry replicate run, 10 s apart or more, measure it"
            screen.print(f"how fast {name} changes is {told}", soft_wrap=True)
    screen.print(f"facts {facts.digest} of {facts.taken_at}")
