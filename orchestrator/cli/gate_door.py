"""The door round a gate, as an option of every command that runs something."""

import click

GATES = ("G0", "G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8")

SKIP_OPTION = click.option(
    "--unsafe-skip-gate",
    "skipped",
    multiple=True,
    type=click.Choice(GATES),
    metavar="GATE",
    help="Go round a gate that is closed (with --because). It is on record, shows everywhere, and is never a pass.",
)
BECAUSE_OPTION = click.option("--because", default="", help="Why; it goes into the evidence.")


def doors(skipped: tuple[str, ...], because: str) -> dict[str, str]:
    """The gates that may be gone round, each with the reason."""
    return dict.fromkeys(skipped, because)
