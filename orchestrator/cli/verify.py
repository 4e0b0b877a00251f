"""skerry verify: whether every side still holds what was proved."""

import click

from orchestrator.cli.durations import DURATION
from orchestrator.cli.words import JSON_OPTION, exit_codes_of


@click.command("verify", epilog=exit_codes_of("DigestMismatch", "RunInProgress", "UsageError"))
@click.argument("systems", nargs=-1)
@click.option("--all", "every_system", is_flag=True, help="Every system of the estate.")
@click.option(
    "--side",
    "sides",
    multiple=True,
    type=click.Choice(["source", "dr", "cloud"]),
    help="Look at this side; may be given again. Default: source and dr.",
)
@click.option("--scrub", is_flag=True, help="Read every byte from the disks themselves, not from memory.")
@click.option("--if-older-than", type=DURATION, metavar="TIME", help="Only where none passed within that time: 7d.")
@click.option("--wait", type=DURATION, default=0.0, metavar="TIME", help="Wait so long for a run or a round to end.")
@JSON_OPTION
def command(
    systems: tuple[str, ...],
    every_system: bool,
    sides: tuple[str, ...],
    scrub: bool,
    if_older_than: float | None,
    wait: float,
    as_json: bool,
) -> None:
    """Compare what each side of SYSTEMS holds with the last recovery point, by digests that each host makes itself.

    Names the files that differ. What could not be compared counts as different. Give --if-older-than to a timer: it
    looks at what is due and leaves the rest.
    """
    from orchestrator.cli.console import bad, console, good, print_json, seconds_text, size_text, table
    from orchestrator.cli.under_way import under_way
    from orchestrator.model.site import Side
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.standing import recording, systems_named, verifier_over, when_free
    from orchestrator.operations.verify import SIDES_DEFAULT, complain_of_difference

    chosen = [Side(side) for side in dict.fromkeys(sides)] or list(SIDES_DEFAULT)
    done, left = [], []
    with open_desk(inventory_folder()) as desk:
        names = systems_named(desk, systems, every=every_system)
        with when_free(desk, wait) as recorder, under_way(console(), shown=not as_json) as show:
            record = recording(desk, recorder)
            verifier = verifier_over(desk, record, lambda progress: show(progress.dataset, progress))
            for name in names:
                due = if_older_than is None or verifier.is_due(
                    name, older_than_seconds=if_older_than, scrub=scrub, sides=chosen
                )
                if due:
                    done.append(verifier.verify(name, sides=chosen, scrub=scrub))
                else:
                    left.append(name)
    if as_json:
        passed = all(each.passed for each in done)
        rows = [each.model_dump(mode="json") for each in done]
        print_json({"passed": passed, "verifications": rows, "not_due": left})
    else:
        out = console()
        rows_shown = [
            (
                each.system,
                found.dataset,
                found.side.value,
                found.what,
                good("equal") if found.equal else bad("different" if found.damaged else "not compared"),
                f"{size_text(found.bytes_read)} in {seconds_text(found.seconds)}",
            )
            for each in done
            for found in each.comparisons
        ]
        if rows_shown:
            out.print(table(("system", "dataset", "side", "what", "verdict", ">read"), rows_shown))
        for each in done:
            for found in each.comparisons:
                if found.equal and found.why:
                    out.print(f"{each.system}/{found.dataset} at {found.side.value}: {found.why}")
        for name in left:
            out.print(f"{name}: not due")
    complain_of_difference(done)
