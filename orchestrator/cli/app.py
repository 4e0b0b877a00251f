"""The command `skerry`: finds the group that is meant, runs it, and turns errors into words and exit codes.

Nothing is imported before it is needed: `skerry --help` must answer at once.
"""

import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator import __version__
from orchestrator.foundation import errors

# name → (module below orchestrator.cli, its attribute, the line of --help). Adding a group is a file and a line.
GROUPS: dict[str, tuple[str, str, str]] = {
    "estate": ("estate", "commands", "Check and show the estate as people wrote it."),
    "survey": ("survey", "command", "Ask the hosts what they really are, and keep the answers as facts."),
    "runbook": ("runbook", "commands", "Check and show runbooks, and draw their graph."),
    "plan": ("plan", "commands", "Make, list and show plans: what will run, under one digest."),
    "approve": ("approve", "command", "Sign a plan's digest with an SSH key, or reject it."),
    "revoke": ("revoke", "command", "Take your approval of a plan back: its runs begin nothing more."),
    "run": ("run", "command", "Run an approved plan, all stages; one that was broken off goes on."),
    "replicate": ("replicate", "commands", "Keep DR up to date and say how far it is behind; stage 1 of a plan."),
    "seed": ("run", "seed", "Stage 2: the cloud from the DR replica."),
    "cutover": ("switch", "cutover", "Switch a replicated system; or stage 3 of a plan: from drain to watch."),
    "commit": ("commit", "commit", "Stage 4: the systems live at the cloud."),
    "snapshot": ("snapshot", "commands", "Recovery points of a system: list, show, hold, release, prune."),
    "verify": ("verify", "command", "Compare what every side holds with what was proved."),
    "rollback": ("switch", "rollback", "Bring back what a run did, from wherever it stands."),
    "failover": ("switch", "failover", "Let the cloud take over a system whose source is lost."),
    "failback": ("switch", "failback", "Bring a system home from the cloud, with everything written there."),
    "word": ("switch", "word", "Sign that a side is down, or that its writes may be given up."),
    "wave": ("wave", "commands", "Run waves, each after the one before passed its soak; decide at their gates."),
    "starts": ("starts", "command", "What may start in this boot of its hosts: see, permit, guard."),
    "gates": ("gates", "command", "All nine gates of a wave or a plan: asked, observed, decided by whom, until when."),
    "worker": ("worker", "commands", "Carry runs until stopped, beside workers on other machines; see who does."),
    "runs": ("runs", "commands", "See runs and their steps; ask one to roll back."),
    "drill": ("drill", "commands", "Drill systems on a schedule: what is due, what came of each time."),
    "serve": ("drill", "serve", "Begin every drill at its time, until Ctrl-C."),
    "state": ("state", "commands", "Copy the state into one file, and make a home of it on another machine."),
    "vault": ("vault", "commands", "A third copy of recovery points: encrypted, locked, verified by restoring it."),
    "cloud": ("cloud", "commands", "What is ours in the cloud, what nobody needs any more, and what it costs."),
    "evidence": ("evidence", "commands", "Verify, export and anchor the evidence of runs."),
    "witness": ("witness", "commands", "Vouch for other people's logs: cosign their heads, only when they grow."),
    "lab": ("lab", "commands", "A whole source, DR site and cloud on this machine, and the tour."),
}

FAULT_EXIT_CODE = 1


