"""What stands ready where clients wait for a cluster's answers: open sessions with its server, one way for each use.

One that digests may be at it for long, so questions go another way. None where nothing stands ready, or where what
stands there cannot answer (see kept_programs).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.contracts.databases import SERVER_USER
from orchestrator.contracts.joined_program import with_libraries
from orchestrator.contracts.kept_program import KeptProgram
from orchestrator.contracts.transport import Transport
from orchestrator.model.dataset import PostgresCluster
from orchestrator.movers.kept_programs import KeptPrograms, Key

_PROGRAMS = Path(__file__).parent.parent / "host_programs"
LIFE_SECONDS_MAX = 6 * 3600.0
IDLE_SECONDS_MAX = 600.0  # a server that is told to wait for its sessions waits for these no longer
DIGEST_SECONDS_MAX = 24 * 3600.0
_TALK, _DIGEST = "talk", "digest"


@dataclass(frozen=True)
class ReadyCluster:
    """One cluster on one host."""

    programs: KeptPrograms
    cluster: PostgresCluster
    transport: Transport

    def begin(self, *, idle_seconds: float = IDLE_SECONDS_MAX) -> str:
        """Let sessions stand, until nobody asked for so long; why not, where they cannot."""
        talk = self._begin(_TALK, ["postgres"], idle_seconds)
        return talk or self._begin(_DIGEST, list(self.cluster.databases), idle_seconds)

    def sql(self, statement: str, *, timeout_seconds: float) -> str | None:
        answer = self._ask(_TALK, {"do": "say", "statement": statement}, timeout_seconds)
        return None if answer is None else str(answer["said"])

    def digest(self) -> dict[str, Any] | None:
        """As postgres_digest.py tells it."""
        return self._ask(_DIGEST, {"do": "digest"}, DIGEST_SECONDS_MAX)

    def _key(self, use: str) -> Key:
        return self.cluster.name, self.cluster.data_directory, use, self.transport.host.name

    def _begin(self, use: str, databases: list[str], idle_seconds: float) -> str:
        def make() -> KeptProgram:
            libraries = (_PROGRAMS / name for name in ("postgres_digest.py", "answering.py"))
            request = {
                "data": self.transport.host.path(self.cluster.data_directory),
                "binaries": self.cluster.binaries,
                "databases": databases,
                "digests": use == _DIGEST,
                "idle_seconds": idle_seconds,
            }
            text = with_libraries(_PROGRAMS / "postgres_ready.py", *libraries)
            program = KeptProgram(self.transport, text, request, user=SERVER_USER, seconds_max=LIFE_SECONDS_MAX)
            program.open()
            return program

        return self.programs.begin(self._key(use), make)

    def _ask(self, use: str, question: dict[str, Any], timeout_seconds: float) -> dict[str, Any] | None:
        answer = self.programs.ask(self._key(use), question, timeout_seconds=timeout_seconds)
        return None if answer is None or "failed" in answer else answer
