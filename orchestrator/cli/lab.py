"""skerry lab: a source, a DR site and a cloud on this machine, two systems that live there, and the tour."""

import json
from typing import Any

import click

from orchestrator.foundation.errors import BrokenLog, DataError, RunFailed

# The tour shows both ends of a move: one system arrives, the other's check fails on purpose and it comes home.
EXPECTED = {"filing": "committed", "archive": "rolled_back"}
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON; the contract is docs/cli_json.md.")
KIND_OPTION = click.option(
    "--kind",
    type=click.Choice(["auto", "namespaces", "loopback"]),
    default="auto",
    envvar="SKERRY_LAB",
    help="How hosts are made; auto takes namespaces where this machine allows them.",
)
SIZE_OPTIONS = (
    click.option("--filings", type=click.IntRange(1), default=2000, help="Filings with attachments to begin with."),
    click.option("--documents", type=click.IntRange(1), default=1500, help="Documents on the share to begin with."),
)


def sized(command: Any) -> Any:
    for option in reversed(SIZE_OPTIONS):
        command = option(command)
    return command


@click.group("lab")
def commands() -> None:
    """A whole source, DR site and cloud on this machine."""


@commands.command("up")
@KIND_OPTION
@sized
@JSON_OPTION
def up(kind: str, filings: int, documents: int, as_json: bool) -> None:
    """Bring up three sites with real hosts and two systems with data. An up lab is left as it is."""
    from orchestrator.lab import estate_town

    town = estate_town.open_lab(kind=kind)
    if not as_json and town.why:
        click.echo(town.why)
    estate_town.up(town, filings=filings, documents=documents)
    _show_status(estate_town.status(town), as_json)


@commands.command("status")
@JSON_OPTION
def status(as_json: bool) -> None:
    """What is up: hosts, faults, fronts, systems."""
    from orchestrator.lab import estate_town

    _show_status(estate_town.status(estate_town.open_lab()), as_json)


@commands.command("break")
@click.argument("words", nargs=-1, required=True, metavar="FAULT WHERE... [AMOUNT]")
@JSON_OPTION
def break_(words: tuple[str, ...], as_json: bool) -> None:
    """Put a fault, for instance: partition onprem dr · loss onprem dr 20 · power-off dr-filing1 · freeze HOST ·
    disk-full HOST PATH · cut-cable HOST. It lasts until healed.
    """
    from orchestrator.lab import estate_town
    from orchestrator.lab.faults import parse_fault

    fault = parse_fault(words)
    estate_town.open_lab().put_fault(fault)
    _say({"fault": fault.name}, f"broken: {fault.name}; heal it with: skerry lab heal {fault.name}", as_json)


@commands.command("heal")
@click.argument("words", nargs=-1, metavar="[FAULT WHERE...]")
@JSON_OPTION
def heal(words: tuple[str, ...], as_json: bool) -> None:
    """End one fault, or all."""
    from orchestrator.lab import estate_town

    healed = estate_town.open_lab().heal(" ".join(words) or None)
    _say({"healed": healed}, f"healed: {', '.join(healed) or 'nothing was broken'}", as_json)


@commands.command("down")
@click.option("--purge", is_flag=True, help="Also remove the lab's folder with all its hosts' files.")
@JSON_OPTION
def down(purge: bool, as_json: bool) -> None:
    """End every process of the lab; nothing is left outside its folder."""
    from orchestrator.lab import estate_town
    from orchestrator.wiring.caretaker import end_caretaker

    end_caretaker()  # it would go on with runs whose hosts are gone
    town = estate_town.open_lab()
    town.down()
    if purge:
        estate_town.purge(town)
    _say({"down": True, "purged": purge}, "the lab is down", as_json)


@commands.command("traffic")
@click.argument("what", type=click.Choice(["start", "stop", "report"]))
@JSON_OPTION
def traffic(what: str, as_json: bool) -> None:
    """Clients that file through the front names, and what became of every acknowledged filing."""
    from orchestrator.lab import estate_town

    town = estate_town.open_lab()
    if what == "start":
        estate_town.traffic_start(town)
        _say({"traffic": "started"}, "clients file about 20 records a second with each system", as_json)
    elif what == "stop":
        estate_town.traffic_stop(town)
        _say({"traffic": "stopped"}, "the clients have stopped", as_json)
    else:
        views = {name: view.model_dump(mode="json") for name, view in estate_town.traffic_report(town).items()}
        lines = [
            f"{name}: {view['acknowledged']} acknowledged, {view['lost']} lost, {view['differing']} differing, "
            f"longest gap {view['longest_gap_seconds']:.2f} s"
            for name, view in views.items()
        ]
        _say(views, "\n".join(lines), as_json)


@commands.command("tour")
@KIND_OPTION
@sized
@click.option("--keep", is_flag=True, help="Leave the lab up at the end.")
@click.option("--anew", is_flag=True, help="Begin anew even where a tour was broken off.")
@JSON_OPTION
def tour(kind: str, filings: int, documents: int, keep: bool, anew: bool, as_json: bool) -> None:
    """Move one system source → DR → cloud and roll another one back, on real hosts. A killed tour goes on."""
    from orchestrator.cli.tour_show import TourShow
    from orchestrator.lab.tour import Tour, TourSettings

    settings = TourSettings(filings=filings, documents=documents, keep=keep, kind=kind, anew=anew)
    show = TourShow(as_json=as_json)
    with show.live.shown():
        result = Tour(settings, show, [show.live]).run()
    show.result(result)
    if not result.evidence.verified:
        raise BrokenLog("the evidence does not verify", hint="See why: skerry evidence verify")
    broken = [system.name for system in result.systems if system.lost]
    unexpected = [system for system in result.systems if system.outcome != EXPECTED.get(system.name)]
    if unexpected and not broken:
        told = "; ".join(f"{system.name} is {system.outcome}: {system.reason}" for system in unexpected)
        raise RunFailed(told, hint=f"See every step: skerry runs show {result.run}. The lab's state is kept as it is.")
    if broken:
        raise DataError(f"acknowledged filings are lost: {', '.join(broken)}")


def _say(document: dict[str, Any], text: str, as_json: bool) -> None:
    click.echo(json.dumps(document) if as_json else text)


def _show_status(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document))
        return
    if not document["up"]:
        click.echo(f"the lab is down ({document['folder']})")
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"lab ({document['kind']}) in {document['folder']}", title_justify="left", box=None)
    for column in ("host", "site", "address", "power"):
        table.add_column(column)
    for row in document["hosts"]:
        table.add_row(row["name"], row["site"], row["address"], row["power"])
    console.print(table)
    for name, address in document.get("fronts", {}).items():
        console.print(f"front {name} → {address or 'nothing'}")
    for fault in document.get("faults", []):
        console.print(f"fault: {fault}", style="red")
