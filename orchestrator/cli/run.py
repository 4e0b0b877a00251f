"""skerry run, seed: carry out an approved plan, whole or stage by stage."""

from typing import Any, cast

import click

from orchestrator.cli.gate_door import BECAUSE_OPTION, SKIP_OPTION, doors
from orchestrator.cli.words import JSON_OPTION, exit_codes_of

ENDS = exit_codes_of("ApprovalMissing", "ApprovalInvalid", "RunInProgress", "RunFailed", "RolledBack")
DIGEST = click.argument("digest")
AS_OPTION = click.option(
    "--as", "operator", required=True, metavar="PERSON", help="Who runs it, by the id in people.yml."
)
INTERRUPT_OPTION = click.option(
    "--on-interrupt",
    type=click.Choice(["stop", "go-on"]),
    default="stop",
    show_default=True,
    help="What Ctrl-C means: the run rests until the same command, or goes on without this one.",
)


@click.command("run", epilog=ENDS)
@DIGEST
@AS_OPTION
@click.option("--detach", is_flag=True, help="Leave it to the workers (skerry worker), and return its id at once.")
@SKIP_OPTION
@BECAUSE_OPTION
@INTERRUPT_OPTION
@JSON_OPTION
def command(
    digest: str,
    operator: str,
    detach: bool,
    skipped: tuple[str, ...],
    because: str,
    on_interrupt: str,
    as_json: bool,
) -> None:
    """Run the plan DIGEST on its hosts, every system of the wave, in this process.

    After Ctrl-C or a crash the run rests where it is: what ran is recorded, and the same command goes on. With
    --on-interrupt go-on it goes on in the background. Steps of a run are watched live; see them later with: skerry
    runs show RUN.
    """
    if detach and skipped:
        from orchestrator.foundation.errors import UsageError

        hint = "Hand the run over, then: skerry runs ask skip_gate RUN --step GATE --as PERSON --because WHY"
        raise UsageError("a run that is handed over begins without doors round its gates", hint=hint)
    if detach:
        hand_over(digest, operator, as_json=as_json)
    else:
        doors_asked = doors(skipped, because)
        carry_out(digest, operator, "", skip=doors_asked, goes_on=on_interrupt == "go-on", as_json=as_json)


def hand_over(digest: str, operator: str, *, as_json: bool) -> None:
    """Submit the plan for the workers."""
    from orchestrator.cli.words import print_json
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.plan import find_plan

    with open_desk(inventory_folder()) as desk:
        run = desk.hand_over(find_plan(desk.catalogue, digest), operator=operator, kind="migrate")
    if as_json:
        print_json({"run": run})
    else:
        click.echo(f"run {run} waits for a worker; watch it with: skerry runs watch {run}")


@click.command("seed", epilog=ENDS)
@DIGEST
@AS_OPTION
@SKIP_OPTION
@BECAUSE_OPTION
@JSON_OPTION
def seed(digest: str, operator: str, skipped: tuple[str, ...], because: str, as_json: bool) -> None:
    """Second stage of the plan DIGEST: the cloud from the DR replica, production untouched; pauses."""
    carry_out(digest, operator, "seed", skip=doors(skipped, because), as_json=as_json)



def carry_out(
    digest: str,
    operator: str,
    stage: str,
    *,
    skip: dict[str, str] | None = None,
    kind: str = "migrate",
    goes_on: bool = False,
    as_json: bool,
) -> None:
    """Run or go on, to the end of `stage`, earlier stages included; "" runs everything that is left.

    `goes_on`: also when it is interrupted, by another process then.
    """
    from orchestrator.cli.console import console
    from orchestrator.cli.live import LiveRun
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.migrate import Stage
    from orchestrator.operations.plan import find_plan

    live = LiveRun(console(), as_json=as_json)
    with open_desk(inventory_folder(), observers=[live]) as desk:
        desk.goes_on = goes_on
        plan = find_plan(desk.catalogue, digest)
        live.expect(plan)
        with live.shown():
            status = desk.run(
                plan,
                operator=operator,
                kind=kind,
                on_run=lambda run: live.say(f"run {run} of plan {plan.digest}"),
                stage=cast("Stage", stage) if stage else None,
                skip=skip,
            )
    tell_end(status, plan, caretaker=desk.caretaker, as_json=as_json)


def tell_caretaker(process: int) -> None:
    """Who goes on with what waits, where somebody was left behind for that."""
    if process:
        click.echo(f"process {process} keeps the way back open until the commit, and takes it at the deadline")


def tell_end(status: Any, plan: Any, *, caretaker: int = 0, as_json: bool) -> None:
    """Print what a run (RunStatus) of `plan` came to, and raise what that means for the exit code."""
    from orchestrator.cli.console import print_json
    from orchestrator.cli.runs import due_text
    from orchestrator.foundation.printable import printable
    from orchestrator.operations.deadlines import with_deadlines
    from orchestrator.operations.migrate import complain

    document = with_deadlines(status.model_dump(mode="json"), lambda: plan.model_dump(mode="json"))
    if as_json:
        print_json(document)
    else:
        for system in document["systems"]:
            why = f" ({system['reason']})" if system["reason"] else ""
            # The engine has one word for what went well to the end; a drill commits to nothing.
            state = "passed" if (status.kind, system["state"]) == ("drill", "committed") else system["state"]
            click.echo(printable(f"{system['system']}: {state.replace('_', ' ')}{why}"))
            if system["due"]:
                click.echo(printable(f"{system['system']}: {due_text(system)}"))
        if any(system["due"] for system in document["systems"]):
            named = status.run if len(status.systems) > 1 else status.systems[0].system
            click.echo(f"next: skerry commit {named} --as PERSON, or skerry rollback {named} --as PERSON --because WHY")
        tell_caretaker(caretaker)
    complain(status)
