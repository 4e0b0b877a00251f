"""`skerry evidence adopt|order|result|review|attend|sign-off`: what persons sign."""

import json
from pathlib import Path

import click

from orchestrator.cli.evidence_options import JSON, LEDGER, ledger_or_default, named_run

KEY = click.option("--key", required=True, help="Their SSH key (file, or .pub of a key that an agent holds).")


@click.command("order")
@click.argument("plan")
@click.option("--as", "person", required=True, help="Who orders the start and will run it: a person of the estate.")
@click.option("--role", required=True, help="In which role.")
@KEY
@click.option("--hours", type=click.FloatRange(0.001, 168), default=12.0, show_default=True, help="Valid for how long.")
@JSON
def order(plan: str, person: str, role: str, key: str, hours: float, as_json: bool) -> None:
    """Sign the start order for PLAN (a digest, or its first digits). The operator's next run of it puts it on record.

    It is good for one run, by the same person, and is given before the start.

    Exit codes: 0 signed; 2 no such plan; 42 not their role or key; 50 the key does not sign.
    """
    from datetime import timedelta

    from orchestrator.operations.desk import open_desk
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.plan import find_plan

    with open_desk(inventory_folder()) as desk:
        found = find_plan(desk.catalogue, plan)
        signed = desk.order(found, person=person, role=role, key_file=key, valid_for=timedelta(hours=hours))
    told = {"plan": found.digest, "by": person, "key": signed.key_fingerprint, "expires_at": signed.expires_at}
    words = f"{person} ({role}) orders the start of {found.digest}, until {signed.expires_at}."
    click.echo(json.dumps(told) if as_json else words)


@click.command("result")
@click.argument("run")
@click.option("--as", "person", required=True, help="Who signs: the operator.")
@click.option("--role", required=True, help="In which role.")
@KEY
@LEDGER
@JSON
def result(run: str, person: str, role: str, key: str, ledger: Path | None, as_json: bool) -> None:
    """Sign the result of a finished RUN (an id, or `last`) and put it on record.

    What is signed follows from the log: PASSED, WARNED (passed, with deviations or second attempts) or FAILED, and
    every step by how it ended. A verifier works it out again.

    Exit codes: 0 recorded; 2 no such run, or not finished; 50 the ledger cannot be written, or the key does not sign.
    """
    from orchestrator.evidence.signed_words import record_result
    from orchestrator.wiring.ledger import open_enrolled

    folder = ledger_or_default(ledger)
    run = named_run(folder, run)
    index, said = record_result(folder, run, person=person, role=role, key_file=key, open_lock=open_enrolled)
    told = {"run": run, "by": person, "result": said, "log_index": index}
    click.echo(json.dumps(told) if as_json else f"{said}: the result of {run} by {person} is on record, entry {index}.")


@click.command("review")
@click.argument("run")
@click.option("--as", "person", required=True, help="Who reviews: a person of the estate.")
@click.option("--role", required=True, help="In which role.")
@KEY
@click.option("--conclusion", required=True, help="What they conclude, in one sentence.")
@click.option(
    "--findings", type=click.Path(path_type=Path, dir_okay=False), help="JSON list: id, text, action, owner, due."
)
@click.option("--closes", multiple=True, metavar="ID", help="A finding that this passed drill shows to be mended.")
@LEDGER
@JSON
def review(
    run: str,
    person: str,
    role: str,
    key: str,
    conclusion: str,
    findings: Path | None,
    closes: tuple[str, ...],
    ledger: Path | None,
    as_json: bool,
) -> None:
    """Sign a review of a finished RUN (an id, or `last`) and put it on record. For a person who did not run it.

    Exit codes: 0 recorded; 2 no such run; 50 the ledger cannot be written, or the key does not sign.
    """
    from orchestrator.evidence.review import record_review
    from orchestrator.wiring.ledger import open_enrolled

    folder = ledger_or_default(ledger)
    found = json.loads(findings.read_text(encoding="utf-8")) if findings else []
    run = named_run(folder, run)
    index = record_review(
        folder,
        run,
        person=person,
        role=role,
        key_file=key,
        conclusion=conclusion,
        findings=found,
        closes=closes,
        open_lock=open_enrolled,
    )
    told = {"run": run, "by": person, "log_index": index}
    click.echo(json.dumps(told) if as_json else f"Review of {run} by {person} is on record, log entry {index}.")


