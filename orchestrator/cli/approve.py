"""skerry approve: a person's signed word over a plan's digest."""

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.command("approve", epilog=exit_codes_of("UsageError", "ApprovalInvalid"))
@click.argument("digest")
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    help="The person's SSH key: the private file, or the public one of a key that the agent holds.",
)
@click.option("--as", "person", required=True, metavar="PERSON", help="Who approves, by the id in people.yml.")
@click.option("--role", help="In which role; may be left out where the person holds one role only.")
@click.option("--reject", is_flag=True, help="Say no: it closes the plan until the same person approves.")
@click.option("--comment", default="", help="Words that are signed with it.")
@click.option("--change-ticket", default="", metavar="NUMBER", help="The change it belongs to; signed with it.")
@click.option(
    "--max-runs", type=click.IntRange(0), default=0, help="How many runs it is for; 0: as many as begin in its time."
)
@click.option("--days", type=click.FloatRange(0.001, 90), default=7.0, help="For how long it is valid.")
@JSON_OPTION
def command(
    digest: str,
    key_file: str,
    person: str,
    role: str | None,
    reject: bool,
    comment: str,
    change_ticket: str,
    max_runs: int,
    days: float,
    as_json: bool,
) -> None:
    """Sign the plan DIGEST (or its first digits) with an SSH key, so that it may run.

    The key is used by ssh-keygen or the agent and never read here. Whoever made a plan cannot approve it, nor can who
    runs it.
    """
    from datetime import timedelta

    from orchestrator.cli.console import print_json
    from orchestrator.cli.plan_show import show_standing
    from orchestrator.foundation.errors import UsageError
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.plan import find_plan

    with open_desk(inventory_folder()) as desk:
        plan = find_plan(desk.catalogue, digest)
        held = desk.inventory.people[person].roles if person in desk.inventory.people else ()
        if role is None and len(held) > 1:
            raise UsageError(f"{person} holds several roles: {', '.join(held)}", hint="Say which: --role ROLE")
        signed = desk.approve(
            plan,
            person=person,
            role=role or (held[0] if held else "none"),
            key_file=key_file,
            decision="reject" if reject else "approve",
            comment=comment,
            change_ticket=change_ticket,
            max_runs=max_runs,
            valid_for=timedelta(days=days),
        )
        standing = desk.standing(plan)
    if as_json:
        print_json({"approval": signed.model_dump(mode="json"), "standing": standing.model_dump(mode="json")})
        return
    word = signed.statement
    click.echo(f"{word.person} ({word.role}) {'rejects' if reject else 'approves'} {plan.digest}")
    click.echo(f"signed with {signed.key_fingerprint}")
    show_standing(standing)
