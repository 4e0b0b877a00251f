"""skerry drill exercise: tabletops and walkthroughs, led step by step from a runbook, and put on record."""

import json
from pathlib import Path
from typing import Any, cast

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of

FILE = click.Path(path_type=Path, dir_okay=False)
KIND = click.Choice(["tabletop", "walkthrough"])


@click.group("exercise")
def commands() -> None:
    """Talk a runbook over, step by step: no host is touched, and what people say is on record like any run."""


@commands.command("plan", epilog=exit_codes_of("UsageError", "InventoryError", "PlanningError"))
@click.argument("runbook")
@click.option("--kind", type=KIND, default="tabletop", help="What is exercised.")
@click.option("--system", "systems", multiple=True, required=True, help="Which systems it is about; more than one may.")
@click.option("--as", "author", required=True, metavar="PERSON", help="Who makes the plan, by the id in people.yml.")
@JSON_OPTION
def plan(runbook: str, kind: str, systems: tuple[str, ...], author: str, as_json: bool) -> None:
    """Make the plan of an exercise over RUNBOOK (a shipped one by its name, or a file); people approve it."""
    from orchestrator.cli.plan_show import plan_as_data, show_plan
    from orchestrator.cli.runbook_words import runbook_file
    from orchestrator.cli.words import print_json
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.exercise import ExerciseKind, plan_exercise
    from orchestrator.operations.survey import newest_facts

    with open_desk(inventory_folder()) as desk:
        made = plan_exercise(
            desk,
            runbook_file(runbook),
            kind=cast("ExerciseKind", kind),
            systems=systems,
            author=author,
            facts=newest_facts(desk.inventory, desk.catalogue),
        )
    if as_json:
        print_json(plan_as_data(made))
    else:
        show_plan(made)


@commands.command("lead", epilog=exit_codes_of("UsageError", "GateClosed", "RunInProgress", "RunFailed"))
@click.argument("digest")
@click.option("--as", "operator", required=True, metavar="PERSON", help="Who leads, by the id in people.yml.")
@click.option("--answers", type=FILE, help="A file with a line for each step: STEP: yes, or what is in doubt.")
@click.option("--findings", type=FILE, help="Write the doubts here, in the form that a review takes.")
@JSON_OPTION
def lead(digest: str, operator: str, answers: Path | None, findings: Path | None, as_json: bool) -> None:
    """Put the steps of the approved plan DIGEST to the people, one by one: here, or by a file of answers.

    A doubt does not end the exercise: it becomes a finding. Give it an action, an owner and a date in the file of
    --findings, then: skerry evidence review RUN --findings FILE. It is closed by the review of a later drill alone.
    """
    from orchestrator.cli.words import print_json
    from orchestrator.foundation.atomic_file import replace_file
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.exercise import answers_in
    from orchestrator.operations.exercise import lead as lead_exercise
    from orchestrator.operations.migrate import complain
    from orchestrator.operations.plan import find_plan

    with open_desk(inventory_folder()) as desk:
        found = find_plan(desk.catalogue, digest)
        answer = answers_in(answers) if answers is not None else _ask
        status, doubts = lead_exercise(desk, found, operator=operator, answer=answer)
    told = [each.model_dump(mode="json") for each in doubts]
    if findings is not None:
        replace_file(findings, json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n", mode=0o644)
    if as_json:
        print_json({"run": status.run, "kind": status.kind, "findings": told})
    else:
        click.echo(f"run {status.run}: {len(told)} of its steps are in doubt")
        for each in doubts:
            click.echo(f"  {each.id}  {each.text}")
    complain(status)


def _ask(asked: Any) -> Any:
    """At the terminal."""
    from orchestrator.operations.exercise import Answer

    click.echo(f"\n{asked.system}: {asked.title}\n  {asked.text}")
    for criterion in asked.success_criteria:
        click.echo(f"  done when: {criterion}")
    works = click.confirm("Would it do?", default=True)
    comment = click.prompt("What is said" if works else "What is in doubt", default="", show_default=False)
    return Answer(works=works, comment=comment)
