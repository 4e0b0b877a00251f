"""skerry cloud: what is ours there, what nobody needs any more, what it costs, and which machine to take."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.durations import DURATION
from orchestrator.cli.words import JSON_OPTION, exit_codes_of

PRICES_OPTION = click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A price file of the region; else the estate's own, group_vars/skerry/prices.yml.",
)


@click.group("cloud")
def commands() -> None:
    """Look at what is ours in the cloud. Nothing is deleted here."""


@commands.command("orphans", epilog=exit_codes_of("InventoryError", "TargetError", "TargetForbidden"))
@PRICES_OPTION
@JSON_OPTION
def orphans(prices: Path | None, as_json: bool) -> None:
    """List what carries our tags and serves nothing that the estate knows, with why, and what it costs."""
    from orchestrator.cli.console import console, print_json, table
    from orchestrator.operations.cloud import PRICES_FILE, open_cloud, orphans_of, priced
    from orchestrator.operations.estate import inventory_folder

    estate = inventory_folder()
    known = priced(prices, estate).prices if prices or (estate / PRICES_FILE).exists() else None
    with open_cloud(estate) as desk:
        found = orphans_of(desk, known)
    total = round(sum(each.per_month or 0.0 for each in found), 2)
    currency = known.currency if known else ""
    if as_json:
        rows = [each.model_dump(mode="json") for each in found]
        print_json({"orphans": rows, "per_month": total if known else None, "currency": currency})
        return
    if not found:
        click.echo("nothing of ours is left without use")
        return
    columns = ("what", "id", "state", "since", "why", "a month")
    console().print(table(columns, [_row(each, currency) for each in found]))
    if known:
        click.echo(f"together {total:.2f} {currency} a month, by {known.source}")


def _row(orphan: Any, currency: str) -> tuple[str, ...]:
    thing = orphan.thing
    cost = "not priced" if orphan.per_month is None else f"{orphan.per_month:.2f} {currency}"
    return thing.kind, thing.id, thing.state, thing.made_at, orphan.why, cost


@commands.command("store", epilog=exit_codes_of("DigestMismatch", "SnapshotError", "TargetError", "TargetForbidden"))
@click.argument("system")
@click.argument("dataset")
@click.option("--bucket", required=True, help="One of policy.buckets, or AWS's: skerry-*.")
@click.option("--point", help="The recovery point; the newest where none is named.")
@click.option("--as", "person", required=True, metavar="PERSON", help="Who does this; it is put on record.")
@JSON_OPTION
def store(system: str, dataset: str, bucket: str, point: str | None, person: str, as_json: bool) -> None:
    """Put a tree of SYSTEM, as DR holds it at a recovery point, into a bucket, and compare by checksum."""
    from orchestrator.cli.console import print_json
    from orchestrator.operations.cloud import open_cloud, store_point
    from orchestrator.operations.estate import inventory_folder

    with open_cloud(inventory_folder()) as desk:
        found = store_point(desk, system, dataset, bucket, point_id=point, by=person)
    stored, compared = found.stored.model_dump(mode="json"), found.compared.model_dump(mode="json")
    if as_json:
        print_json({"point": found.point, "host": found.host, "stored": stored, "compared": compared})
        return
    click.echo(
        f"{found.stored.files} files of {found.point} are in {bucket}, {found.stored.bytes_sent} bytes were sent"
    )
    click.echo(f"{found.compared.objects} objects, each compared by checksum with what {found.host} holds")


FIGURES = ("vcpus", "memory", "disk_rate", "disk")


@commands.command("size", epilog=exit_codes_of("InventoryError", "PlanningError", "UsageError", "HostUnreachable"))
@click.argument("system")
@PRICES_OPTION
@click.option("--measure", type=DURATION, metavar="TIME", help="Look now, for so long, what its machine uses.")
@click.option("--vcpus", type=float, help="Processors that were busy at the busiest time, instead of a measurement.")
@click.option("--memory", type=float, metavar="GIB", help="Memory that was used then.")
@click.option("--disk-rate", type=float, metavar="MIB/S", help="Read and written per second then.")
@click.option("--disk", type=float, metavar="GIB", help="Size of the disk.")
@click.option("--architecture", type=click.Choice(["x86_64", "arm64"]), default="x86_64", show_default=True)
@click.option("--tier", type=click.Choice(["hot", "warm", "dr_small"]), default="hot", show_default=True)
@click.option("--drill-hours", type=float, default=4.0, show_default=True, help="How long a drill's machine runs.")
@click.option("--as", "person", required=True, metavar="PERSON", help="Who asks; the choice is put on record.")
@JSON_OPTION
def size(
    system: str,
    prices: Path | None,
    measure: float | None,
    architecture: str,
    tier: str,
    drill_hours: float,
    person: str,
    as_json: bool,
    **figures: float | None,
) -> None:
    """Propose an instance type for SYSTEM from what was measured, and say what a month and a drill cost.

    Measured is its machine, by --measure: looks add up, the busiest second of all of them counts. The choice is part of
    every plan that is made from then on.
    """
    from orchestrator.cli.console import print_json
    from orchestrator.operations import cloud
    from orchestrator.operations.estate import inventory_folder

    given = _given(figures, architecture) if any(value is not None for value in figures.values()) else None
    estate = inventory_folder()
    known = cloud.priced(prices, estate)
    with cloud.open_cloud(estate) as desk:
        if measure:
            cloud.measure(desk, system, measure)
        load = given or cloud.measured(desk, system)
        chosen: Any = cloud.choose_size(desk, system, load, tier, known, drill_hours=drill_hours, by=person)  # type: ignore[arg-type]
    if as_json:
        print_json(chosen.model_dump(mode="json"))
        return
    click.echo(f"{system} on {chosen.host}, {tier}: {chosen.instance_type} ({chosen.because})")
    if chosen.load.measured_on:
        click.echo(f"measured on {chosen.load.measured_on}, {chosen.load.seconds:g} s")
    click.echo(f"a month: {chosen.per_month:.2f} {chosen.currency}; a drill: {chosen.per_drill:.2f} {chosen.currency}")
    click.echo(f"by {chosen.prices_from}")


def _given(figures: dict[str, float | None], architecture: str) -> Any:
    """What a person says of the machine. UsageError where only part of it is said."""
    from orchestrator.foundation.errors import UsageError
    from orchestrator.model.price import MeasuredLoad

    missing = [f"--{name.replace('_', '-')}" for name in FIGURES if figures[name] is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} is missing", hint="Give all four figures, or --measure TIME.")
    return MeasuredLoad.model_validate(
        {
            "vcpus_busy": figures["vcpus"],
            "memory_gib": figures["memory"],
            "disk_mib_per_second": figures["disk_rate"],
            "disk_gib": figures["disk"],
            "architecture": architecture,
        }
    )


@commands.command("price", epilog=exit_codes_of("InventoryError", "PlanningError"))
@PRICES_OPTION
@click.option("--drill-hours", type=float, default=4.0, show_default=True, help="How long a drill's machine runs.")
@JSON_OPTION
def price(prices: Path | None, drill_hours: float, as_json: bool) -> None:
    """Say what the machines of the estate cost in a month, and what a drill with one like each of them costs."""
    from orchestrator.cli.console import console, print_json, table
    from orchestrator.operations.cloud import open_cloud, price_machines, priced
    from orchestrator.operations.estate import inventory_folder

    estate = inventory_folder()
    known = priced(prices, estate).prices
    with open_cloud(estate) as desk:
        found = price_machines(desk, known, drill_hours=drill_hours)
    per_month = round(sum(each.per_month for each in found), 2)
    per_drill = round(sum(each.per_drill for each in found), 2)
    if as_json:
        rows = [each.model_dump(mode="json") for each in found]
        print_json({"machines": rows, "per_month": per_month, "per_drill": per_drill, "currency": known.currency})
        return
    columns = ("machine", "type", "proposed", "tier", "disk", "a month", "a drill")
    rows_shown = [
        (
            each.host,
            each.instance_type,
            each.chosen or "not sized",
            each.tier,
            f"{each.disk_gib:g} GiB" if each.chosen else "unknown",
            f"{each.per_month:.2f}",
            f"{each.per_drill:.2f}",
        )
        for each in found
    ]
    console().print(table(columns, rows_shown))
    click.echo(f"together {per_month:.2f} {known.currency} a month, {per_drill:.2f} a drill, by {known.source}")
