"""skerry drill ransomware: the last clean point is found, and drilled."""

from typing import Any

import click

from orchestrator.cli.drill_show import teller
from orchestrator.cli.durations import wait_option
from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.command("ransomware", epilog=exit_codes_of("UsageError", "DataError", "RunInProgress", "RunFailed"))
@click.argument("system")
@click.option("--as", "operator", required=True, metavar="PERSON", help="Who drills, by the id in people.yml.")
@click.option("--look-only", is_flag=True, help="Find the last clean point, and start nothing.")
@wait_option
@JSON_OPTION
def command(system: str, operator: str, look_only: bool, wait: float, as_json: bool) -> None:
    """Look through the points of SYSTEM at DR for signs of ransomware; drill the last one before the first of them.

    Each point of each file tree is compared with the one before it: files that became noise, files that all got one
    suffix, canaries that are gone or changed. What comes after a point with such a sign is never taken.
    """
    from orchestrator.cli.console import print_json
    from orchestrator.operations.drill_views import drill_in_bubble
    from orchestrator.operations.ransomware import search_points
    from orchestrator.steps.bubble_result import complain

    show = teller(as_json=as_json)
    found = search_points(system, by=operator, wait_seconds=wait, show=show)
    if not as_json:
        _show(found)
    drilled = None
    if not look_only:
        drilled = drill_in_bubble(
            system,
            by=operator,
            point=found.last_clean,
            older_than_seconds=0.0,
            wait_seconds=wait,
            show=show,
        )
    if as_json:
        told = drilled.model_dump(mode="json") | {"passed": drilled.passed} if drilled else None
        print_json({**found.model_dump(mode="json"), "drill": told})
    elif drilled:
        from orchestrator.cli.drill_show import show_bubble

        show_bubble(drilled)
    if drilled:
        complain(drilled)


def _show(found: Any) -> None:
    from orchestrator.cli.console import bad, console, good, table

    rows = [
        (each.point, each.at[:16].replace("T", " ") + "Z", "; ".join(each.signs) or "clean")
        for each in reversed(found.points)
    ]
    out = console()
    out.print(table(("point", "of", "signs"), rows))
    out.print(bad(f"first bad: {found.first_bad}") if found.first_bad else good("no point is bad"))
    out.print(f"last clean: {found.last_clean}")
