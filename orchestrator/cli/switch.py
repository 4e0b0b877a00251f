"""skerry cutover, failover, failback, rollback, word: switch one system, bring it back, vouch for what nobody sees."""

from functools import partial
from typing import cast

import click

from orchestrator.cli.gate_door import BECAUSE_OPTION, SKIP_OPTION, doors
from orchestrator.cli.run import INTERRUPT_OPTION
from orchestrator.cli.words import JSON_OPTION, exit_codes_of

ENDS = exit_codes_of("ApprovalMissing", "ApprovalInvalid", "AuthorityError", "RunInProgress", "RunFailed", "RolledBack")
AS_OPTION = click.option(
    "--as", "operator", required=True, metavar="PERSON", help="Who runs it, by the id in people.yml."
)
SET_OPTION = click.option(
    "--set", "inputs", multiple=True, metavar="NAME=VALUE", help="A value for an input of the runbook; may be repeated."
)
HOLD_OPTION = click.option(
    "--hold", is_flag=True, help="Pause before the commit: then skerry commit, skerry rollback, or its deadline passes."
)
SYSTEM = click.argument("system")
Several = tuple[str, ...]  # of an option that may be repeated


@click.command("cutover", epilog=ENDS)
@click.argument("system", metavar="SYSTEM|DIGEST")
@AS_OPTION
@SET_OPTION
@HOLD_OPTION
@SKIP_OPTION
@BECAUSE_OPTION
@INTERRUPT_OPTION
@JSON_OPTION
def cutover(
    system: str, operator: str, inputs: Several, hold: bool, skipped: Several, because: str, on_interrupt: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Switch a replicated SYSTEM to the cloud, or back with --set from=cloud --set to=source.

    The first time the plan is made and its digest told, so that it can be approved; the same command then runs it.
    With the digest of a migration's plan: its third stage, from drain to watch; it pauses before the commit.
    """
    skip, goes_on = doors(skipped, because), on_interrupt == "go-on"
    if _is_system(system):
        carry_out("cutover", system, operator, inputs, hold=hold, skip=skip, goes_on=goes_on, as_json=as_json)
        return
    from orchestrator.cli import run

    run.carry_out(system, operator, "cutover", skip=skip, goes_on=goes_on, as_json=as_json)


@click.command("failback", epilog=ENDS)
@SYSTEM
@AS_OPTION
@SET_OPTION
@HOLD_OPTION
@SKIP_OPTION
@BECAUSE_OPTION
@INTERRUPT_OPTION
@JSON_OPTION
def failback(
    system: str, operator: str, inputs: Several, hold: bool, skipped: Several, because: str, on_interrupt: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Bring SYSTEM home from the cloud, with everything that was written there.

    The first time the plan is made and its digest told, so that it can be approved; the same command then runs it.
    """
    skip, goes_on = doors(skipped, because), on_interrupt == "go-on"
    carry_out("failback", system, operator, inputs, hold=hold, skip=skip, goes_on=goes_on, as_json=as_json)


@click.command("failover", epilog=ENDS)
@SYSTEM
@AS_OPTION
@SET_OPTION
@SKIP_OPTION
@BECAUSE_OPTION
@INTERRUPT_OPTION
@JSON_OPTION
def failover(
    system: str, operator: str, inputs: Several, skipped: Several, because: str, on_interrupt: str, as_json: bool
) -> None:
    """Let the cloud take over SYSTEM, whose source is lost.

    Besides the plan's approval it needs a named person's signed word that the lost side is down and stays down: skerry
    word SYSTEM --down source. The first time the plan is made and its digest told; the same command then runs it.
    """
    goes_on = on_interrupt == "go-on"
    carry_out("failover", system, operator, inputs, skip=doors(skipped, because), goes_on=goes_on, as_json=as_json)


@click.command("rollback", epilog=ENDS)
@click.argument("named", metavar="RUN|SYSTEM")
@AS_OPTION
@click.option("--because", default="", help="Why; it goes into the evidence. Asked for where a run is rolled back.")
@click.option("--yes", is_flag=True, help="Do not ask again once the account of writes is shown.")
@click.option("--without-record", is_flag=True, help="By a plan of its own, for a SYSTEM whose run is lost.")
@SET_OPTION
@SKIP_OPTION
@INTERRUPT_OPTION
@JSON_OPTION
def rollback(
    named: str,
    operator: str,
    because: str,
    yes: bool,
    without_record: bool,
    inputs: tuple[str, ...],
    skipped: tuple[str, ...],
    on_interrupt: str,
    as_json: bool,
) -> None:
    """Bring what RUN did to its systems, or the last run of SYSTEM, back to where it started.

    What only the new side holds is counted and shown first; it is carried home before the old side serves again, unless
    a named person accepts its loss: skerry word SYSTEM --accept-loss SIDE. Where the way back was broken off, or an
    inverse failed, the same command goes on.
    """
    goes_on = on_interrupt == "go-on"
    if without_record:
        carry_out("rollback", named, operator, inputs, skip=doors(skipped, because), goes_on=goes_on, as_json=as_json)
        return
    from orchestrator.cli.accounts import show_accounts
    from orchestrator.cli.asking import ensure_agreed
    from orchestrator.cli.console import console, print_json
    from orchestrator.cli.counting import counted
    from orchestrator.cli.live import LiveRun
    from orchestrator.foundation.errors import UsageError
    from orchestrator.foundation.printable import printable
    from orchestrator.operations.accounts import account_of
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.lost_sides import ensure_way_back
    from orchestrator.operations.rollback import complain_unless_back, loss_accepted, roll_back, run_to_roll_back

    if skipped:
        raise UsageError("inverses have no gates", hint="A gate is skipped with --without-record alone.")
    if not because.strip():
        raise UsageError("a rollback needs a reason", hint="Say why; it goes into the evidence: --because WHY")
    live = LiveRun(console(), as_json=as_json)
    with open_desk(inventory_folder(), observers=[live]) as desk:
        desk.goes_on = goes_on
        status, systems = run_to_roll_back(desk, named)
        ensure_way_back(desk, status, systems)
        counts = {system: partial(account_of, desk, status, system) for system in systems}
        accounts = counted(counts, as_json=as_json)
        show_accounts(accounts, as_json=as_json)
        words = [word for system in systems if (word := loss_accepted(desk, system))]
        if not as_json:
            for word in words:
                click.echo(
                    printable(f"{word.system}: these writes are GIVEN UP, on the word of {word.person}: {word.because}")
                )
            if not yes:
                kept = "Other writes" if words else "These writes"
                ensure_agreed(f"{kept} are carried back, then the old side serves again. Go?")
        live.expect(desk.runs.plan(status.run))
        with live.shown():
            status = roll_back(
                desk, status, systems, operator=operator, because=because, on_run=lambda run: live.say(f"run {run}")
            )
        if as_json:
            print_json(status.model_dump(mode="json"))
        else:
            for each in status.systems:
                click.echo(printable(f"{each.system}: {each.state.replace('_', ' ')}"))
        complain_unless_back(desk, status, systems)


@click.command("word", epilog=exit_codes_of("UsageError", "ApprovalInvalid"))
@SYSTEM
@click.option("--down", metavar="SIDE", help="This side is down, takes no writes, and will take none.")
@click.option("--accept-loss", metavar="SIDE", help="What was written at this side alone may be given up.")
@click.option("--as", "person", required=True, metavar="PERSON", help="Whose word it is, by the id in people.yml.")
@click.option("--role", help="In which role; may be left out where the person holds one role only.")
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    help="The person's SSH key: the private file, or the public one of a key that the agent holds.",
)
@click.option("--because", required=True, help="How you know, or why; it is signed with it.")
@click.option("--yes", is_flag=True, help="Do not ask again once it is shown what would be given up.")
@click.option("--hours", type=click.FloatRange(0.01, 168), default=12.0, help="For how long it is valid.")
@JSON_OPTION
def word(
    system: str,
    down: str | None,
    accept_loss: str | None,
    person: str,
    role: str | None,
    key_file: str,
    because: str,
    yes: bool,
    hours: float,
    as_json: bool,
) -> None:
    """Sign a word about a side of SYSTEM that no machine can see, or may decide; evidence keeps it when it is used.

    It is good until the right to write moves once, and no longer than --hours.
    """
    from datetime import timedelta

    from orchestrator.cli.accounts import account_lines
    from orchestrator.cli.asking import ensure_agreed
    from orchestrator.cli.console import print_json
    from orchestrator.cli.counting import counted
    from orchestrator.foundation.errors import UsageError
    from orchestrator.foundation.printable import printable
    from orchestrator.model.site import Side
    from orchestrator.operations.accounts import account_of_loss
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.switch import ensure_system, give_word

    named = down or accept_loss
    if not named or (down and accept_loss):
        raise UsageError("say one thing: --down SIDE, or --accept-loss SIDE")
    if named not in list(Side):
        raise UsageError(f"there is no side {named}; there are: {', '.join(Side)}")
    with open_desk(inventory_folder()) as desk:
        count = partial(account_of_loss, desk, ensure_system(desk, system), Side(named))
        account = {} if down else counted({system: count}, as_json=as_json)[system]
        if account and not as_json:
            for line in account_lines(account):
                click.echo(printable(f"{system}: {line}"))
            if not yes:
                ensure_agreed("This may be given up. Sign?")
        signed = give_word(
            desk,
            "side_is_down" if down else "loss_accepted",
            system=system,
            side=Side(named),
            person=person,
            role=role,
            key_file=key_file,
            because=because,
            account=account,
            valid_for=timedelta(hours=hours),
        )
    if as_json:
        print_json({"word": signed.model_dump(mode="json")})
        return
    what = "is down" if down else "may lose what only it holds"
    click.echo(f"{signed.person} ({signed.role}) says that {signed.side.value} of {signed.system} {what}")
    click.echo(f"good for fencing number {signed.number}, until {signed.expires_at}")


