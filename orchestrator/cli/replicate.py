"""skerry replicate: rounds source → DR outside of runs, how far DR is behind, metrics; and stage 1 of a plan."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.durations import DURATION
from orchestrator.cli.run import AS_OPTION, DIGEST, ENDS, carry_out
from orchestrator.cli.words import JSON_OPTION, exit_codes_of

_DIGEST_WORD = re.compile(r"(sha256:)?[0-9a-f]{6,64}")
SYSTEMS = click.argument("systems", nargs=-1)
FRESH_SECONDS = 15.0  # a progress that is older is of a round that ended


class PlanDigestToo(click.Group):
    """`skerry replicate DIGEST` is `skerry replicate stage DIGEST`, as it was before there were subcommands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = any(word in self.commands for word in args)
        if not named and any(_DIGEST_WORD.fullmatch(word) for word in args):
            args = ["stage", *args]
        return super().parse_args(ctx, args)


@click.group("replicate", cls=PlanDigestToo)
def commands() -> None:
    """Keep DR up to date outside of runs, and say how far it is behind. With a DIGEST: stage 1 of that plan."""


@commands.command("stage", epilog=ENDS)
@DIGEST
@AS_OPTION
@JSON_OPTION
def stage(digest: str, operator: str, as_json: bool) -> None:
    """First stage of the plan DIGEST: source → DR, a recovery point over all datasets; then the run pauses."""
    carry_out(digest, operator, "replicate", as_json=as_json)


@commands.command(
    "run",
    epilog=exit_codes_of("RunInProgress", "AuthorityError", "SourceShrank", "DigestMismatch", "HostUnreachable"),
)
@SYSTEMS
@click.option("--all", "every_system", is_flag=True, help="Every system of the estate.")
@click.option("--once", is_flag=True, help="One round, then end; this is the default.")
@click.option("--every", type=DURATION, metavar="TIME", help="A round at this beat, until stopped: 5m.")
@click.option("--wait", type=DURATION, default=0.0, metavar="TIME", help="Wait so long for a run to end.")
@click.option("--accept-shrinkage", multiple=True, metavar="DATASET", help="This dataset is meant to have shrunk.")
@click.option("--because", default="", help="Why a dataset may shrink; it goes into the evidence.")
@click.option("--keep-points", is_flag=True, help="Remove no recovery point afterwards, whatever the policy says.")
@AS_OPTION
@JSON_OPTION
def run(
    systems: tuple[str, ...],
    every_system: bool,
    once: bool,
    every: float | None,
    wait: float,
    accept_shrinkage: tuple[str, ...],
    because: str,
    keep_points: bool,
    operator: str,
    as_json: bool,
) -> None:
    """Rounds of SYSTEMS: copy what changed to DR, hold a recovery point at both, prove it, let old points go.

    A system that a run holds is refused; so is a source that has shrunk so much that a copy would empty its replica.
    """
    from orchestrator.cli.console import console, print_json
    from orchestrator.cli.under_way import under_way
    from orchestrator.cli.unhurried import unhurried_output
    from orchestrator.foundation.errors import OrchestratorError, UsageError
    from orchestrator.model.replication import Round
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.points import PruneDecision
    from orchestrator.operations.replication import Override
    from orchestrator.operations.standing import complain_of_rounds, repeat, run_rounds, systems_named

    if once and every is not None:
        raise UsageError("say --once or --every, not both")
    if accept_shrinkage and not because.strip():
        raise UsageError("--accept-shrinkage wants a reason", hint="Say why: --because TEXT stands in the evidence.")
    screen = console()

    def tell(round_: Round, removed: PruneDecision | None) -> None:
        if as_json:
            gone = list(removed.remove) if removed else []
            print_json({"round": round_.model_dump(mode="json"), "points_removed": gone})
            return
        screen.print(_round_text(round_))
        for point in removed.remove if removed else ():
            screen.print(f"  let go of {point}")

    with open_desk(inventory_folder()) as desk, unhurried_output(as_json=as_json):
        names = systems_named(desk, systems, every=every_system)
        if operator not in desk.inventory.people:
            raise UsageError(f"nobody in people.yml is called {operator}")

        def rounds() -> list[Round]:
            with under_way(screen, shown=not as_json) as show:
                return run_rounds(
                    desk,
                    names,
                    by=operator,
                    override=Override(frozenset(accept_shrinkage), because),
                    wait_seconds=wait,
                    prune=not keep_points,
                    tell=show,
                    on_round=tell,
                )

        def trouble(error: OrchestratorError) -> None:
            if as_json:
                print_json({"error": type(error).__name__, "exit_code": error.exit_code, "message": error.message})
            else:
                click.echo(f"error: {error.message}; tried again at the next beat", err=True)

        if every is None:
            complain_of_rounds(rounds())
        else:
            repeat(desk, every, lambda: complain_of_rounds(rounds()), trouble)


