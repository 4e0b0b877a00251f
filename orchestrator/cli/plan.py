"""skerry plan: what will run, frozen under one digest."""

import click

from orchestrator.cli import plan_wave
from orchestrator.cli.runbook_words import inputs_of, runbook_file
from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.group("plan")
def commands() -> None:
    """Make, list and show plans. A plan is what people approve and what runs; any edit makes another one."""


commands.add_command(plan_wave.command)


@commands.command("make", epilog=exit_codes_of("InventoryError", "RunbookError", "PlanningError"))
@click.argument("systems", nargs=-1, metavar="[SYSTEM]...")
@click.option("--wave", required=True, help="Name of the wave, such as 2026-11-a.")
@click.option("--as", "author", required=True, metavar="PERSON", help="Who makes the plan, by the id in people.yml.")
@click.option("--runbook", "runbook", default="migrate", help="Name of a shipped runbook, or a file.")
@click.option("--set", "inputs", multiple=True, metavar="NAME=VALUE", help="An input of the runbook.")
@JSON_OPTION
def make(
    systems: tuple[str, ...], wave: str, author: str, runbook: str, inputs: tuple[str, ...], as_json: bool
) -> None:
    """Compile runbook, estate and facts into a plan for SYSTEMs, by default for all that move.

    Refuses, with every reason at once, what could not work. Touches no host.
    """
    from orchestrator.cli.console import print_json
    from orchestrator.cli.plan_show import plan_as_data, show_plan
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.survey import newest_facts

    with open_desk(inventory_folder()) as desk:
        facts = newest_facts(desk.inventory, desk.catalogue)
        plan = desk.make_plan(
            runbook_file(runbook), wave=wave, author=author, facts=facts, systems=systems, inputs=inputs_of(inputs)
        )
    if as_json:
        print_json(plan_as_data(plan))
    else:
        show_plan(plan)


@commands.command("list", epilog=exit_codes_of("InventoryError"))
@click.option("--limit", type=click.IntRange(1, 1000), default=50, help="At most so many, newest first.")
@JSON_OPTION
def list_(limit: int, as_json: bool) -> None:
    """List kept plans, newest first."""
    from orchestrator.cli.words import print_json
    from orchestrator.operations.reading import plan_summaries

    plans = plan_summaries(limit=limit)
    if as_json:
        print_json({"plans": plans})
        return
    if not plans:
        click.echo("no plan yet; make one with: skerry plan make")
        return
    from orchestrator.cli.console import console, short_digest, table
    from orchestrator.foundation.amounts import size_text

    drawn = [
        (
            short_digest(plan["digest"]),
            plan["wave"],
            plan["author"],
            plan["runbook"],
            plan_wave.names_text(plan["systems"]),
            size_text(plan["bytes_expected"]),
        )
        for plan in plans
    ]
    console().print(table(("plan", "wave", "by", "runbook", "systems", ">to move"), drawn))


@commands.command("show", epilog=exit_codes_of("UsageError", "PlanningError"))
@click.argument("digest")
@click.option(
    "--form",
    type=click.Choice(["table", "graph", "outline"]),
    default="table",
    show_default=True,
    help="outline: Markdown, laid out as NIST SP 800-34 lays out a contingency plan.",
)
@JSON_OPTION
def show(digest: str, form: str, as_json: bool) -> None:
    """Show a plan, named by its digest or the first digits of it, and how far its approval has come."""
    from orchestrator.cli.console import print_json
    from orchestrator.cli.plan_show import plan_as_data, show_plan, show_standing
    from orchestrator.operations.plan_standing import plan_and_standing

    plan, standing = plan_and_standing(digest)
    if as_json:
        print_json({**plan_as_data(plan), "approval": standing.model_dump(mode="json")})
        return
    if form == "outline":
        from orchestrator.cli.plan_outline import outline_text
        from orchestrator.foundation.printable import printable

        click.echo("\n".join(printable(line) for line in outline_text(plan, standing).splitlines()))
    elif form == "graph":
        from orchestrator.cli.console import console
        from orchestrator.cli.graph import graph_as_text

        # Systems of one wave share the runbook.
        for steps in dict.fromkeys(planned.steps for planned in plan.systems):
            console().print(graph_as_text(f"{plan.wave}: {plan.runbook} {plan.runbook_version}", steps))
        show_standing(standing)
    else:
        show_plan(plan)
        show_standing(standing)
