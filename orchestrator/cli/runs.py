"""skerry runs: what ran and what runs, step by step; and what a person asks of a run."""

from datetime import UTC, datetime
from typing import Any

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of
from orchestrator.contracts.requests import ASKED_ALONE

_STUCK = ("failed", "rollback_failed")
SYSTEMS_NAMED_MAX = 8  # of one run in a list

@click.group("runs", invoke_without_command=True)
@JSON_OPTION
@click.pass_context
def commands(context: click.Context, as_json: bool) -> None:
    """See runs and their steps; ask one to roll back. Without a subcommand: list."""
    if context.invoked_subcommand is None:
        context.invoke(list_, as_json=as_json)


@commands.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20)
@JSON_OPTION
def list_(limit: int, as_json: bool) -> None:
    """The newest runs, newest first."""
    from orchestrator.cli.words import print_json
    from orchestrator.operations.reading import run_documents

    runs = [without_steps(run) for run in run_documents(limit=limit)]
    if as_json:
        print_json({"runs": runs})
        return
    from orchestrator.cli.console import console, table

    rows = [
        (run["run"], run["wave"], run["kind"], run["operator"], run["created_at"], states_text(run["systems"]))
        for run in runs
    ]
    console().print(table(("run", "wave", "kind", "by", "since", "systems"), rows))


def without_steps(run: dict[str, Any]) -> dict[str, Any]:
    """A run in short: its systems and their states."""
    systems = [{key: value for key, value in system.items() if key != "steps"} for system in run["systems"]]
    return {**run, "systems": systems}


def states_text(systems: list[dict[str, Any]]) -> str:
    """Each system with its state; of many, how many are in each."""
    if len(systems) <= SYSTEMS_NAMED_MAX:
        return "; ".join(f"{system['system']} {system['state']}" for system in systems)
    counts: dict[str, int] = {}
    for system in systems:
        counts[system["state"]] = counts.get(system["state"], 0) + 1
    return "; ".join(f"{count} {state}" for state, count in counts.items())


@commands.command("show", epilog=exit_codes_of("UsageError"))
@click.argument("run")
@JSON_OPTION
def show(run: str, as_json: bool) -> None:
    """Every step of RUN, forward and backward, with what was observed."""
    from orchestrator.cli.words import print_json
    from orchestrator.operations.reading import dated_run_document
    from orchestrator.wiring.state import nobody_carries

    status = dated_run_document(run)
    if as_json:
        print_json(status)
        return
    from orchestrator.cli.console import bad, console, good, heading, quiet, table
    from orchestrator.foundation.printable import printable

    out = console()
    about = f"wave {status['wave']}, by {status['operator']}, {status['state']}"
    out.print(heading(f"run {status['run']}"), quiet(about))
    out.print(quiet(f"plan {status['plan']}"))
    for system in status["systems"]:
        out.print(heading(f"\n{system['system']}"), f"{system['state'].replace('_', ' ')} {system['reason']}")
        if system["due"]:
            out.print(quiet(due_text(system)), soft_wrap=True)
        rows = [
            (
                ("↩ " if step["mode"] == "undo" else "") + step["step"],
                good("passed") if step["result"] == "passed" else bad(str(step["result"] or step["state"])),
                f"{_seconds(step):.2f} s",
                str(step["attempts"]),
                _what(step),
            )
            for step in system["steps"]
        ]
        out.print(table(("step", "result", ">time", ">tries", "what"), rows))
        for step in system["steps"]:
            if step["state"] in ("failed", "unknown") and step["hint"]:
                out.print(printable(f"{step['step']}: {step['hint']}"), soft_wrap=True)
    on = _ways_on(status)
    for line in on:
        out.print()
        out.print(printable(line), soft_wrap=True)
    if status["state"] == "running" and not on and nobody_carries():
        out.print(quiet("\nnobody carries it now: it goes on with the command that began it, or with: skerry worker"))


def _ways_on(run: dict[str, Any]) -> list[str]:
    """How each system goes on that stands at what failed."""
    if not any(system["state"] in _STUCK and not system["over"] for system in run["systems"]):
        return []
    from orchestrator.contracts.engine import RunStatus
    from orchestrator.operations.migrate import ways_on

    systems = [{key: value for key, value in system.items() if key != "due"} for system in run["systems"]]
    stuck = RunStatus.model_validate({**run, "systems": systems}).systems
    return [line for system in stuck if not system.over and (line := ways_on(run["run"], system))]


def due_text(system: dict[str, Any]) -> str:
    """By when a system must be committed, or whatever else has a deadline."""
    due = system["due"]
    passed = datetime.fromisoformat(due["at"]) < datetime.now(UTC)
    what = "that has passed: whoever carries it next rolls everything back" if passed else "else all is rolled back"
    return f"{due['step']} by {due['at']}, {what}"


def _seconds(step: dict[str, Any]) -> float:
    """How long a step took or, under way or waiting, since when it is so."""
    if step["finished_at"]:
        return float(step["seconds"])
    return (datetime.now(UTC) - datetime.fromisoformat(step["started_at"])).total_seconds()


def _what(step: dict[str, Any]) -> str:
    """What came of a step; of one under way, what it moves or waits for, and how an attempt before this one failed."""
    from orchestrator.cli.live import progress_text
    from orchestrator.contracts.progress import Progress

    if step["state"] != "started":
        return str(step["message"])
    doing = progress_text(Progress.model_validate(step["doing"])) if step["doing"] else "under way"
    return f"{doing}; attempt {step['attempts'] - 1}: {step['message']}" if step["message"] else doing


@commands.command("watch", epilog=exit_codes_of("UsageError", "RunFailed", "RolledBack"))
@click.argument("run")
@JSON_OPTION
def watch(run: str, as_json: bool) -> None:
    """Follow RUN, whoever carries it, until it is at rest. Ctrl-C ends the watching and not the run."""
    from orchestrator.cli.live import step_line
    from orchestrator.cli.words import print_json
    from orchestrator.operations.migrate import complain
    from orchestrator.operations.watching import followed

    status: dict[str, Any] = {}
    for seen, changes in followed(run):
        status = seen
        if as_json:
            for change in changes:
                print_json({"step": change})
            continue
        for change in changes:
            click.echo(step_line(change))
    if as_json:
        print_json(status)
    else:
        click.echo(states_text(status["systems"]))
    from orchestrator.contracts.engine import RunStatus

    complain(RunStatus.model_validate(status))


@commands.command("ask", epilog=exit_codes_of("UsageError", "GateClosed"))
@click.argument("operation", type=click.Choice(ASKED_ALONE))
@click.argument("run")
@click.option("--system", default="", help="One system of the run; default all of them.")
@click.option("--step", default="", help="The step that is meant; for skip_gate the gate.")
@click.option("--as", "by", required=True, metavar="PERSON", help="Who asks, by the id in people.yml.")
@click.option("--because", required=True, help="Why; it goes into the evidence.")
@JSON_OPTION
def ask(operation: str, run: str, system: str, step: str, by: str, because: str, as_json: bool) -> None:
    """Ask something of RUN: roll back, pause, confirm a step. The worker that carries the run obeys.

    Where no worker runs, the request waits for the next: skerry run DIGEST.
    """
    from orchestrator.cli.console import print_json
    from orchestrator.operations.status import ask_run

    asked: dict[str, Any] = {"run": run, "system": system, "operation": operation, "step": step, "by": by}
    ask_run(run, system, operation, by=by, reason=because, step=step)
    if as_json:
        print_json(asked)
    else:
        click.echo(f"asked: {operation} of {system or 'every system'} in {run}")
