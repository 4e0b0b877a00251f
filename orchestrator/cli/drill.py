"""skerry drill: drills on a schedule, and what became of each time. skerry serve: the service that begins them."""

from pathlib import Path
from typing import Any, cast

import click

from orchestrator.cli import drill_ransomware
from orchestrator.cli.drill_show import moment, teller
from orchestrator.cli.durations import DURATION, wait_option
from orchestrator.cli.exercise import commands as exercise
from orchestrator.cli.words import JSON_OPTION, exit_codes_of

_READS = exit_codes_of("UsageError", "InventoryError")
INJECTS = (
    *("corrupted_block", "missing_point", "stopped_dependency", "expired_credential", "dead_primary", "wrong_mapping"),
    *("quota_full", "dead_link", "slow_disk", "clock_off", "replica_behind", "tampered_file"),
)  # as the model names them; it is not imported to answer --help
DRILL = click.argument("drill")
UNASKED = ("latest", "0s")
POINTS_HELP = (
    "latest, latest_app_consistent, latest_common (one run held all), worst (the oldest within the RPO), or an id."
)


@click.group("drill")
def commands() -> None:
    """Drill systems on a schedule, written in drills.yml; skerry serve begins them, or a timer with `drill due`."""


@commands.command("schedule", epilog=_READS)
@JSON_OPTION
def schedule(as_json: bool) -> None:
    """Judge drills.yml and show every drill: when it is due, by which plan it runs, and how it went the last time."""
    from orchestrator.cli.console import print_json
    from orchestrator.operations.drill_views import scheduled_drills

    rows = scheduled_drills()
    if as_json:
        print_json({"drills": rows})
        return
    from orchestrator.cli.console import console, short_digest, table

    told = [
        (
            row["drill"],
            ", ".join(row["systems"]),
            f"{row['cron']} ({row['time_zone']})",
            moment(row["next"]["start"]) if row["next"] else "none",
            f"{short_digest(row['plan'])} {'approved' if not row['in_the_way'] else 'may not run'}"
            if row["plan"]
            else "none",
            f"{row['last']['state']} {moment(row['last']['due'])}" if row["last"] else "never",
        )
        for row in rows
    ]
    out = console()
    out.print(table(("drill", "systems", "when", "next", "plan", "last"), told))
    for row in rows:
        if row["in_the_way"]:
            out.print(f"{row['drill']}: {row['in_the_way']}")


@commands.command("next", epilog=_READS)
@click.argument("drill", required=False)
@click.option("--count", type=click.IntRange(1, 1000), default=3, help="So many times of each drill.")
@JSON_OPTION
def next_(drill: str | None, count: int, as_json: bool) -> None:
    """The next times of DRILL, or of all; those that fall into a blackout say so."""
    from orchestrator.cli.console import print_json
    from orchestrator.operations.drill_views import coming_fires

    fires = coming_fires(drill, count=count)
    if as_json:
        print_json({"fires": fires})
    else:
        _show_fires(fires)


@commands.command("history", epilog=_READS)
@click.argument("drill", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20)
@click.option("--plot", is_flag=True, help="Instead, the recovery time and point of each drill in a bubble.")
@click.option("--svg", type=click.Path(dir_okay=False), help="With --plot: write the trend into this file, too.")
@JSON_OPTION
def history(drill: str | None, limit: int, plot: bool, svg: str | None, as_json: bool) -> None:
    """Every time that came up, newest first: passed, failed, missed, blacked out, refused; and its run."""
    from orchestrator.cli.console import print_json
    from orchestrator.operations.drill_views import past_fires, trends

    if plot or svg:
        from orchestrator.cli.drill_plot import show_trends

        show_trends(trends(drill), svg=svg, as_json=as_json)
        return
    fires = past_fires(drill, limit=limit)
    if as_json:
        print_json({"fires": fires})
    else:
        _show_fires(fires)


