"""`skerry witness`: what an audit office runs, so that nobody can show two histories of one log."""

import json
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.words import JSON_OPTION


@click.group("witness", help="Vouch for other people's logs: cosign their heads, only when they grow.")
def commands() -> None:
    """Group of the witness commands."""


STATE = click.option("--state", required=True, type=click.Path(path_type=Path, file_okay=False), help="Its own folder.")
NAME = click.option("--name", required=True, help="The witness's name: witness.audit.example/one")


@commands.command("key")
@STATE
@NAME
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def key(state: Path, name: str, as_json: bool) -> None:
    """Print the witness's verifier key; it is made on the first call. Auditors put it into their trust policy.

    Exit codes: 0 printed; 50 the key cannot be read.
    """
    vkey = str(_signer(state, name).verifier_key)
    click.echo(json.dumps({"vkey": vkey}) if as_json else vkey)


@commands.command("serve")
@STATE
@NAME
@click.option(
    "--log", "logs", multiple=True, required=True, help="Verifier key of a log to vouch for; may be repeated."
)
@click.option("--listen", default="127.0.0.1:8470", show_default=True, metavar="HOST:PORT")
@JSON_OPTION
def serve(state: Path, name: str, logs: tuple[str, ...], listen: str, as_json: bool) -> None:
    """Answer c2sp.org/tlog-witness requests until Ctrl-C. TLS belongs in front of it.

    Exit codes: 0 ended; 2 the address is malformed; 52 a log's key is malformed.
    """
    from orchestrator.evidence.note import VerifierKey
    from orchestrator.evidence.witness import Witness
    from orchestrator.evidence.witness_server import make_server
    from orchestrator.foundation.clock import SystemClock
    from orchestrator.foundation.errors import UsageError

    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{listen!r} is not HOST:PORT")
    signer = _signer(state, name)
    witness = Witness(state / "logs", signer, [VerifierKey.parse(log) for log in logs], SystemClock())
    try:
        server = make_server(witness, host, int(port))
    except OSError as error:
        raise UsageError(f"can not listen on {listen}: {error.strerror}") from error
    address = f"{host}:{server.server_address[1]}"
    if as_json:
        click.echo(json.dumps({"verifier_key": str(signer.verifier_key), "listening": address}))
    else:
        click.echo(f"{signer.verifier_key}\nlistening on {address}", err=True)
    with server:
        server.serve_forever()


def _signer(state: Path, name: str) -> Any:
    from orchestrator.evidence.note import NoteSigner
    from orchestrator.evidence.signing.log_keys import Algorithm, SigningKey

    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return NoteSigner(name, SigningKey.load_or_make(state / "witness.ed25519", Algorithm.COSIGNATURE_ED25519))
