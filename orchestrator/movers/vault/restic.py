"""A vault's repository by restic, run on the host that holds the data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.contracts.programs import program_text, root_user
from orchestrator.contracts.progress import Progress, ProgressSink, Rated
from orchestrator.contracts.transport import Transports
from orchestrator.contracts.vault import StoredTree
from orchestrator.foundation.errors import (
    CommandFailed,
    DataError,
    MissingTool,
    NoSpace,
    OrchestratorError,
    TargetError,
    TargetForbidden,
    TargetUnreachable,
)
from orchestrator.model.host import Host

PROGRAM = Path(__file__).parent.parent / "host_programs" / "vault_restic.py"
VAULT_SECONDS_MAX = 24 * 3600.0
# Reads the program from the front of standard input; what follows is the program's own.
_LOADER = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), 'vault_restic', 'exec'))"
_SECRETS = ("password", "access_key", "secret_key")


class ResticRepository:
    """`VaultRepository` in an S3 bucket. `secrets` gives password, access_key and secret_key, asked at each deed."""

    def __init__(
        self,
        transports: Transports,
        *,
        endpoint: str,
        bucket: str,
        prefix: str,
        region: str,
        secrets: Callable[[str], str],
    ) -> None:
        self._transports = transports
        self._endpoint = endpoint
        self._name = f"s3:{endpoint or 'https://s3.amazonaws.com'}/{bucket}/{prefix}"
        self._region = region
        self._secrets = secrets

    @property
    def name(self) -> str:
        return self._name

    def prepare(self, host: Host) -> str:
        return str(self._ask(host, "prepare")["version"])

    def store(self, host: Host, path: str, *, tags: tuple[str, ...], progress: ProgressSink | None) -> StoredTree:
        done = self._ask(host, "store", progress, path=path, tags=list(tags), reader=host.name)
        return StoredTree(
            snapshot=done["snapshot"],
            path=path,
            bytes_total=done["bytes"],
            bytes_added=done["added"],
            files=done["files"],
        )

    def restore(
        self, host: Host, snapshot: str, path: str, folder: str, *, bytes_total: int, progress: ProgressSink | None
    ) -> str:
        done = self._ask(host, "restore", progress, snapshot=snapshot, path=path, folder=folder, bytes=bytes_total)
        if "no_space" in done:
            raise NoSpace(f"{host.name}: {folder} has {done['free']} bytes free, {bytes_total} are needed")
        return str(done["path"])

    def clear(self, host: Host, folder: str) -> None:
        self._ask(host, "clear", folder=folder)

    def _ask(self, host: Host, do: str, progress: ProgressSink | None = None, **more: Any) -> dict[str, Any]:
        request = {
            "do": do,
            "repository": self._name,
            "region": self._region,
            "path_style": bool(self._endpoint),
            **more,
        }
        secrets = {} if do == "clear" else {name: self._secrets(name) for name in _SECRETS}
        program = program_text(PROGRAM)
        words = ["python3", "-I", "-S", "-c", _LOADER, str(len(program)), json.dumps(request)]

        show = Rated(progress)

        def hear(line: str) -> None:
            kind, _, text = line.partition(" ")
            if kind == "progress":
                show(Progress(text=f"{do} at {host.name}", **json.loads(text)))

        done = self._transports(host).run(
            words,
            stdin=program + json.dumps(secrets).encode(),
            user=root_user(host),
            timeout_seconds=VAULT_SECONDS_MAX,
            check=False,
            on_line=hear if progress is not None else None,
        )
        for line in reversed(done.stdout.splitlines()):
            if line.startswith(b"result "):
                return self._judged(host, do, json.loads(line[len(b"result ") :]))
        said = done.stderr.decode(errors="replace").strip().splitlines()
        why = said[-1] if said else f"exit code {done.exit_code}"
        if done.exit_code == 127:
            raise MissingTool(f"{host.name}: {why}", hint=f"Install python3 on {host.name}.")
        raise CommandFailed(f"{host.name}: vault {do} ended without a result: {why}")

    def _judged(self, host: Host, do: str, result: dict[str, Any]) -> dict[str, Any]:
        if "missing" in result:
            raise MissingTool(
                f"{host.name} lacks restic, which writes the vault's copies",
                hint=f"Install restic on {host.name} (Debian: apt-get install restic). Nothing was copied.",
            )
        if "refused" in result:
            raise _error(f"{host.name}: {do} of {self._name}", result)
        return result


def _error(where: str, result: dict[str, Any]) -> OrchestratorError:
    """Restic's own words, as an error of the tree."""
    said = str(result["refused"])
    message = f"{where}: {said}"
    if "wrong password" in said:
        return TargetForbidden(message, hint="The repository was made with another password than vault.password names.")
    if any(sign in said for sign in ("Access Denied", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")):
        return TargetForbidden(message, hint="Look at the policy of the vault's access key and of its bucket.")
    if any(sign in said for sign in ("connection refused", "no such host", "i/o timeout", "network is unreachable")):
        return TargetUnreachable(message)
    if "no space left on device" in said:
        return NoSpace(message)
    if result["exit_code"] == 3 or "does not exist" in said or "lstat" in said:
        return DataError(message, hint="Nothing was recorded. A copy that lacks a file is no copy.")
    return TargetError(message)
