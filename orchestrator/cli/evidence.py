"""`skerry evidence`: what operators and auditors do with the ledger and with bundles."""

import json
import time
from pathlib import Path

import click

from orchestrator.cli.evidence_anchors import anchor_command, enrol
from orchestrator.cli.evidence_keeping import erase, hold, retention
from orchestrator.cli.evidence_options import JSON, LEDGER, ledger_or_default, named_run, whole_population
from orchestrator.cli.evidence_words import adopt, attend, order, result, review, sign_off

POLICY_HELP = "The auditor's own trust policy (JSON)."


@click.group("evidence", help="Verify, export and anchor the evidence of runs.")
def commands() -> None:
    """Group of the evidence commands."""


commands.add_command(enrol)
commands.add_command(anchor_command)
commands.add_command(adopt)
commands.add_command(order)
commands.add_command(result)
commands.add_command(review)
commands.add_command(attend)
commands.add_command(sign_off)
commands.add_command(retention)
commands.add_command(hold)
commands.add_command(erase)


@commands.command("verify")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--policy", type=click.Path(path_type=Path, dir_okay=False), help=POLICY_HELP)
@click.option(
    "--held",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A listing of the locked copies that you pulled yourself (whole log only).",
)
@click.option("--without-reading-copies", is_flag=True, help="Judge a bundle's evidence alone.")
@JSON
def verify(
    path: Path | None, policy: Path | None, held: Path | None, without_reading_copies: bool, as_json: bool
) -> None:
    """Verify a bundle, or recompute a ledger's whole log. Needs no network, no state store and no lock.

    PATH is a bundle's or a ledger's folder; the default is $SKERRY_HOME/ledger. A bundle needs --policy. For a log
    without it, keys are the ones beside the log: that shows a whole log, and not whose it is.

    Reading copies (report.html, tables) of another release can not be compared, so they fail. Without them the evidence
    itself is judged alone, and the last line says so.

    Exit codes: 0 verified; 52 the log does not verify; 53 a bundle does not satisfy the policy.
    """
    from orchestrator.evidence.bundle import is_bundle
    from orchestrator.evidence.show import verify_and_show

    began = time.perf_counter()
    folder = ledger_or_default(path)
    verify_and_show(
        folder,
        policy,
        bundle=is_bundle(folder),
        as_json=as_json,
        began=began,
        say=click.echo,
        held_file=held,
        judge_copies=not without_reading_copies,
    )


@commands.command("export")
@click.argument("run")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--policy", type=click.Path(path_type=Path, dir_okay=False), help="Trust policy to enclose a copy of.")
@click.option("--disclose", multiple=True, metavar="NAME", help="A protected value to show; may be repeated.")
@click.option("--disclose-none", is_flag=True, help="Show no protected value, which is the default.")
@click.option("--pdf", is_flag=True, help="The report as OUT.pdf too, beside the bundle; needs the extra [pdf].")
@LEDGER
@JSON
def export(
    run: str,
    out: Path,
    policy: Path | None,
    disclose: tuple[str, ...],
    disclose_none: bool,
    pdf: bool,
    ledger: Path | None,
    as_json: bool,
) -> None:
    """Export RUN (an id, or `last`) as a bundle that verifies offline: evidence, report, tables, statements, proofs.

    Exit codes: 0 exported; 2 no such run; 50 the bundle cannot be written.
    """
    from orchestrator.evidence.export import export_bundle
    from orchestrator.evidence.pdf import ensure_pdf, report_pdf
    from orchestrator.evidence.trust_policy import read_trust_policy
    from orchestrator.foundation.atomic_file import replace_file
    from orchestrator.foundation.errors import UsageError

    if disclose and disclose_none:
        raise UsageError("--disclose and --disclose-none contradict each other")
    if pdf:
        ensure_pdf()
    folder = ledger_or_default(ledger)
    run = named_run(folder, run)
    content = read_trust_policy(policy).content if policy else _draft(folder)
    files = export_bundle(folder, run, out, policy=content, disclose=disclose)
    size = sum(map(len, files.values()))
    printed = out.with_name(f"{out.name}.pdf") if pdf else None
    if printed:
        replace_file(printed, report_pdf(files["report.html"]))
    if as_json:
        told = {"run": run, "path": str(out), "files": len(files), "bytes": size}
        click.echo(json.dumps(told | ({"pdf": str(printed)} if printed else {})))
        return
    click.echo(f"{out}: {len(files)} files, {size / 1000:.0f} kB. Open report.html; README.txt says how to verify.")
    if not policy:
        click.echo("The enclosed policy is a draft from the estate's own words; an auditor keeps their own.")