@click.command("attend")
@click.argument("run")
@click.option("--as", "person", required=True, help="Who was there: a person of the estate.")
@click.option("--role", required=True, help="In which role: observer, for instance.")
@KEY
@click.option("--announced/--unannounced", default=True, help="Whether they knew of it beforehand.")
@click.option("--saw", default="", help="What they want to have said; it is signed.")
@LEDGER
@JSON
def attend(
    run: str, person: str, role: str, key: str, announced: bool, saw: str, ledger: Path | None, as_json: bool
) -> None:
    """Sign that you were there when RUN (an id, or `last`) was carried out, and put it on record.

    Exit codes: 0 recorded; 2 no such run; 50 the ledger cannot be written, or the key does not sign.
    """
    from orchestrator.evidence.review import record_attendance
    from orchestrator.wiring.ledger import open_enrolled

    folder = ledger_or_default(ledger)
    run = named_run(folder, run)
    index = record_attendance(
        folder, run, person=person, role=role, key_file=key, announced=announced, saw=saw, open_lock=open_enrolled
    )
    told = {"run": run, "by": person, "role": role, "announced": announced, "log_index": index}
    click.echo(json.dumps(told) if as_json else f"{person} was there as {role}: on record, log entry {index}.")


@click.command("sign-off")
@click.argument("run")
@click.option("--as", "person", required=True, help="Who signs for management: a person of the estate.")
@click.option("--role", required=True, help="In which role.")
@KEY
@click.option("--return", "returned", is_flag=True, help="Send the review back; --comment says why.")
@click.option("--comment", default="", help="Words that are signed with it.")
@LEDGER
@JSON
def sign_off(
    run: str, person: str, role: str, key: str, returned: bool, comment: str, ledger: Path | None, as_json: bool
) -> None:
    """Sign, for management, that the reviews of RUN (an id, or `last`) were reported, and put it on record.

    Exit codes: 0 recorded; 2 no such run, or not reviewed; 50 the ledger cannot be written, or the key does not sign.
    """
    from orchestrator.evidence.review import record_sign_off
    from orchestrator.wiring.ledger import open_enrolled

    folder = ledger_or_default(ledger)
    run = named_run(folder, run)
    index = record_sign_off(
        folder,
        run,
        person=person,
        role=role,
        key_file=key,
        decision="returned" if returned else "accepted",
        comment=comment,
        open_lock=open_enrolled,
    )
    told = {"run": run, "by": person, "decision": "returned" if returned else "accepted", "log_index": index}
    verb = "sends the review of" if returned else "accepts the review of"
    click.echo(
        json.dumps(told) if as_json else f"{person} {verb} {run}{' back' if returned else ''}, log entry {index}."
    )


@click.command("adopt")
@click.argument("policy", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--as", "person", required=True, help="Who sets it in force: a person of the estate.")
@click.option("--role", required=True, help="In which role.")
@KEY
@LEDGER
@JSON
def adopt(policy: Path, person: str, role: str, key: str, ledger: Path | None, as_json: bool) -> None:
    """Sign and put on record that the trust policy in the file POLICY is in force; every run after it names it.

    An auditor judges by their own copy, and sees here whether it is the same.

    Exit codes: 0 recorded; 50 the ledger cannot be written, or the key does not sign; 53 it is no trust policy.
    """
    from orchestrator.evidence.policy_on_record import adopt_policy
    from orchestrator.evidence.trust_policy import read_trust_policy
    from orchestrator.wiring.ledger import open_enrolled

    content = read_trust_policy(policy).content
    folder = ledger_or_default(ledger)
    index, digest = adopt_policy(folder, content, person=person, role=role, key_file=key, open_lock=open_enrolled)
    told = {"policy": digest, "by": person, "log_index": index}
    click.echo(json.dumps(told) if as_json else f"{digest} is in force by {person}, log entry {index}.")
