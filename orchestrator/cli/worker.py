"""skerry worker: a process that carries runs, on this machine or on several; and who does at the moment."""

from collections.abc import Callable

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.group("worker", invoke_without_command=True, epilog=exit_codes_of("RunInProgress", "EngineUnavailable"))
@click.option(
    "--dead-seconds",
    type=float,
    help="How long a worker may be silent before others take its work over; default 20, and the same for all.",
)
@click.option("--caretaker", is_flag=True, help="Only for what waits for its commit, and while nobody else works.")
@JSON_OPTION
@click.pass_context
def commands(context: click.Context, dead_seconds: float | None, caretaker: bool, as_json: bool) -> None:
    """Carry every run that is submitted (skerry run --detach), until SIGTERM or Ctrl-C. Without a subcommand: do that.

    With --database, workers on several machines share the runs, and one takes over from another that died, hangs or is
    cut off; it ends itself where it may have been taken for dead, so have a supervisor start it again. Without, the
    state is a file in the home, and a second worker is refused. There a command that leaves a run waiting for its
    commit leaves a caretaker, too: it keeps the way back open, takes it when the deadline passes, and makes room for
    whoever gives another command.
    """
    if context.invoked_subcommand is not None:
        return
    from orchestrator.cli.console import console
    from orchestrator.cli.live import LiveRun
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.working import serve

    live = LiveRun(console(), as_json=as_json)
    with open_desk(inventory_folder(), observers=[live]) as desk, live.shown():
        serve(desk, dead_seconds=dead_seconds, on_up=_say_up(as_json=as_json), caretaker=caretaker)


def _say_up(*, as_json: bool) -> Callable[[str], None]:
    def say(where: str) -> None:
        from orchestrator.cli.words import print_json

        if as_json:
            print_json({"up": where})
        else:
            click.echo(f"this worker carries the runs of {where}; end it with SIGTERM or Ctrl-C")

    return say


@commands.command("list", epilog=exit_codes_of("EngineUnavailable"))
@JSON_OPTION
def list_(as_json: bool) -> None:
    """Who carries runs now, since when, how much of it is under way, and who took over from whom."""
    from orchestrator.cli.words import print_json
    from orchestrator.operations.working import worker_documents

    found = worker_documents()
    if as_json:
        print_json(found)
        return
    from orchestrator.cli.console import console, quiet, table

    out = console()
    if not found["workers"]:
        out.print(quiet("no worker; start one: skerry worker"))
    else:
        rows = [
            (
                each["worker"],
                each["started_at"],
                f"{each['silent_seconds']:g} s ago" if each["lives"] else f"silent for {each['silent_seconds']:g} s",
                str(each["deeds"]),
            )
            for each in found["workers"]
        ]
        out.print(table(("worker", "since", "last sign", ">deeds"), rows))
    for each in found["takeovers"]:
        out.print(quiet(f"{each['at']}  {each['by']} took {each['systems']} systems over from {each['dead']}"))