def _is_system(named: str) -> bool:
    from orchestrator.operations.estate import inventory_folder, read_estate

    return named in read_estate(inventory_folder()).systems


def carry_out(
    kind: str,
    system: str,
    operator: str,
    inputs: tuple[str, ...],
    *,
    skip: dict[str, str],
    as_json: bool,
    hold: bool = False,
    goes_on: bool = False,
) -> None:
    """Make the plan of this switch, or find it again, and run it once it is approved."""
    from orchestrator.cli.console import console
    from orchestrator.cli.live import LiveRun
    from orchestrator.cli.run import tell_end
    from orchestrator.cli.runbook_words import inputs_of
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.switch import Switch, run_switch, switch_plan

    live = LiveRun(console(), as_json=as_json)
    with open_desk(inventory_folder(), observers=[live]) as desk:
        desk.goes_on = goes_on
        switch = cast("Switch", kind)
        plan = switch_plan(desk, switch, system, author=operator, inputs=inputs_of(inputs))
        live.say(f"plan {plan.digest}")
        live.expect(plan)
        with live.shown():
            status = run_switch(
                desk,
                plan,
                kind=switch,
                operator=operator,
                on_run=lambda run: live.say(f"run {run} of {plan.digest}"),
                skip=skip,
                hold=hold,
            )
    tell_end(status, plan, caretaker=desk.caretaker, as_json=as_json)
