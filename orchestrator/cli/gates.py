"""skerry gates: all nine gates of a wave or a plan, with what each asks, what was observed, and who decided."""

from typing import Any

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.command("gates", epilog=exit_codes_of("UsageError"))
@click.argument("named", metavar="WAVE|DIGEST")
@JSON_OPTION
def command(named: str, as_json: bool) -> None:
    """List the gates G0 to G8 of a wave's plan, or of the plan DIGEST. Touches no host.

    A gate that stands nowhere has no criteria, so nothing was judged: it is closed.
    """
    from orchestrator.cli.console import print_json
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.gates import gates_of
    from orchestrator.operations.plan import find_plan
    from orchestrator.operations.wave_status import open_wave_desk, plan_needed, wave_status
    from orchestrator.operations.waves import has_waves, read_waves

    folder = inventory_folder()
    with open_wave_desk(folder) as desk:
        waves = read_waves(folder, desk.inventory) if has_waves(folder) else None
        if waves is not None and named in waves.program.names:
            plan = plan_needed(desk, waves, named)
        else:
            plan = find_plan(desk.catalogue, named)
        of_wave = waves is not None and plan.terms is not None and plan.wave in waves.program.names
        status = wave_status(desk, waves, plan.wave) if waves is not None and of_wave else None
        rows = gates_of(desk, plan, status.gates if status is not None and status.plan == plan.digest else ())
    if as_json:
        print_json({"plan": plan.digest, "gates": [row.model_dump(mode="json") for row in rows]})
    else:
        _show(plan.digest, rows)


def _show(digest: str, rows: list[Any]) -> None:
    from orchestrator.cli.console import bad, console, good, quiet

    screen = console()
    screen.print(quiet(f"plan {digest}"))
    styles = {"open": good, "not_judged": quiet}
    for row in rows:
        title = f" {row.title}" if row.title else ""
        until = f", until {row.expires_at}" if row.expires_at else ""
        by = f" by {', '.join(row.by)}{until}" if row.by else ""
        style = styles.get(row.state, bad)
        state = "closed" if row.state == "nowhere" else row.state.replace("_", " ")
        screen.print(style(f"{row.gate}{title}, {row.where}: {state}{by}"))
        for each in row.criteria:
            mark = "✓" if each.passed else "✗"
            wanted = each.comparison.replace("_", " ") + ("" if each.expected is None else f" {each.expected}")
            value = "not observed" if each.missing else str(each.observed)
            screen.print(f"   {mark} {each.id}: {each.step}.{each.observed_key} is {value}; asked: {wanted}")
        if row.why:
            screen.print(quiet(f"   {row.why}"))
