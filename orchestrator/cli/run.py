"""skerry run: carry out an approved plan; one that was broken off goes on."""

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.command(
    "run",
    epilog=exit_codes_of("ApprovalMissing", "ApprovalInvalid", "RunInProgress", "RunFailed", "RolledBack"),
)
@click.argument("digest")
@click.option("--as", "operator", required=True, metavar="PERSON", help="Who runs it, by the id in people.yml.")
@JSON_OPTION
def command(digest: str, operator: str, as_json: bool) -> None:
    """Run the plan DIGEST on its hosts, every system of the wave, in this process.

    Ctrl-C or a crash stops the program, not the move: what ran is recorded, and the same command goes on. Steps of a
    run are watched live; see them later with: skerry runs show RUN.
    """
    from orchestrator.cli.console import console, print_json
    from orchestrator.cli.live import LiveRun
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.migrate import complain
    from orchestrator.operations.plan import find_plan

    live = LiveRun(console(), as_json=as_json)
    with open_desk(inventory_folder(), observers=[live]) as desk:
        plan = find_plan(desk.catalogue, digest)
        with live.shown():
            status = desk.run(
                plan, operator=operator, kind="migrate", on_run=lambda run: live.say(f"run {run} of plan {plan.digest}")
            )
    if as_json:
        print_json(status.model_dump(mode="json"))
    else:
        for system in status.systems:
            click.echo(
                f"{system.system}: {system.state.replace('_', ' ')}" + (f" ({system.reason})" if system.reason else "")
            )
    complain(status)
