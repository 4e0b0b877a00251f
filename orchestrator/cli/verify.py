"""skerry verify: whether every side still holds what was proved."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

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
@click.option("--point", metavar="POINT", help="Read this held point instead, and nothing live; `all`: every one.")
@click.option("--wait", type=DURATION, default=0.0, metavar="TIME", help="Wait so long for a run or a round to end.")
@JSON_OPTION
def command(
    systems: tuple[str, ...],
    every_system: bool,
    sides: tuple[str, ...],
    scrub: bool,
    if_older_than: float | None,
    point: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Compare what each side of SYSTEMS holds with the last recovery point, by digests that each host makes itself.

    Names the files that differ. What could not be compared counts as different. Give --if-older-than to a timer: it
    looks at what is due and leaves the rest. Points that are kept for long rot unseen: --point all --scrub reads them.
    """
    from orchestrator.cli.console import console, print_json
    from orchestrator.cli.under_way import under_way
    from orchestrator.contracts.progress import Progress
    from orchestrator.foundation.errors import UsageError
    from orchestrator.model.site import Side
    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.replication import recording
    from orchestrator.operations.standing import points_over, systems_named, verifier_over, when_free
    from orchestrator.operations.verify import SIDES_DEFAULT, complain_of_difference

    if point is not None and (if_older_than is not None or every_system):
        raise UsageError("--point wants systems by their names, and goes without --if-older-than")
    chosen = [Side(side) for side in dict.fromkeys(sides)] or list(SIDES_DEFAULT)
    done, left = [], []
    with open_desk(inventory_folder()) as desk:
        names = systems_named(desk, systems, every=every_system)
        with ExitStack() as stack:
            show = stack.enter_context(under_way(console(), shown=not as_json))

            def tell(progress: Progress) -> None:
                show(progress.dataset, progress)

            record = recording(desk, stack.enter_context(when_free(desk, wait, tell)))
            verifier, points = verifier_over(desk, record, tell), points_over(desk)
            for name in names:
                if if_older_than is not None and not verifier.is_due(
                    name, older_than_seconds=if_older_than, scrub=scrub, sides=chosen
                ):
                    left.append(name)
                    continue
                meant = [None] if point is None else points.named(name, point)
                done += [verifier.verify(name, sides=chosen, scrub=scrub, held=held) for held in meant]
    if as_json:
        passed = all(each.passed for each in done)
        rows = [each.model_dump(mode="json") for each in done]
        print_json({"passed": passed, "verifications": rows, "not_due": left})
    else:
        _show(done, left)
    complain_of_difference(done)


def _show(done: Sequence[Any], left: Sequence[str]) -> None:
    """What was compared, and which systems were not due."""
    from orchestrator.cli.console import console, table
    from orchestrator.foundation.amounts import seconds_text, size_text

    out = console()
    rows_shown = [
        (
            each.system,
            found.dataset,
            found.side.value,
            found.what,
            _verdict(found),
            f"{size_text(found.bytes_read)} in {seconds_text(found.seconds)}" if found.seconds else "",
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


def _verdict(found: Any) -> Any:
    from orchestrator.cli.console import bad, good

    if found.equal:
        return good("passed" if found.what == "checks" else "equal")
    return bad("different" if found.damaged or found.digest else "not compared")
