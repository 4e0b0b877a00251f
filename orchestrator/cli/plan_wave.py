"""skerry plan wave: the waves of the estate, judged; the plan of one of them; a draft for what is in none."""

from typing import Any

import click

from orchestrator.cli.runbook_words import inputs_of, runbook_file
from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.command("wave", epilog=exit_codes_of("UsageError", "InventoryError", "PlanningError"))
@click.argument("wave", required=False)
@click.option("--as", "author", metavar="PERSON", help="Who makes the plan, by the id in people.yml.")
@click.option("--runbook", default="migrate", help="Name of a shipped runbook, or a file.")
@click.option("--set", "inputs", multiple=True, metavar="NAME=VALUE", help="An input of the runbook.")
@click.option("--propose", is_flag=True, help="Print a draft of waves for all systems that are in none.")
@click.option("--systems-max", type=click.IntRange(1, 10_000), default=20, help="With --propose: so many in a wave.")
@JSON_OPTION
def command(
    wave: str | None,
    author: str | None,
    runbook: str,
    inputs: tuple[str, ...],
    propose: bool,
    systems_max: int,
    as_json: bool,
) -> None:
    """Judge waves.yml and show all waves; with WAVE, compile the plan of that one, for people to approve.

    Refused, each with file and line: systems that hang together in different waves, a window in a freeze or in the
    past, a gate that could never open. No host is touched.
    """
    from orchestrator.foundation.errors import UsageError

    if propose:
        _propose(systems_max, as_json=as_json)
    elif wave is None:
        _show_all(as_json=as_json)
    elif author is None:
        raise UsageError("say who makes the plan: --as PERSON", hint="Whoever makes a plan cannot approve it.")
    else:
        _make(wave, author, runbook, inputs, as_json=as_json)


def _make(wave: str, author: str, runbook: str, inputs: tuple[str, ...], *, as_json: bool) -> None:
    from orchestrator.cli.console import console, print_json, quiet
    from orchestrator.cli.plan_show import plan_as_data, show_plan
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.survey import newest_facts
    from orchestrator.operations.waves import plan_wave, read_waves

    with open_desk(inventory_folder()) as desk:
        waves = read_waves(inventory_folder(), desk.inventory)
        facts = newest_facts(desk.inventory, desk.catalogue)
        file = runbook_file(runbook)
        plan = plan_wave(desk, waves, wave, runbook_file=file, author=author, facts=facts, inputs=inputs_of(inputs))
    if as_json:
        print_json(plan_as_data(plan))
        return
    show_plan(plan)
    if plan.terms is not None:
        console().print(quiet(terms_text(plan.terms.model_dump(mode="json"))))


def _show_all(*, as_json: bool) -> None:
    from orchestrator.cli.console import console, print_json, table
    from orchestrator.operations.estate import inventory_folder, read_estate
    from orchestrator.operations.waves import read_waves, waves_as_data

    data = waves_as_data(read_waves(inventory_folder(), read_estate()))
    if as_json:
        print_json(data)
        return
    for warning in data["warnings"]:
        click.echo(click.style("warning: ", fg="yellow") + warning, err=True)
    rows = [
        (each["wave"], str(len(each["systems"])), names_text(each["systems"]), terms_text(each["terms"]))
        for each in data["waves"]
    ]
    console().print(table(("wave", ">systems", "members", "terms"), rows))


def names_text(names: list[str], most: int = 6) -> str:
    """a, b, c and 97 more"""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def terms_text(terms: dict[str, Any]) -> str:
    """A wave's terms in one line."""
    from orchestrator.foundation.amounts import seconds_text

    parts = []
    if terms["window"]:
        window = terms["window"]
        parts.append(f"window {window['start'][:16]}Z to {window['end'][:16]}Z ({window['time_zone']})")
        parts.append(f"way back {seconds_text(terms['rollback_seconds'])} + {seconds_text(terms['reserve_seconds'])}")
    if terms["soak_seconds"]:
        parts.append(f"soak {seconds_text(terms['soak_seconds'])}")
    parts += [f"at most {limits}" for limits in _limit_texts(terms["limits"])]
    gates = [gate["id"] for gate in (*terms["entry"], *terms["exit"], *terms.get("retire", ()))]
    if gates:
        parts.append("gates " + ", ".join(gates))
    return "; ".join(parts)


def _limit_texts(limits: dict[str, Any]) -> list[str]:
    texts = [f"{limits[f'per_{kind}']} per {kind}" for kind in ("site", "host", "link") if limits[f"per_{kind}"]]
    texts += [f"{count} at {name}" for kind in ("sites", "hosts", "links") for name, count in limits[kind].items()]
    return texts


def _propose(systems_max: int, *, as_json: bool) -> None:
    from orchestrator.cli.console import print_json
    from orchestrator.operations.estate import inventory_folder, read_estate
    from orchestrator.operations.waves import has_waves, proposal, read_waves

    estate = read_estate()
    known = read_waves(inventory_folder(), estate) if has_waves(inventory_folder()) else None
    waves = proposal(estate, known, systems_max=systems_max)
    named = [{"wave": f"wave-{number}", "systems": systems} for number, systems in enumerate(waves, start=1)]
    if as_json:
        print_json({"waves": named})
        return
    click.echo("waves:\n  order:")
    for wave in named:
        click.echo(f"    - wave: {wave['wave']}\n      systems: [{', '.join(wave['systems'])}]\n      soak: 1d")
