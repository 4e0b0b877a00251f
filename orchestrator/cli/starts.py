"""skerry starts: which hosts have booted and wait to be told that they may serve; telling them."""

import click

from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.command("starts", epilog=exit_codes_of("UsageError", "RunInProgress", "HostError", "EvidenceError"))
@click.argument("systems", nargs=-1)
@click.option("--look", "only_look", is_flag=True, help="Only look: guard nothing, permit nothing.")
@click.option("--unguard", is_flag=True, help="Take the guards away; the estate must no longer ask for them.")
@click.option("--as", "person", metavar="PERSON", help="Who takes guards away, by the id in people.yml.")
@click.option("--because", help="Why they are taken away; it stands in the log.")
@JSON_OPTION
def command(
    systems: tuple[str, ...],
    only_look: bool,
    unguard: bool,
    person: str | None,
    because: str | None,
    as_json: bool,
) -> None:
    """See to the starts of SYSTEMS; by default of all whose estate says guard_starts.

    Where starts are guarded, a host that has booted starts nothing of a system until it was looked up that its side may
    still serve: a side that was lost and given up comes back silent, though nobody could fence it. Whatever carries
    runs, replicates, or begins drills (skerry worker, run, replicate, serve) looks every few seconds and permits by
    itself; this command looks once and says what it found. Where the site is cut off from all of that, a person permits
    on the host itself: /opt/skerry/permit-starts SYSTEM WHO WHY.
    """
    from orchestrator.cli.words import print_json
    from orchestrator.foundation.errors import UsageError
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.starts import guarded_systems, look, see_to_once, starts_document, take_guards_away

    if unguard and not (systems and person and because):
        raise UsageError("--unguard needs systems by name, --as and --because: it stands in the log")
    with open_desk(inventory_folder()) as desk:
        if unguard and person and because:
            take_guards_away(desk, systems, by=person, because=because)
        troubles = {} if only_look or unguard else see_to_once(desk, systems)
        rows = starts_document(look(desk, systems or guarded_systems(desk)), troubles)
    if as_json:
        print_json({"starts": rows})
    else:
        _show(rows)


def _show(rows: list[dict[str, object]]) -> None:
    from orchestrator.cli.console import console, quiet, table

    out = console()
    if not rows:
        out.print(quiet("no system says guard_starts in systems.yml; name systems to look at them all the same"))
        return
    out.print(table(("system", "side", "host", "starts", "running", "of note"), [_row(row) for row in rows]))
    if any(row["waits"] for row in rows):
        out.print(quiet("who waits is told by skerry starts; or on the host: /opt/skerry/permit-starts SYSTEM WHO WHY"))


def _row(row: dict[str, object]) -> tuple[str, ...]:
    if not row["boot"]:
        state = "not known"
    elif row["fenced_by"]:
        state = f"fenced by number {row['fenced_by']}"
    elif not row["guarded"]:
        state = "with the host, unguarded"
    elif row["permitted"]:
        state = "permitted in this boot"
    else:
        state = "wait to be permitted" if row["waits"] else "held back since it booted"
    side = f"{row['side']}, number {row['number']}" if row["holds_authority"] else str(row["side"])
    running = ", ".join(map(str, row["running"])) if isinstance(row["running"], list) else ""
    return str(row["system"]), side, str(row["host"]), state, running, _note(row)


def _note(row: dict[str, object]) -> str:
    by_hand = row["by_hand"]
    said = f"by hand: {by_hand[-1]}" if isinstance(by_hand, list) and by_hand else ""
    trouble = str(row["trouble"])
    if not row["holds_authority"]:
        trouble = trouble.partition(": ")[0]  # nobody waits for it; --json has the rest
    return "; ".join(text for text in (trouble, said) if text)
