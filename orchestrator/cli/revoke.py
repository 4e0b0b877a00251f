"""skerry revoke: a person takes their approval of a plan back."""

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.command("revoke", epilog=exit_codes_of("UsageError", "ApprovalInvalid", "EvidenceError"))
@click.argument("digest")
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    help="The person's SSH key: the private file, or the public one of a key that the agent holds.",
)
@click.option("--as", "person", required=True, metavar="PERSON", help="Whose approval, by the id in people.yml.")
@click.option("--role", help="Only the approval in this role; default all of theirs.")
@click.option("--because", required=True, help="Why; it is signed with it and stands in the log.")
@JSON_OPTION
def command(digest: str, key_file: str, person: str, role: str | None, because: str, as_json: bool) -> None:
    """Take PERSON's approval of the plan DIGEST (or its first digits) back, signed with their SSH key.

    A plan that needs it cannot be started any more. Runs of it pause: what is under way ends, nothing more begins, the
    way back stays open. Approving again lets them go on.
    """
    from orchestrator.cli.console import print_json
    from orchestrator.cli.plan_show import show_standing
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.plan import find_plan

    with open_desk(inventory_folder()) as desk:
        plan = find_plan(desk.catalogue, digest)
        done = desk.revoke(plan, person=person, role=role, key_file=key_file, because=because)
        standing = desk.standing(plan)
    if as_json:
        print_json({**done.model_dump(mode="json"), "standing": standing.model_dump(mode="json")})
        return
    for word in done.words:
        click.echo(f"{person} ({word.statement.role}) takes the approval of {plan.digest} back")
    for run in done.paused:
        click.echo(f"run {run} was asked to pause; take it back with: skerry runs ask rollback {run}")
    if done.on_record == "later":
        click.echo("another process writes to the ledger now: its worker puts this on record")
    show_standing(standing)