def _draft(folder: Path) -> bytes:
    """A policy out of the log's own keys and the estate's people; for auditors to examine, not to trust."""
    from orchestrator.evidence.trust_policy import draft_trust_policy
    from orchestrator.evidence.verify_log import own_keys
    from orchestrator.operations.estate import read_estate

    return draft_trust_policy(
        [str(key) for key in own_keys(folder)],
        {person.id: (person.roles, person.keys) for person in read_estate().people.values()},
        not_before="2020-01-01T00:00:00Z",
        not_after="2040-01-01T00:00:00Z",
    )


@commands.command("read")
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@JSON
def read(bundle: Path, out: Path, as_json: bool) -> None:
    """Make report, tables and the other reading copies anew from a BUNDLE's evidence. Verify the bundle first.

    Exit codes: 0 made; 2 the folder is not empty; 52 the bundle cannot be read.
    """
    from orchestrator.evidence.bundle import is_core, read_bundle
    from orchestrator.evidence.export import write_files
    from orchestrator.evidence.reading.derive import derive

    files = derive({path: content for path, content in read_bundle(bundle).items() if is_core(path)})
    write_files(out, files)
    click.echo(json.dumps({"path": str(out), "files": len(files)}) if as_json else f"{out}: {len(files)} files")


@commands.command("policy")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file to write [standard output].")
@LEDGER
@JSON
def policy(out: Path | None, ledger: Path | None, as_json: bool) -> None:
    """Draft a trust policy: the log's keys, and the estate's people with their roles and SSH keys.

    It is the operator's word. An auditor examines it, changes it, and keeps it away from the operator.

    Exit codes: 0 written; 10 the estate cannot be read; 52 there is no log.
    """
    from orchestrator.foundation.atomic_file import replace_file

    content = _draft(ledger_or_default(ledger))
    if out is None:
        click.echo(content.decode(), nl=False)
        return
    replace_file(out, content)
    click.echo(json.dumps({"path": str(out)}) if as_json else f"{out}: a draft; examine it, and keep it yourself.")


