"""Makes the signed inputs below material/, once: what a person, an authority and a run signed, with keys thrown away.

`python -m tests.fuzz.make_material`. Inputs of the corpus name digests of them: making them anew weakens the corpus.
"""

import base64
import gzip
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.approvals import SshApprovalSigner
from orchestrator.evidence.bundle import is_core, read_bundle
from orchestrator.evidence.export import collect, export_bundle
from orchestrator.evidence.note import Checkpoint
from orchestrator.evidence.people import run_digest
from orchestrator.evidence.signing.ssh_signature import NAMESPACE
from orchestrator.evidence.signing.timestamps import timestamp_query
from orchestrator.evidence.statements import Envelope
from orchestrator.model.approval import ApprovalStatement
from tests.fakes.laboratory_authority import LaboratoryAuthority
from tests.fakes.staged_run import StagedRun, make_keys, trust_policy
from tests.fuzz.notes import ORIGIN, checkpoint

ANCHORED_SIZE = 40
MATERIAL = Path(__file__).parent / "material"
SIGNED_TEXT = b"DSSEv1 what the signatures of this folder are over"
KINDS = {
    "ed25519": ["ed25519"],
    "p256": ["ecdsa", "-b", "256"],
    "p384": ["ecdsa", "-b", "384"],
    "p521": ["ecdsa", "-b", "521"],
    "rsa": ["rsa", "-b", "2048"],
}


def _people(folder: Path) -> None:
    lines = []
    for name, words in KINDS.items():
        key = folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", *words, "-N", "", "-C", "", "-f", str(key)], check=True)
        lines.append(key.with_suffix(".pub").read_text().strip())
        signing = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)]
        signed = subprocess.run(signing, input=SIGNED_TEXT, capture_output=True, check=True)
        (MATERIAL / f"signature-{name}.sshsig").write_bytes(signed.stdout)
    (MATERIAL / "ssh-keys.pub").write_text("\n".join(lines) + "\n")
    said = ApprovalStatement(
        plan="sha256:" + "ab" * 32,
        person="ana",
        role="system-owner",
        decision="approve",
        nonce="n-1",
        at="2026-11-21T11:00:00.000Z",
        expires_at="2026-11-22T11:00:00.000Z",
        log_origin="evidence.example/prod",
        log_size=9,
        log_root=base64.b64encode(checkpoint(9).root).decode(),
        comment="seen",
    )
    approval = SshApprovalSigner().sign(said, str(folder / "ed25519"))
    (MATERIAL / "approval.json").write_text(approval.model_dump_json())
    (MATERIAL / "envelope.json").write_text(approval.envelope)
    (MATERIAL / "statement.json").write_bytes(Envelope.parse(approval.envelope).payload)


def _authority(folder: Path) -> None:
    """Answers over the head of the entries of notes.py, and over two heads of the bundle's log."""
    authority = LaboratoryAuthority(folder / "tsa")
    (MATERIAL / "tsa-roots.pem").write_text(authority.roots)
    (MATERIAL / "answer.tsr").write_bytes(authority.answer(timestamp_query(checkpoint(9).text())))
    core = json.loads(gzip.decompress((MATERIAL / "bundle.json.gz").read_bytes()))
    tile = next(base64.b64decode(content) for path, content in core.items() if path.startswith("log/tile/0/"))
    size = len(tile) // merkle.HASH_BYTES
    for name, count in (("anchored", ANCHORED_SIZE), ("head", size)):
        head = Checkpoint(ORIGIN, count, merkle.TileReader(count, lambda _: tile).root())
        (MATERIAL / f"{name}.tsr").write_bytes(authority.answer(timestamp_query(head.text())))


def _bundle(folder: Path) -> None:
    keys = folder / "people"
    keys.mkdir()
    staged = StagedRun(folder / "ledger", make_keys(keys)).go()
    policy = trust_policy(folder / "ledger", keys)
    entries = collect(folder / "ledger", staged.run, policy=policy)["log/events.ndjson"].split(b"\n")[:-1]
    staged.review(run_digest(entries))
    export_bundle(folder / "ledger", staged.run, folder / "bundle", policy=policy)
    core = {path: content for path, content in read_bundle(folder / "bundle").items() if is_core(path)}
    text = json.dumps({path: base64.b64encode(content).decode() for path, content in sorted(core.items())})
    (MATERIAL / "bundle.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def main() -> None:
    shutil.rmtree(MATERIAL, ignore_errors=True)
    MATERIAL.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        _people(Path(folder))
        _bundle(Path(folder))
        _authority(Path(folder))


if __name__ == "__main__":
    main()