@commands.command("status", epilog=exit_codes_of("ReplicaLagging", "DigestMismatch", "HostUnreachable"))
@SYSTEMS
@click.option("--ask", is_flag=True, help="Ask the hosts first; without it, what is remembered is told.")
@JSON_OPTION
def status(systems: tuple[str, ...], ask: bool, as_json: bool) -> None:
    """How far each dataset's replica is behind, and whether that meets its recovery point objective.

    Without SYSTEMS: all. For monitors: the exit code is 35 where an objective is missed, 31 where a replica was found
    damaged.
    """
    from orchestrator.cli.console import console, print_json
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.lag import complain_of_lag
    from orchestrator.operations.standing import ask_hosts, lag_now, systems_named

    with open_desk(inventory_folder()) as desk:
        names = systems_named(desk, systems, every=not systems)
        if ask:
            ask_hosts(desk, names, trees_too=True)
        told = lag_now(desk, names)
        size = desk.replication.size()
    if as_json:
        rows = [each.model_dump(mode="json") for each in told]
        print_json({"met": all(each.met for each in told), "systems": rows, "history": size.model_dump(mode="json")})
    else:
        screen = console()
        screen.print(lag_table(told))
        screen.print(f"history: {size.samples} samples, {size.rounds} rounds, about {size.bytes_about // 1024} KiB")
    complain_of_lag(told)


@commands.command("watch", epilog=exit_codes_of("UsageError"))
@SYSTEMS
@click.option("--every", type=DURATION, default=2.0, metavar="TIME", help="How often to look. Default: 2s.")
@click.option("--count", type=click.IntRange(0), default=0, help="End after so many looks; 0 goes on until stopped.")
@JSON_OPTION
def watch(systems: tuple[str, ...], every: float, count: int, as_json: bool) -> None:
    """Lag of each dataset, live, and rate and time left of the round under way. Databases are asked each time."""
    from orchestrator.cli.console import console, print_json
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.standing import ask_hosts, lag_now, pace_of, systems_named

    screen = console()
    with open_desk(inventory_folder()) as desk:
        names = systems_named(desk, systems, every=not systems)
        looks = 0
        while True:
            ask_hosts(desk, names, trees_too=False)
            told = lag_now(desk, names)
            paces = [pace for name in names if (pace := pace_of(desk, name, fresh_seconds=FRESH_SECONDS))]
            if as_json:
                rows = [each.model_dump(mode="json") for each in told]
                print_json({"systems": rows, "under_way": [each.model_dump(mode="json") for each in paces]})
            else:
                if screen.is_terminal:
                    screen.clear()
                screen.print(lag_table(told))
                for pace in paces:
                    screen.print(_pace_text(pace))
            looks += 1
            if looks == count:
                return
            desk.clock.sleep(every)


