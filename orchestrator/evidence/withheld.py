"""Protected values beside the log: which are concealed, where their disclosures lie, and which a bundle shows.

disclosures/<run>.ndjson        one disclosure a line; taking the file away makes the values unreadable for ever
disclosures/artifacts.ndjson    those within artifacts

Rule: a disclosure is durable before its digest is in the log, and never enters the log or an artifact itself.
"""

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from orchestrator.evidence.disclosure import disclosure_digest, logged_digests, open_disclosure
from orchestrator.evidence.envelope import read_event
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import BrokenLog, EvidenceError, UsageError

FOLDER = "disclosures"
OF_ARTIFACTS = "artifacts"
OBSERVED_MEDIA_TYPE = "application/vnd.skerry.observed+json"

# Members that a verifier judges by. Concealing one of them would make a run that cannot be judged.
_JUDGED_BY = """
plan planArtifact kind operator author systems objectives files by role decision key envelope mode action phase needs
status message observed observedArtifact digest size mediaType kept playbook counter events dataset match sides
algorithm from to number confirmed side gate criteria passed id objective target_seconds achieved_seconds met because
state reason result rolledBack years hold format origin keys
"""
JUDGED_BY = frozenset(_JUDGED_BY.split())


def names_to_conceal(names: Iterable[str]) -> frozenset[str]:
    """The names of a policy; EvidenceError for one that a verifier needs."""
    found = frozenset(names)
    needed = sorted(found & JUDGED_BY)
    if needed:
        raise EvidenceError(
            f"{needed[0]!r} can not be concealed: verifiers judge by it",
            hint="Name the member that holds the personal value: policy.yml, key concealed.",
        )
    return found


class Withheld:
    """The disclosures of a ledger. `keep` may be called from any thread."""

    def __init__(self, ledger: Path) -> None:
        self._folder = ledger / FOLDER
        self._one_at_a_time = threading.Lock()

    def keep(self, run: str, disclosures: Sequence[str]) -> None:
        """Durable when it returns."""
        if not disclosures:
            return
        try:
            with self._one_at_a_time:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                descriptor = os.open(self._folder / f"{run}.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write("".join(f"{each}\n" for each in disclosures).encode())
                    stream.flush()
                    os.fsync(stream.fileno())
        except OSError as error:
            raise EvidenceError(f"{self._folder}: a protected value can not be kept: {error.strerror}") from error

    def read(self, run: str) -> list[str]:
        """All of a run; a line that was cut off by a crash has no event and is left out."""
        try:
            lines = (self._folder / f"{run}.ndjson").read_text(encoding="ascii").split("\n")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise EvidenceError(f"{self._folder}: disclosures of {run} can not be read: {error}") from error
        return lines[:-1]

    def erase(self, run: str, digests: Iterable[str]) -> int:
        """Take away the disclosures of `digests`, of a run and of artifacts; returns how many there were."""
        gone, erased = frozenset(digests), 0
        for name in (run, OF_ARTIFACTS):
            with self._one_at_a_time:
                kept = self.read(name)
                left = [each for each in kept if disclosure_digest(each) not in gone]
                if len(left) < len(kept):
                    content = "".join(f"{each}\n" for each in left)
                    replace_file(self._folder / f"{name}.ndjson", content.encode(), mode=0o600)
                    erased += len(kept) - len(left)
        return erased


def disclosures_for(ledger: Path, run: str, core: Mapping[str, bytes], names: Sequence[str]) -> list[str]:
    """The disclosures that a bundle shows: of the values called `names`. UsageError for a name that nothing has."""
    if not names:
        return []
    entries = core["log/events.ndjson"].split(b"\n")[:-1]
    logged = set(logged_digests([read_event(at, entry) for at, entry in enumerate(entries)], core))
    kept = Withheld(ledger)
    chosen: dict[str, str] = {}
    for each in (*kept.read(run), *kept.read(OF_ARTIFACTS)):
        try:
            name = open_disclosure(each)[0]
        except BrokenLog:
            continue  # cut off by a crash: no event holds its digest
        if disclosure_digest(each) in logged and name in names:
            chosen[each] = name
    missing = sorted(set(names) - set(chosen.values()))
    if missing:
        raise UsageError(f"the run has no protected value called {missing[0]!r}, or it was erased")
    return list(chosen)