class LazyGroups(click.Group):
    """A group whose subcommands are imported when they are called; their help lines stand in `GROUPS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in GROUPS:
            return None
        module, attribute, _ = GROUPS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"orchestrator.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # click would offer names by importing every group; ours are known without.
        if args and args[0] not in GROUPS and not args[0].startswith("-"):
            from orchestrator.cli.words import near

            ctx.fail(f"there is no command {args[0]!r}{near(args[0], list(GROUPS))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in GROUPS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl(exit_code_families())


def exit_codes() -> list[tuple[str, str]]:
    """(code, meaning) of the error tree; where classes share a code, the widest speaks."""
    rows: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^\s*\w+\s+(\d+)\s*(.*)$", line)
        if match:
            meaning = re.sub(r"^retryable(: )?", "", match[2]).strip()
            rows[int(match[1])] = rows.get(int(match[1])) or meaning
    return [(str(code), meaning or "something else went wrong") for code, meaning in sorted(rows.items())]


def exit_code_families() -> list[tuple[str, str]]:
    """The tens of the error tree in one line each; `--exit-codes` prints them one by one."""
    meanings = dict(exit_codes())
    families: list[list[str]] = []
    for code in meanings:
        # Below ten stand single codes, not a family.
        if int(code) > 10 and families and int(code) == int(families[-1][-1]) + 1:
            families[-1].append(code)
        else:
            families.append([code])
    return [
        ("0", "as asked"),
        *((codes[0] if len(codes) == 1 else f"{codes[0]}-{codes[-1]}", meanings[codes[0]]) for codes in families),
    ]


def _print_exit_codes(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        for code, meaning in [("0", "as asked"), *exit_codes()]:
            click.echo(f"{code:>4}  {meaning}")
        ctx.exit(0)


@click.command(cls=LazyGroups, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where state lives; default $SKERRY_HOME, else $XDG_DATA_HOME/skerry.",
)
@click.option(
    "--inventory",
    type=click.Path(path_type=Path),
    help="The estate's folder; default $SKERRY_INVENTORY, else the lab's.",
)
@click.option(
    "--hosts",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read this file instead of the estate's hosts.yml; default $SKERRY_HOSTS.",
)
@click.option(
    "--database",
    metavar="URL",
    help="State that several machines share: postgresql://USER@HOST/NAME, never with its password; default "
    "$SKERRY_DATABASE, else a file in the home.",
)
@click.version_option(__version__, prog_name="skerry", message="%(prog)s %(version)s")
@click.option(
    "--exit-codes",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_exit_codes,
    help="List all of them.",
)
def skerry(home: Path | None, inventory: Path | None, hosts: Path | None, database: str | None) -> None:
    """Moves systems to the cloud in small waves, with their disaster-recovery replica as the stepping stone.

    In order: estate check · survey · plan make · approve · run · evidence verify. To see it all on this machine:
    skerry lab tour. Every command takes --json.
    """
    # The environment is how every part of skerry, and every process it starts, learns of these.
    for variable, value in (("SKERRY_HOME", home), ("SKERRY_INVENTORY", inventory), ("SKERRY_HOSTS", hosts)):
        if value is not None:
            os.environ[variable] = str(value.absolute())
    if database is not None:
        from orchestrator.foundation.database_name import VARIABLE, check_database

        os.environ[VARIABLE] = check_database(database)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is the error tree's. Never raises for what an operator can cause."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    output = sys.stdout
    try:
        # standalone_mode=False lets errors come to us; --help and --version come back as exit code 0.
        result = skerry.main(words, prog_name="skerry", standalone_mode=False)
        output.flush()
    except errors.OrchestratorError as error:
        return _complain(type(error).__name__, error.message, error.hint, error.exit_code, as_json=as_json)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"See: {context.command_path} --help" if context else "See: skerry --help"
        return _complain("UsageError", error.format_message(), hint, errors.UsageError.exit_code, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        stopped = errors.Interrupted("interrupted")
        return _complain("Interrupted", stopped.message, stopped.hint, stopped.exit_code, as_json=as_json)
    except SystemExit as stop:
        # click ends so, and wraps the output, when whoever read it is gone. That is no error of ours.
        return 0 if sys.stdout is not output or stop.code is None else int(stop.code)
    except BrokenPipeError:
        # The same, found at the last flush. Python would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        hint = "Look at that path: who owns it, its mode, and the space that is left."
        return _complain("OSError", f"{place}{error.strerror or error}", hint, FAULT_EXIT_CODE, as_json=as_json)
    except Exception as error:
        return _own_fault(error, as_json=as_json)
    return result if isinstance(result, int) else 0


def _complain(kind: str, message: str, hint: str, exit_code: int, *, as_json: bool) -> int:
    # What hosts and files say is quoted in messages; a terminal must show it and not obey it. JSON escapes by itself.
    if as_json:
        document: dict[str, Any] = {"error": kind, "exit_code": exit_code, "message": message, "hint": hint}
        problems = [found for line in message.splitlines() if (found := _as_problem(line))]
        if problems:
            document["problems"] = problems
        print(json.dumps(document), file=sys.stderr)
        return exit_code
    from orchestrator.foundation.printable import printable_lines

    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    click.echo(click.style("error: ", fg="red", bold=True) + printable_lines(message), err=True, color=colour)
    if hint:
        click.echo(click.style("hint:  ", fg="cyan") + printable_lines(hint), err=True, color=colour)
    return exit_code


def _as_problem(line: str) -> dict[str, Any] | None:
    """`file:line: what` taken apart."""
    match = re.match(r"^(.+?):(\d+): (.+)$", line)
    return {"file": match[1], "line": int(match[2]), "message": match[3]} if match else None


def _own_fault(error: Exception, *, as_json: bool) -> int:
    """An error that nobody foresaw is ours, not the operator's: keep the trace, say where."""
    from orchestrator.foundation.places import skerry_home

    trace = traceback.format_exc()
    kept = skerry_home() / "fault.txt"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(trace)
        hint = f"This is a fault of skerry. The trace is in {kept}; please report it."
    except OSError:
        print(trace, file=sys.stderr)
        hint = "This is a fault of skerry; please report the trace above."
    message = f"{type(error).__name__}: {error}"
    return _complain(type(error).__name__, message, hint, FAULT_EXIT_CODE, as_json=as_json)


if __name__ == "__main__":
    sys.exit(main())
