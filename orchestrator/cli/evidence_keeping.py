"""`skerry evidence retention|hold`: how long evidence is kept, and what must be kept whatever its age."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.evidence_options import JSON, LEDGER, ledger_or_default, named_run, whole_population

BY = click.option("--as", "person", required=True, help="Who says so.")
BECAUSE = click.option("--because", required=True, help="Why; it stands in the log.")


@click.group("retention")
def retention() -> None:
    """For how long the evidence of runs is kept. Every change is an event of the log."""


@click.group("hold")
def hold() -> None:
    """Legal holds: what must not be removed, whatever its age. Each is an event of the log."""


@retention.command("show")
@LEDGER
@JSON
def show(ledger: Path | None, as_json: bool) -> None:
    """Tell until when each run is kept, what holds it, and what is due. skerry itself removes nothing.

    Exit codes: 0 shown; 52 the log does not verify.
    """
    from datetime import UTC, datetime

    from orchestrator.evidence.keeping import retention_of
    from orchestrator.evidence.retention import in_words, kept_runs
    from orchestrator.foundation.printable import printable

    folder = ledger_or_default(ledger)
    promised = retention_of(folder)
    runs = kept_runs(promised, [(run.run, run.finished) for run in whole_population(folder).runs], datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(promised.as_data() | {"runs": [asdict(run) for run in runs]}))
        return
    for line in in_words(promised):
        click.echo(printable(line))
    for run in runs:
        held = f" ({'; '.join(run.held_by)})" if run.held_by else ""
        due = "due: " if run.due else ""
        click.echo(printable(f"{run.run}  until {run.kept_until[:10] or '?':<10}  {due}{run.why}{held}"))


@retention.command("set")
@click.argument("years", type=click.IntRange(1, 100))
@BY
@BECAUSE
@LEDGER
@JSON
def set_years(years: int, person: str, because: str, ledger: Path | None, as_json: bool) -> None:
    """Keep the evidence of runs for YEARS after their end. Locked copies are locked for longer, never for less.

    Exit codes: 0 on record; 50 the ledger cannot be written, or a bucket does not follow.
    """
    from orchestrator.evidence.keeping import set_retention
    from orchestrator.foundation.clock import SystemClock

    folder = ledger_or_default(ledger)
    words = {"by": person, "because": because}
    _tell(set_retention(folder, years, clock=SystemClock(), open_lock=_open_lock, **words), as_json)


@hold.command("place")
@click.argument("run", required=False, default="")
@BY
@BECAUSE
@LEDGER
@JSON
def place(run: str, person: str, because: str, ledger: Path | None, as_json: bool) -> None:
    """Hold RUN (an id, or `last`), or the whole log where none is named.

    Exit codes: 0 on record; 2 no such run; 50 the ledger cannot be written, or a bucket does not follow.
    """
    from orchestrator.evidence.keeping import place_hold
    from orchestrator.foundation.clock import SystemClock

    folder = ledger_or_default(ledger)
    named = named_run(folder, run) if run else ""
    words = {"by": person, "because": because}
    _tell(place_hold(folder, named, clock=SystemClock(), open_lock=_open_lock, **words), as_json)


@hold.command("lift")
@click.argument("hold_id", metavar="HOLD")
@BY
@BECAUSE
@LEDGER
@JSON
def lift(hold_id: str, person: str, because: str, ledger: Path | None, as_json: bool) -> None:
    """Lift the hold HOLD. Locked copies are let go of with the last one.

    Exit codes: 0 on record; 2 no such hold; 50 the ledger cannot be written, or a bucket does not follow.
    """
    from orchestrator.evidence.keeping import lift_hold
    from orchestrator.foundation.clock import SystemClock

    words = {"by": person, "because": because}
    folder = ledger_or_default(ledger)
    _tell(lift_hold(folder, hold_id, clock=SystemClock(), open_lock=_open_lock, **words), as_json)


@click.command("erase")
@click.argument("run")
@BY
@BECAUSE
@LEDGER
@JSON
def erase(run: str, person: str, because: str, ledger: Path | None, as_json: bool) -> None:
    """Make the protected values of RUN (an id, or `last`) unreadable for ever. The log keeps their digests, and holds.

    Bundles that were given away show what they show. A run that is held is refused.

    Exit codes: 0 erased, and on record; 2 held, or nothing to erase; 50 the ledger cannot be written.
    """
    from orchestrator.evidence.keeping import erase_values
    from orchestrator.foundation.clock import SystemClock

    folder = ledger_or_default(ledger)
    words = {"by": person, "because": because}
    change = erase_values(folder, named_run(folder, run), clock=SystemClock(), open_lock=_open_lock, **words)
    told = {"log_index": change.index, "values": change.copies}
    click.echo(json.dumps(told) if as_json else f"{change.copies} values erased; on record, log entry {change.index}.")


def _open_lock(bucket: Any) -> Any:
    from orchestrator.wiring.ledger import open_enrolled

    return open_enrolled(bucket)


def _tell(change: Any, as_json: bool) -> None:
    from orchestrator.foundation.errors import EvidenceError

    if as_json:
        told = {"log_index": change.index, "hold": change.hold, "copies": change.copies, "failed": change.failed}
        click.echo(json.dumps(told))
    else:
        named = f"{change.hold}: " if change.hold else ""
        click.echo(f"{named}on record, log entry {change.index}; {change.copies} locked copies follow.")
    if change.failed:
        raise EvidenceError("; ".join(change.failed), hint="It is on record. Reach the bucket, and say it again.")