@commands.command("population")
@click.option("--drill-every", type=float, metavar="DAYS", help="Find systems that were not drilled this often.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False), help="The list as a table, too.")
@click.option("--sample", "count", type=click.IntRange(1), metavar="N", help="Draw N runs by log and --seed.")
@click.option("--seed", default="", help="The auditor's own word for the draw; the same word draws the same runs.")
@LEDGER
@JSON
def population_command(
    drill_every: float | None, csv_file: Path | None, count: int | None, seed: str, ledger: Path | None, as_json: bool
) -> None:
    """List every run of the whole log, which is verified first, so that a sample is drawn from all there is.

    Exit codes: 0 listed; 52 the log does not verify.
    """
    from datetime import UTC, datetime, timedelta

    from orchestrator.evidence.population import as_table, drill_gaps, sample
    from orchestrator.evidence.reading.tables import table
    from orchestrator.foundation.atomic_file import replace_file
    from orchestrator.foundation.printable import printable

    found = whole_population(ledger_or_default(ledger))
    drawn = sample(found.runs, count, root=found.root, seed=seed) if count else []
    if csv_file is not None:
        replace_file(csv_file, table(*as_table(found.runs, drawn)))
    questions = list(found.questions)
    if drill_every is not None:
        systems = sorted({system for run in found.runs for system in run.systems})
        for system in systems:
            questions += drill_gaps(found.runs, system, timedelta(days=drill_every), datetime.now(UTC))
    if as_json:
        told = {"runs": [run.as_data() for run in found.runs], "questions": questions}
        click.echo(json.dumps(told | ({"sample": [run.run for run in drawn]} if count else {})))
        return
    for run in found.runs:
        back = ", rolled back" if run.rolled_back else ""
        words = f"{run.kind or '?'} of {', '.join(run.systems) or '?'} by {run.operator or '?'}: {run.result}{back}"
        line = f"{run.run}  {run.created[:19] or '?':<19}  {words}; {run.approvals} approvals, {run.events} events"
        click.echo(printable(line))
    click.echo(f"{len(found.runs)} runs: every run of the log.")
    for run in drawn:
        click.echo(printable(f"  sample  {run.run}"))
    for question in questions:
        click.echo(printable(f"  ask     {question}"))


@commands.command("actions")
@click.option("--all", "closed_too", is_flag=True, help="Closed ones too.")
@LEDGER
@JSON
def actions(closed_too: bool, ledger: Path | None, as_json: bool) -> None:
    """List corrective actions out of signed reviews. Only the review of a later, passed drill closes one.

    Exit codes: 0 listed; 52 the log does not verify.
    """
    from orchestrator.evidence.corrective_actions import corrective_actions
    from orchestrator.evidence.export import verified_events
    from orchestrator.foundation.printable import printable

    folder = ledger_or_default(ledger)
    found = [each for each in corrective_actions(*verified_events(folder)) if closed_too or each.is_open]
    if as_json:
        click.echo(json.dumps({"actions": [each.as_data() for each in found]}))
        return
    for each in found:
        state = "open" if each.is_open else f"closed by drill {each.closed_by}"
        click.echo(printable(f"{each.id}  due {each.due}  {each.owner}: {each.action}  ({each.text}) [{state}]"))
    click.echo(f"{sum(each.is_open for each in found)} open.")


@commands.command("controls")
@JSON
def controls(as_json: bool) -> None:
    """List the controls that each kind of step gives evidence for.

    NIST SP 800-53 ids are checked against its catalogue. Other frameworks are proposals, to be confirmed by the
    agency's compliance officer.

    Exit codes: 0 listed.
    """
    from orchestrator.evidence.reading.controls import NIST_BY_VERB, NIST_OF_EVIDENCE, TO_BE_CONFIRMED
    from orchestrator.evidence.reading.nist_catalogue import TITLES

    if as_json:
        steps = {
            verb: {"nist_800_53": list(ids), "to_be_confirmed": {k: list(v) for k, v in TO_BE_CONFIRMED[verb].items()}}
            for verb, ids in NIST_BY_VERB.items()
        }
        told = {"steps": steps, "evidence": list(NIST_OF_EVIDENCE), "titles": TITLES}
        click.echo(json.dumps(told))
        return
    for verb, ids in (*NIST_BY_VERB.items(), ("the evidence itself", NIST_OF_EVIDENCE)):
        click.echo(verb)
        for each in ids:
            click.echo(f"  {each:<8}{TITLES[each]}")
        for framework, clauses in TO_BE_CONFIRMED.get(verb, {}).items():
            click.echo(f"  to be confirmed: {framework} {', '.join(clauses)}")


@commands.command("verifier")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("skerry-verify.pyz"), show_default=True
)
@JSON
def verifier(out: Path, as_json: bool) -> None:
    """Write the verifier as one file for an auditor: it needs Python 3.11 and `cryptography`, and not skerry.

    Exit codes: 0 written.
    """
    import hashlib

    from orchestrator.evidence.stand_alone import stand_alone_verifier
    from orchestrator.foundation.atomic_file import replace_file

    content = stand_alone_verifier()
    replace_file(out, content, mode=0o755)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    told = {"path": str(out), "bytes": len(content), "digest": digest}
    click.echo(json.dumps(told) if as_json else f"{out}: {len(content) / 1000:.0f} kB, {digest}")