@commands.command("plan", epilog=exit_codes_of("UsageError", "InventoryError", "PlanningError"))
@DRILL
@click.option("--as", "author", required=True, metavar="PERSON", help="Who makes the plan, by the id in people.yml.")
@JSON_OPTION
def plan(drill: str, author: str, as_json: bool) -> None:
    """Compile the plan by which DRILL runs from now on, once people approved it. No host is touched."""
    from orchestrator.cli.console import print_json
    from orchestrator.cli.plan_show import plan_as_data, show_plan
    from orchestrator.cli.runbook_words import runbook_file
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.drills import drill_named, plan_drill, read_drills
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.survey import newest_facts

    with open_desk(inventory_folder()) as desk:
        found = drill_named(read_drills(inventory_folder(), desk.inventory), drill)
        facts = newest_facts(desk.inventory, desk.catalogue)
        made = plan_drill(desk, found, runbook_file=runbook_file(found.runbook), author=author, facts=facts)
    if as_json:
        print_json(plan_as_data(made))
    else:
        show_plan(made)


_BEGINS = exit_codes_of("InventoryError", "GateClosed", "RunInProgress", "RunFailed")


@commands.command("run", epilog=_BEGINS)
@DRILL
@click.option("--as", "operator", metavar="PERSON", help="Who drills a system or wave, by the id in people.yml.")
@click.option("--at", type=click.Choice(["dr", "cloud"]), default="dr", help="Where it comes to life: by default dr.")
@click.option("--point", default="latest", help=POINTS_HELP)
@click.option("--older-than", default="0s", metavar="TIME", help="Only points at least so old: 1h, 7d.")
@wait_option
@JSON_OPTION
def run(
    drill: str, operator: str | None, at: str, point: str, older_than: str, wait: float, as_json: bool
) -> None:
    """Run DRILL now, whatever its calendar says, by its approved plan; until it has ended or waits for a person.

    DRILL may be a system or a wave too: its plan by the drill runbook is made, run once people have approved it, and
    refused with its digest until then. With --at cloud what DR holds comes to life on a machine there, in a bubble; or,
    where machines start from its volumes, these are seeded as images, and start where nothing leads out.
    """
    from orchestrator.cli.run import carry_out
    from orchestrator.cli.runbook_words import runbook_file
    from orchestrator.operations.drill_asked import await_turn, plan_asked, take_bubbles_away
    from orchestrator.operations.drill_views import run_drill

    show = teller(as_json=as_json)
    if operator is not None:
        from orchestrator.foundation.errors import Interrupted, UsageError

        asked = {name: said for name, said in (("point", point), ("older-than", older_than)) if said not in UNASKED}
        plan = plan_asked(drill, author=operator, at=at, runbook_file=runbook_file, inputs=asked)
        if plan is None:
            hint = "A drill of drills.yml runs without --as."
            raise UsageError(f"no system and no wave is called {drill}", hint=hint)
        await_turn(plan, operator=operator, wait_seconds=wait, show=show)
        try:
            carry_out(plan.digest, operator, "", kind="drill", as_json=as_json)
        except Interrupted as stopped:
            clean = take_bubbles_away(plan)
            told = f"interrupted; nothing of a bubble is left on {', '.join(clean)}" if clean else stopped.message
            raise Interrupted(told, hint=stopped.hint) from stopped
        return
    fire = run_drill(drill, wait_seconds=wait, show=show)
    _tell([fire], as_json=as_json)
    _complain([fire])


@commands.command("due", epilog=_BEGINS)
@JSON_OPTION
def due(as_json: bool) -> None:
    """Begin what is due and carry it on, until nothing goes on without a person. For cron, or a timer every minute.

    Looking twice does no harm: a time has one run. Exits 61 when a drill has failed.
    """
    from orchestrator.operations.drill_views import look_once

    fires = look_once()
    _tell(fires, as_json=as_json)
    if not fires:
        click.echo("nothing is due", err=True)
    _complain(fires)


