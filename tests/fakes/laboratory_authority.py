"""A time-stamping authority by OpenSSL, for tests: its keys are files, and its word is worth nothing elsewhere."""

import subprocess
from pathlib import Path

from orchestrator.foundation.errors import CommandFailed, MissingTool

_CONFIGURATION = """\
[tsa]
default_tsa=t
[t]
serial=serial
crypto_device=builtin
signer_cert=tsa.pem
signer_key=tsa.key
signer_digest=sha256
default_policy=1.3.6.1.4.1.99999.1
digests=sha256,sha384,sha512
accuracy=secs:1
ordering=no
tsa_name=no
ess_cert_id_chain=no
ess_cert_id_alg=sha256
[ext]
extendedKeyUsage=critical,timeStamping
keyUsage=critical,digitalSignature
"""


class LaboratoryAuthority:
    """Answers RFC 3161 queries with the present time. `roots` is the PEM to verify its answers under."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "tsa.pem").exists():
            self._make()

    @property
    def roots(self) -> str:
        return (self._folder / "ca.pem").read_text()

    def answer(self, query: bytes) -> bytes:
        (self._folder / "query.tsq").write_bytes(query)
        self._openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "answer.tsr")
        return (self._folder / "answer.tsr").read_bytes()

    def _make(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "tsa.cnf").write_text(_CONFIGURATION)
        (self._folder / "serial").write_text("01\n")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        days = ["-days", "3650"]
        ca = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Laboratory timestamps, root"]
        self._openssl("req", "-x509", *key, *ca, *days)
        self._openssl("req", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Laboratory timestamps")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "tsa.cnf", "-extensions", "ext"]
        self._openssl("x509", "-req", "-in", "tsa.csr", *signed, *days, "-out", "tsa.pem")

    def _openssl(self, *words: str) -> None:
        try:
            done = subprocess.run(["openssl", *words], cwd=self._folder, capture_output=True, check=False, timeout=30)
        except FileNotFoundError:
            raise MissingTool("openssl is not installed here", hint="apt-get install openssl") from None
        if done.returncode:
            raise CommandFailed(f"openssl {words[0]}: {done.stderr.decode(errors='replace').strip()[-300:]}")
