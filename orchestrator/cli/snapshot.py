"""skerry snapshot: recovery points of a system: list, show, hold, release, prune."""

from typing import Any

import click

from orchestrator.cli.durations import DURATION
from orchestrator.cli.words import JSON_OPTION, exit_codes_of

SYSTEM = click.argument("system")
POINT = click.argument("point")
AS_OPTION = click.option("--as", "operator", required=True, metavar="PERSON", help="Who asks, by the id in people.yml.")
BECAUSE = click.option("--because", required=True, help="Why; it goes into the evidence.")
HOLD = click.option("--name", "hold", required=True, metavar="NAME", help="What the hold is called: audit-2026.")


@click.group("snapshot")
def commands() -> None:
    """Recovery points: one moment over all datasets of a system, with a digest. See them, hold them, let them go."""


@commands.command("list", epilog=exit_codes_of("UsageError", "HostUnreachable"))
@SYSTEM
@click.option("--ask", is_flag=True, help="Ask the hosts what is there; without it, what is remembered is told.")
@JSON_OPTION
def list_(system: str, ask: bool, as_json: bool) -> None:
    """The recovery points of SYSTEM, newest first: age, consistency, digest, holds, where they are."""
    from orchestrator.cli.console import console, print_json, short_digest, table
    from orchestrator.foundation.amounts import seconds_text
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.standing import points_over

    with open_desk(inventory_folder()) as desk:
        points = points_over(desk).known(system, ask_hosts=ask)
    if as_json:
        print_json({"system": system, "points": [each.model_dump(mode="json") for each in points]})
        return
    rows = [
        (
            each.point.id,
            seconds_text(each.age_seconds),
            each.point.consistency.replace("_", " "),
            short_digest(each.digest),
            _places(each),
            ", ".join(each.needed_by),
        )
        for each in points
    ]
    console().print(table(("point", ">age", "consistency", "digest", "where", "needed by"), rows))


@commands.command("show", epilog=exit_codes_of("UsageError", "HostUnreachable"))
@SYSTEM
@POINT
@JSON_OPTION
def show(system: str, point: str, as_json: bool) -> None:
    """One recovery point, by the beginning of its id: each dataset's digest, where it is by the hosts' own word."""
    from orchestrator.cli.console import console, heading, print_json, quiet, table
    from orchestrator.foundation.amounts import size_text
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.standing import points_over

    with open_desk(inventory_folder()) as desk:
        found = points_over(desk).show(system, point)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    out = console()
    consistency = found.point.consistency.replace("_", " ")
    out.print(heading(f"{system} {found.point.id}"), quiet(f"{found.point.at}, {consistency}"))
    out.print(quiet(f"digest {found.digest}"))
    out.print(f"where: {_places(found)}")
    for name, why in found.holds.items():
        until = found.locked.get(name, "")
        out.print(f"held by {name}: {why}" + (f"; nobody releases it before {until}" if until else ""))
    rows = [(each.dataset, each.mark, size_text(each.bytes_total), each.digest) for each in found.point.datasets]
    out.print(table(("dataset", "mark", ">size", "digest"), rows))


@commands.command("hold", epilog=exit_codes_of("UsageError", "RunInProgress", "HostUnreachable"))
@SYSTEM
@POINT
@HOLD
@BECAUSE
@click.option("--locked-for", type=DURATION, default=0.0, metavar="TIME", help="Nobody releases it before: 30d.")
@AS_OPTION
@JSON_OPTION
def hold(
    system: str, point: str, hold: str, because: str, locked_for: float, operator: str, as_json: bool
) -> None:
    """Keep POINT of SYSTEM until the hold of this name is released, whatever the policy says."""
    _change("hold", system, point, hold, because, operator, as_json=as_json, locked_seconds=locked_for)


@commands.command("release", epilog=exit_codes_of("UsageError", "GateClosed", "RunInProgress", "HostUnreachable"))
@SYSTEM
@POINT
@HOLD
@BECAUSE
@AS_OPTION
@JSON_OPTION
def release(system: str, point: str, hold: str, because: str, operator: str, as_json: bool) -> None:
    """Let go of one hold of POINT; what others hold stays."""
    _change("release", system, point, hold, because, operator, as_json=as_json)


@commands.command("prune", epilog=exit_codes_of("UsageError", "RunInProgress", "HostUnreachable", "SnapshotError"))
@SYSTEM
@click.option("--dry-run", is_flag=True, help="Say what would go and what stays why; touch nothing.")
@click.option("--as", "operator", default="", metavar="PERSON", help="Who asks; not needed with --dry-run.")
@JSON_OPTION
def prune(system: str, dry_run: bool, operator: str, as_json: bool) -> None:
    """Remove the points of SYSTEM that no rule of the policy keeps and nothing needs; each removal is on record.

    What a hold, a transfer, a drill, a run or its way back needs always stays. Points of others are never touched.
    """
    from orchestrator.cli.console import console, print_json
    from orchestrator.foundation.errors import UsageError
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.replication import recording
    from orchestrator.operations.standing import points_over, when_free

    with open_desk(inventory_folder()) as desk:
        if dry_run:
            decision = points_over(desk).decide(system)
        else:
            if operator not in desk.inventory.people:
                raise UsageError("say who removes: --as PERSON, by the id in people.yml")
            with when_free(desk, 0.0) as recorder:
                decision = points_over(desk, recording(desk, recorder)).prune(system, by=operator)
    if as_json:
        print_json({"dry_run": dry_run, **decision.model_dump(mode="json")})
        return
    out = console()
    for point, why in decision.keep.items():
        out.print(f"stays   {point}: {', '.join(why)}")
    for point in decision.remove:
        out.print(f"{'would go' if dry_run else 'gone   '} {point}")
    for point in decision.left_over:
        out.print(f"{'would go' if dry_run else 'gone   '} {point}: left over by a round that broke off")


def _change(
    do: str,
    system: str,
    point: str,
    hold: str,
    because: str,
    operator: str,
    *,
    as_json: bool,
    locked_seconds: float = 0.0,
) -> None:
    from orchestrator.cli.console import print_json
    from orchestrator.foundation.errors import UsageError
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.replication import recording
    from orchestrator.operations.standing import points_over, when_free

    with open_desk(inventory_folder()) as desk:
        if operator not in desk.inventory.people:
            raise UsageError(f"nobody in people.yml is called {operator}")
        with when_free(desk, 0.0) as recorder:
            points = points_over(desk, recording(desk, recorder))
            said = {"hold": hold, "by": operator, "because": because}
            if do == "hold":
                found = points.hold(system, point, **said, locked_seconds=locked_seconds)
            else:
                found = points.release(system, point, **said)
    if as_json:
        print_json({"system": system, "point": found.id, do: hold})
    else:
        click.echo(f"{system} {found.id}: {'held' if do == 'hold' else 'released'} by the name {hold}")


def _places(status: Any) -> str:
    sides = status.point.sides if status.present is None else status.present
    shown = [f"{side.value} (damaged)" if side in status.damaged else side.value for side in sides]
    return ", ".join([*shown, *status.copies]) or "nowhere"