@commands.command("history", epilog=exit_codes_of("UsageError"))
@SYSTEMS
@click.option("--since", type=DURATION, default=86400.0, metavar="TIME", help="How far back: 7d. Default: 1d.")
@JSON_OPTION
def history(systems: tuple[str, ...], since: float, as_json: bool) -> None:
    """How far each dataset was behind over time, the worst of each stretch, and how rounds ended. Asks no host.

    Without SYSTEMS: all. Times are UTC.
    """
    from orchestrator.cli.console import console, print_json
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.lag_past import lag_past
    from orchestrator.operations.standing import systems_named

    with open_desk(inventory_folder()) as desk:
        names = systems_named(desk, systems, every=not systems)
        past = lag_past(desk.inventory, desk.replication, desk.clock.now(), systems=names, seconds=since)
    if as_json:
        print_json(past.model_dump(mode="json"))
        return
    screen = console()
    screen.print(past_table(past.datasets))
    ended = Counter(each.result.replace("_", " ") for each in past.rounds)
    told = ", ".join(f"{count} {result}" for result, count in ended.most_common())
    screen.print(f"rounds since {past.since}: {told or 'none'}")
    for round_ in past.rounds:
        if round_.result not in ("passed", "running"):
            screen.print(_round_text(round_))


@commands.command("metrics")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write this file, whole; else print.")
@JSON_OPTION
def metrics(output: Path | None, as_json: bool) -> None:
    """What is remembered of replication as OpenMetrics text: for Prometheus, or node_exporter's textfile collector.

    With --output the file appears whole. Its name must end with .prom for the collector to read it.
    """
    from orchestrator.cli.console import print_json
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.standing import metrics_text, write_metrics

    with open_desk(inventory_folder()) as desk:
        if output is None:
            text = metrics_text(desk)
            if as_json:
                print_json({"text": text})
            else:
                click.echo(text, nl=False)
            return
        size = write_metrics(desk, output)
    if as_json:
        print_json({"path": str(output), "bytes": size})
    else:
        click.echo(f"{output}: {size} bytes")


def lag_table(systems: Any) -> Any:
    """One row for each dataset."""
    from orchestrator.cli.console import bad, good, quiet, table
    from orchestrator.foundation.amounts import seconds_text

    rows: list[tuple[Any, ...]] = []
    for system in systems:
        if not system.replicated:
            rows.append((system.system, quiet(f"lives at {system.authority.value}"), "", "", "", "", ""))
        for row in system.datasets:
            behind, size = behind_texts(row)
            verdict = good("met") if row.met else bad("missed")
            objective = seconds_text(row.rpo_seconds)
            if row.dataset in {each.dataset for each in system.damaged}:
                verdict = bad("damaged")
            rows.append((row.system, row.dataset, behind, size, objective, verdict, row.good_point))
    return table(("system", "dataset", ">behind", ">bytes", ">objective", "rpo", "last good point"), rows)


def past_table(datasets: Any) -> Any:
    """One row for each stretch of each dataset in which somebody looked."""
    from orchestrator.cli.console import bad, good, table

    rows = []
    for each in datasets:
        for stretch in each.stretches:
            began = stretch.since[:16].replace("T", " ")
            behind, size = behind_texts(stretch)
            verdict = good("met") if stretch.met else bad("missed")
            rows.append((each.system, each.dataset, began, str(stretch.looks), behind, size, verdict))
    return table(("system", "dataset", "from", ">looks", ">worst", ">bytes", "rpo"), rows)


def behind_texts(found: Any) -> tuple[str, str]:
    """Seconds and bytes behind as people read them."""
    from orchestrator.foundation.amounts import seconds_text, size_text

    behind = "not known" if found.seconds_behind is None else seconds_text(found.seconds_behind)
    return behind, "" if found.bytes_behind is None else size_text(found.bytes_behind)


def _round_text(round_: Any) -> str:
    from orchestrator.foundation.amounts import seconds_text, size_text

    moved = f"{size_text(round_.bytes_wire)} in {seconds_text(round_.seconds)}"
    what = f"{round_.point or round_.message}, {moved}" if round_.result == "passed" else round_.message
    return f"{round_.finished_at} {round_.system} {round_.result.replace('_', ' ')}: {what}"


def _pace_text(pace: Any) -> str:
    from orchestrator.cli.live import progress_text
    from orchestrator.contracts.progress import Progress

    told = Progress.model_validate(pace.model_dump(include=set(Progress.model_fields)))
    return f"{pace.system}  {progress_text(told)}"
