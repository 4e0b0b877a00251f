"""`skerry evidence`: what an auditor does with the ledger."""

import json
import time
from pathlib import Path

import click


@click.group("evidence", help="Verify, export and anchor the evidence of runs.")
def commands() -> None:
    """Group of the evidence commands."""


@commands.command("verify")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--policy", type=click.Path(path_type=Path, dir_okay=False), help="The auditor's own trust policy (JSON)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def verify(path: Path | None, policy: Path | None, as_json: bool) -> None:
    """Recompute a ledger's whole log. Needs no network, no state store and no lock.

    PATH is the ledger's folder; the default is $SKERRY_HOME/ledger. Keys are taken from --policy. Without it they are
    the ones beside the log: that shows a whole log, and not whose it is.

    Exit codes: 0 verified; 52 the log does not verify.
    """
    from orchestrator.evidence.show import as_data, as_text
    from orchestrator.evidence.trust_policy import read_trust_policy
    from orchestrator.evidence.verify_log import own_keys, verify_log
    from orchestrator.foundation.errors import BrokenLog
    from orchestrator.foundation.places import ledger_folder

    began = time.perf_counter()
    folder = path or ledger_folder()
    trusted = read_trust_policy(policy) if policy else None
    vkeys = trusted.log_policy.logs if trusted else own_keys(folder)
    report = verify_log(folder, vkeys=vkeys, policy=trusted.log_policy if trusted else None)
    seconds = time.perf_counter() - began
    if as_json:
        click.echo(json.dumps(as_data(report, trusted, seconds)))
    else:
        click.echo(as_text(report, trusted, seconds))
    if not report.verified:
        failed = len(report.findings.failed)
        raise BrokenLog(
            f"the log in {folder} does not verify: {failed} of {report.findings.checks} checks failed",
            hint="Keep a copy as it is. Compare with checkpoints held elsewhere (object lock, witness, timestamps).",
        )
