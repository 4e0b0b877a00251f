"""skerry commit: what only the new side holds is shown, then the systems live there."""

from functools import partial

import click

from orchestrator.cli.gate_door import BECAUSE_OPTION, SKIP_OPTION, doors
from orchestrator.cli.run import AS_OPTION, ENDS, tell_end
from orchestrator.cli.words import JSON_OPTION


@click.command("commit", epilog=ENDS)
@click.argument("named", metavar="DIGEST|RUN|SYSTEM")
@AS_OPTION
@click.option("--yes", is_flag=True, help="Do not ask again once the account of writes is shown.")
@SKIP_OPTION
@BECAUSE_OPTION
@JSON_OPTION
def commit(
    named: str, operator: str, yes: bool, skipped: tuple[str, ...], because: str, as_json: bool
) -> None:
    """Last stage: the systems live at the new side; from here the way back is a failback.

    What only the new side holds is counted and shown first. A watch that is under way ends with its round, also where
    another process carries the run; then that one commits.
    """
    from orchestrator.cli.accounts import show_accounts
    from orchestrator.cli.asking import ensure_agreed
    from orchestrator.cli.console import console, print_json
    from orchestrator.cli.counting import counted
    from orchestrator.cli.live import LiveRun
    from orchestrator.operations.accounts import account_of
    from orchestrator.operations.commit import commit as carry_out
    from orchestrator.operations.commit import plan_to_commit
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder

    live = LiveRun(console(), as_json=as_json)
    with open_desk(inventory_folder(), observers=[live]) as desk:
        plan, found = plan_to_commit(desk, named)
        if found is not None:
            counts = {each.system: partial(account_of, desk, found, each.system) for each in found.systems}
            accounts = counted(counts, as_json=as_json)
            show_accounts(accounts, as_json=as_json)
            if not yes and not as_json and any(accounts.values()):
                ensure_agreed("From the commit on, the way back is a failback. Go?")
        live.expect(plan)
        with live.shown():
            status, done = carry_out(
                desk,
                plan,
                found,
                operator=operator,
                skip=doors(skipped, because),
                on_run=lambda run: live.say(f"run {run} of plan {plan.digest}"),
            )
    if done:
        tell_end(status, plan, as_json=as_json)
    elif as_json:
        print_json(status.model_dump(mode="json"))
    else:
        click.echo(f"asked: the process that carries run {status.run} commits; see: skerry runs watch {status.run}")