@commands.command("bubble", epilog=exit_codes_of("UsageError", "DataError", "RunInProgress", "RunFailed"))
@click.argument("system")
@click.option("--as", "operator", required=True, metavar="PERSON", help="Who drills, by the id in people.yml.")
@click.option("--point", default="latest", help=POINTS_HELP)
@click.option("--older-than", type=DURATION, default=0.0, metavar="TIME", help="Only points at least so old: 1h, 7d.")
@click.option("--inject", type=click.Choice(INJECTS), help="Break something within; passes when it is found and named.")
@click.option("--pass-within", type=DURATION, default="2m", metavar="TIME", help="Until the checks must pass: 2m.")
@wait_option
@JSON_OPTION
def bubble(
    system: str,
    operator: str,
    point: str,
    older_than: float,
    inject: str | None,
    pass_within: float,
    wait: float,
    as_json: bool,
) -> None:
    """Start SYSTEM from a held recovery point at DR, in a bubble that cannot reach production; check it; take it away.

    What is held is cloned without copying where the host can. From within every host, service and name of the estate
    is tried, and nothing is started unless all of that fails. Production is looked at before and after.
    """
    from orchestrator.cli.console import print_json
    from orchestrator.model.drill import InjectName
    from orchestrator.operations.drill_views import drill_in_bubble
    from orchestrator.steps.bubble_result import complain

    found = drill_in_bubble(
        system,
        by=operator,
        point=point,
        older_than_seconds=older_than,
        inject=cast("InjectName | None", inject),
        pass_seconds=pass_within,
        wait_seconds=wait,
        show=teller(as_json=as_json),
    )
    if as_json:
        print_json({**found.model_dump(mode="json"), "passed": found.passed})
    else:
        from orchestrator.cli.drill_show import show_bubble

        show_bubble(found)
    complain(found)


@commands.command("report", epilog=exit_codes_of("UsageError"))
@DRILL
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@JSON_OPTION
@click.pass_context
def report(context: click.Context, drill: str, out: Path, as_json: bool) -> None:
    """The after-action report of the last run of DRILL (of drills.yml, a system or a wave), with its evidence.

    As skerry evidence export does it; for another run, and with its options, use that.
    """
    from orchestrator.cli.evidence import export
    from orchestrator.operations.drill_views import last_run_of

    context.invoke(export, run=last_run_of(drill), out=out, as_json=as_json)


@commands.command("injects", epilog=_READS)
@click.argument("system")
@JSON_OPTION
def injects(system: str, as_json: bool) -> None:
    """What can be broken in a drill of SYSTEM, the next one first; when each was, and which drill proved it."""
    from orchestrator.cli.console import print_json
    from orchestrator.operations.drill_views import injects_of

    rows = injects_of(system)
    if as_json:
        print_json({"injects": rows})
        return
    from orchestrator.cli.console import console, table

    told = [
        (row["inject"], moment(row["at"]), row["found"] or row["why_not"], row["proved_by"] or "not yet")
        for row in rows
    ]
    console().print(table(("inject", "last put in", "found", "proved by"), told))


commands.add_command(drill_ransomware.command)


commands.add_command(exercise)


@click.command("serve", epilog=exit_codes_of("InventoryError"))
@click.option("--every", type=click.IntRange(1, 3600), default=30, help="Look so often, in seconds.")
@JSON_OPTION
def serve(every: int, as_json: bool) -> None:
    """Begin every drill at its time and carry it on, until Ctrl-C; what was under way goes on at the next start.

    A run that waits for its commit and that nobody carries any more, as after a reboot, is taken up by a caretaker.
    A unit for systemd is shipped: packaging/skerry-serve.service. drills.yml is read anew at each look.
    """
    from orchestrator.foundation.errors import Interrupted
    from orchestrator.operations.drill_views import serve_drills

    click.echo(f"skerry serve: looking every {every} s; end it with Ctrl-C", err=True)
    try:
        for fires in serve_drills(every_seconds=every, troubled=lambda text: click.echo(text, err=True)):
            _tell(fires, as_json=as_json)
    except (KeyboardInterrupt, Interrupted):
        click.echo("skerry serve: ended", err=True)


def _tell(fires: list[dict[str, Any]], *, as_json: bool) -> None:
    from orchestrator.cli.console import print_json

    for fire in fires:
        if as_json:
            print_json(fire)
        else:
            words = (moment(fire["due"]), fire["drill"], fire["state"], fire["run"], fire["because"])
            click.echo("  ".join(word for word in words if word))


def _complain(fires: list[dict[str, Any]]) -> None:
    from orchestrator.foundation.errors import RunFailed

    if failed := [fire for fire in fires if fire["state"] == "failed"]:
        told = "; ".join(f"{fire['drill']}: {fire['because']}" for fire in failed)
        raise RunFailed(told, hint=f"See every step with: skerry runs show {failed[0]['run']}")


def _show_fires(fires: list[dict[str, Any]]) -> None:
    from orchestrator.cli.console import console, table

    rows = [
        (fire["drill"], moment(fire["due"]), moment(fire["start"]), fire["state"], fire["run"], fire["because"])
        for fire in fires
    ]
    console().print(table(("drill", "due", "start", "state", "run", "because"), rows))
