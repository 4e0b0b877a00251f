"""skerry runbook: check, show and draw what a person wrote down once."""

import sys
from pathlib import Path

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of

RUNBOOK_ARGUMENT = click.argument("runbook", default="migrate", metavar="[NAME|FILE]")


@click.group("runbook")
def commands() -> None:
    """Check and show runbooks, and draw their graph. NAME is a shipped runbook; migrate where none is named."""


@commands.command("check", epilog=exit_codes_of("RunbookError"))
@RUNBOOK_ARGUMENT
@JSON_OPTION
def check(runbook: str, as_json: bool) -> None:
    """Read a runbook; every problem is told with file and line."""
    from orchestrator.cli.console import print_json
    from orchestrator.cli.runbook_words import runbook_file
    from orchestrator.operations.plan import read_runbook

    file = runbook_file(runbook)
    found = read_runbook(file)
    back = sum(step.inverse.action is not None for step in found.steps)
    if as_json:
        document = {"runbook": found.id, "version": found.version, "file": str(file), "digest": found.digest}
        print_json({**document, "steps": len(found.steps), "steps_with_inverse": back})
        return
    click.echo(f"{file} is well formed: {found.id} {found.version}, {len(found.steps)} steps, {back} with a way back")
    click.echo(f"digest {found.digest}")


@commands.command("show", epilog=exit_codes_of("RunbookError"))
@RUNBOOK_ARGUMENT
@JSON_OPTION
def show(runbook: str, as_json: bool) -> None:
    """Show a runbook's steps, gates and ways back."""
    from orchestrator.cli.console import console, heading, print_json, quiet, table
    from orchestrator.cli.plan_show import step_rows
    from orchestrator.cli.runbook_words import runbook_file
    from orchestrator.operations.plan import read_runbook

    found = read_runbook(runbook_file(runbook))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    screen = console()
    screen.print(heading(f"{found.id} {found.version}: {found.title}"))
    for name, given in found.inputs.items():
        screen.print(quiet(f"input {name} = {given.default}  {given.about}"))
    screen.print()
    screen.print(table(("phase", "step", "what", "gate", "way back", ">limit"), step_rows(found.steps)))


@commands.command("graph", epilog=exit_codes_of("RunbookError"))
@RUNBOOK_ARGUMENT
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), help="Write a picture to this file; - is stdout."
)
@JSON_OPTION
def graph(runbook: str, svg: Path | None, as_json: bool) -> None:
    """Draw what waits for what: in the terminal, or as SVG."""
    from orchestrator.cli.console import console, print_json
    from orchestrator.cli.graph import graph_as_data, graph_as_svg, graph_as_text
    from orchestrator.cli.runbook_words import runbook_file
    from orchestrator.operations.plan import read_runbook

    found = read_runbook(runbook_file(runbook))
    if svg is not None:
        picture = graph_as_svg(found)
        if str(svg) == "-":
            sys.stdout.write(picture)
        else:
            _write(svg, picture)
    if as_json:
        print_json(graph_as_data(found))
    elif svg is None:
        console().print(graph_as_text(f"{found.id} {found.version}", found.steps))


def _write(path: Path, text: str) -> None:
    from orchestrator.foundation.errors import UsageError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="Name a file in a folder that is yours.",
        ) from error


@commands.command("schema")
@JSON_OPTION
def schema(as_json: bool) -> None:
    """Print the JSON Schema of runbook files, for editors that check while one writes."""
    import json

    from orchestrator.planning.runbook import runbook_schema

    click.echo(json.dumps(runbook_schema(), indent=None if as_json else 2))
