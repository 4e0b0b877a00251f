"""`skerry evidence enrol|anchor`: who else is shown each head of the log."""

import json
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.evidence_options import JSON, LEDGER, ledger_or_default


@click.group("enrol")
def enrol() -> None:
    """Name the places that are shown each head of the log: witnesses, time-stamping authorities, locked buckets."""


def _say_enrolled(as_json: bool, what: str, words: str) -> None:
    click.echo(json.dumps({"enrolled": what}) if as_json else words)


@enrol.command("witness")
@click.argument("name")
@click.argument("url")
@click.option("--vkey", required=True, help="The witness's verifier key, as it prints it.")
@LEDGER
@JSON
def enrol_witness(name: str, url: str, vkey: str, ledger: Path | None, as_json: bool) -> None:
    """Enrol the witness NAME at URL. It must know this log's key: give it the content of the ledger's vkey file.

    Exit codes: 0 enrolled; 52 the key is malformed.
    """
    from dataclasses import replace

    from orchestrator.evidence.anchoring import EnrolledWitness, read_enrolment, write_enrolment
    from orchestrator.evidence.note import VerifierKey

    folder = ledger_or_default(ledger)
    VerifierKey.parse(vkey)
    enrolment = read_enrolment(folder)
    others = tuple(each for each in enrolment.witnesses if each.name != name)
    write_enrolment(folder, replace(enrolment, witnesses=(*others, EnrolledWitness(name, url, vkey))))
    _say_enrolled(as_json, name, f"Witness {name} is enrolled. Show it the log with: skerry evidence anchor")


@enrol.command("timestamps")
@click.argument("url")
@click.option(
    "--roots", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Root certificates (PEM)."
)
@LEDGER
@JSON
def enrol_timestamps(url: str, roots: Path, ledger: Path | None, as_json: bool) -> None:
    """Enrol the RFC 3161 time-stamping authority at URL.

    Exit codes: 0 enrolled; 2 the roots cannot be read.
    """
    from dataclasses import replace

    from orchestrator.evidence.anchoring import EnrolledAuthority, read_enrolment, write_enrolment
    from orchestrator.foundation.errors import UsageError

    try:
        pem = roots.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{roots}: {error}") from error
    folder = ledger_or_default(ledger)
    enrolment = read_enrolment(folder)
    others = tuple(each for each in enrolment.authorities if each.url != url)
    write_enrolment(folder, replace(enrolment, authorities=(*others, EnrolledAuthority(url, pem))))
    _say_enrolled(as_json, url, f"Timestamps by {url} are enrolled. Ask for one with: skerry evidence anchor")


@enrol.command("bucket")
@click.argument("bucket")
@click.option("--region", required=True)
@click.option("--endpoint", default="", help="Another S3 than AWS's.")
@click.option("--profile", default="", help="The SDK profile of the other account.")
@click.option("--years", default=10, show_default=True, type=click.IntRange(1, 100))
@LEDGER
@JSON
def enrol_bucket(
    bucket: str, region: str, endpoint: str, profile: str, years: int, ledger: Path | None, as_json: bool
) -> None:
    """Enrol an S3 BUCKET with Object Lock, in an account that the operator does not control.

    Exit codes: 0 enrolled.
    """
    from dataclasses import replace

    from orchestrator.evidence.anchoring import EnrolledBucket, read_enrolment, write_enrolment

    folder = ledger_or_default(ledger)
    enrolment = read_enrolment(folder)
    others = tuple(each for each in enrolment.buckets if each.bucket != bucket)
    enrolled = EnrolledBucket(bucket, region, endpoint, profile, years)
    write_enrolment(folder, replace(enrolment, buckets=(*others, enrolled)))
    _say_enrolled(
        as_json, bucket, f"Bucket {bucket} is enrolled for {years} years. Put a copy there with: skerry evidence anchor"
    )


@click.command("anchor")
@LEDGER
@JSON
def anchor_command(ledger: Path | None, as_json: bool) -> None:
    """Show the newest head to every enrolled place. Needs no lock; run it every few minutes, and after every run.

    Exit codes: 0 all places saw it; 2 no place is enrolled; 50 a place did not answer, or refused.
    """
    from orchestrator.evidence.anchoring import anchor, read_enrolment
    from orchestrator.foundation.clock import SystemClock
    from orchestrator.foundation.errors import EvidenceError, UsageError

    folder = ledger_or_default(ledger)
    enrolment = read_enrolment(folder)
    if enrolment.is_empty:
        raise UsageError("no place is enrolled", hint="skerry evidence enrol witness|timestamps|bucket")
    locks: dict[str, Any] = {}
    if enrolment.buckets:
        from orchestrator.wiring.ledger import open_object_lock

        for each in enrolment.buckets:
            locks[each.bucket] = open_object_lock(
                each.bucket, region=each.region, endpoint=each.endpoint, profile=each.profile
            )
    done = anchor(folder, enrolment, SystemClock(), locks=locks)
    if as_json:
        click.echo(json.dumps({"size": done.size, "kept": done.kept, "failed": done.failed}))
    else:
        for text in done.kept:
            click.echo(f"  ok    {text}")
    if done.failed:
        raise EvidenceError("; ".join(done.failed), hint="What the other places said is kept. Run the command again.")
