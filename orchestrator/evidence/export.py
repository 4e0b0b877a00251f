"""Exports one run out of a ledger as a bundle: collects the evidence, then makes the reading copies from it."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.bundle import MANIFEST, manifest_of
from orchestrator.evidence.envelope import LoggedEvent, read_event
from orchestrator.evidence.merkle import TILE_WIDTH
from orchestrator.evidence.note import Checkpoint, split_note, to_base64
from orchestrator.evidence.reading.derive import derive
from orchestrator.evidence.seen_heads import seen_sizes
from orchestrator.evidence.story import load_json, references
from orchestrator.evidence.verify_log import own_keys, verify_log
from orchestrator.evidence.withheld import disclosures_for
from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.canonical_json import canonical_json
from orchestrator.foundation.errors import BrokenLog, EvidenceError, UsageError


def export_bundle(
    ledger: Path, run: str, out: Path, *, policy: bytes, disclose: Sequence[str] = ()
) -> dict[str, bytes]:
    """Write the bundle of `run` to the folder `out` (made, must be empty); returns its files by path.

    Reads the published log alone and needs no lock: what is not published yet is not in the bundle. `policy` is the
    reference copy of a trust policy; `disclose` names the protected values that it shows. Raises UsageError for a run
    or a value that the log does not have.
    """
    _refuse_occupied(out)
    core = collect(ledger, run, policy=policy)
    core["disclosures.json"] = canonical_json(disclosures_for(ledger, run, core, disclose))
    files = {**core, **derive(core)}
    files[MANIFEST] = manifest_of(files)
    write_files(out, files)
    return files


def write_files(out: Path, files: Mapping[str, bytes]) -> None:
    """Make the folder `out` with `files`; it appears whole. UsageError when something is there already."""
    _refuse_occupied(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        unfinished.chmod(0o755)
        for path, content in files.items():
            replace_file(unfinished / path, content)
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise EvidenceError(f"{out} can not be written: {error}") from error


def _refuse_occupied(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already", hint="Name a new folder: nothing else may lie there.")


def collect(ledger: Path, run: str, *, policy: bytes) -> dict[str, bytes]:
    """The core of a bundle: everything of one run, and what binds it to the log's newest head."""
    log = ledger / "log"
    note, anchored = newest_note(ledger)
    head = Checkpoint.parse(split_note(note)[0])
    reader = merkle.TileReader(head.size, _reader(log))
    entries = [(index, entry) for index, entry in read_entries(log, head.size) if f'"run":"{run}"'.encode() in entry]
    found = [(event, entry) for event, entry in ((read_event(i, e), e) for i, e in entries) if event.run == run]
    if not found:
        raise UsageError(f"the log has no run {run}", hint="See them with: skerry evidence population")
    core = {
        "log/checkpoint": note.encode(),
        "log/events.ndjson": b"".join(entry + b"\n" for _, entry in found),
        "log/events.idx": "".join(f"{event.index}\n" for event, _ in found).encode(),
        "policy/trust-policy.json": policy,
        "disclosures.json": canonical_json([]),
    }
    indices = [event.index for event, _ in found]
    core |= {f"log/{path}": content for path, content in _tiles(reader, head.size, indices)}
    core |= _anchors(ledger, reader, head, anchored, first=indices[0])
    core |= _artifacts(ledger, [event for event, _ in found])
    sizes = seen_sizes([event for event, _ in found], lambda digest: core.get(artifact_path(digest)))
    core |= _consistency(reader, {size for size in sizes if 0 < size < head.size})
    return core


def newest_note(ledger: Path) -> tuple[str, list[int]]:
    """The note of the newest head, with witnesses' signatures where there are any; and the sizes that were anchored."""
    try:
        note = (ledger / "log" / "checkpoint").read_text(encoding="utf-8")
    except OSError as error:
        raise BrokenLog(f"{ledger}: there is no published log here: {error.strerror}") from error
    size = Checkpoint.parse(split_note(note)[0]).size
    # Digits alone: what a person copied beside is no anchor.
    anchored = sorted(int(path.stem) for path in (ledger / "anchors").glob("[0-9]" * 12 + ".note"))
    cosigned = ledger / "anchors" / f"{size:012d}.note"
    return (cosigned.read_text(encoding="utf-8") if cosigned.exists() else note), [
        each for each in anchored if each <= size
    ]


def _reader(log: Path) -> Callable[[str], bytes]:
    return lambda path: (log / path).read_bytes()


def read_entries(log: Path, size: int) -> Iterable[tuple[int, bytes]]:
    """Every entry of a log of `size`, in order, with its index."""
    for number in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        try:
            bundle = (log / merkle.tile_path("entries", number, width)).read_bytes()
        except FileNotFoundError:
            bundle = (log / merkle.tile_path("entries", number)).read_bytes()
        yield from enumerate(merkle.unpack_bundle(bundle)[:width], start=number * TILE_WIDTH)


def verified_events(ledger: Path) -> tuple[list[LoggedEvent], Callable[[str], bytes | None]]:
    """All events of a log that verifies with its own keys, and the way to its artifacts; BrokenLog when it does not."""
    report = verify_log(ledger, vkeys=own_keys(ledger))
    if not report.verified:
        raise BrokenLog(f"the log in {ledger} does not verify", hint=f"See: skerry evidence verify {ledger}")

    def artifact(digest: str) -> bytes | None:
        path = ledger / artifact_path(digest)
        return path.read_bytes() if path.exists() else None

    return [read_event(index, entry) for index, entry in read_entries(ledger / "log", report.size)], artifact


def _tiles(reader: merkle.TileReader, size: int, indices: list[int]) -> Iterable[tuple[str, bytes]]:
    """Hash tiles that bind the run's entries to the root: all upper ones, and those of level 0 that hold them."""
    needed = {index // TILE_WIDTH for index in indices}
    for level, number, width in merkle.tiles_for(size):
        if level or number in needed or width < TILE_WIDTH:
            yield merkle.tile_path(level, number, width), reader.tile(level, number)


def _anchors(
    ledger: Path, reader: merkle.TileReader, head: Checkpoint, sizes: list[int], *, first: int
) -> dict[str, bytes]:
    """Anchored heads from the last one before the run on, with proofs that they are beginnings of this head."""
    files: dict[str, bytes] = {}
    before = max((size for size in sizes if size <= first), default=0)
    for size in (each for each in sizes if each >= before):
        for suffix in (".note", ".tsr"):
            path = ledger / "anchors" / f"{size:012d}{suffix}"
            if path.exists():
                files[f"anchors/{path.name}"] = path.read_bytes()
    files |= _consistency(reader, {size for size in sizes if before <= size < head.size})
    claims = [json.loads(path.read_bytes()) for path in sorted((ledger / "anchors").glob("*.worm.json"))]
    if claims:
        files["anchors/worm.json"] = canonical_json(claims)
    return files


def _consistency(reader: merkle.TileReader, sizes: Iterable[int]) -> dict[str, bytes]:
    """Proofs that the log of each of these sizes is a beginning of the reader's."""
    files = {}
    for size in sizes:
        proof = "".join(to_base64(step) + "\n" for step in reader.consistency(size))
        files[f"log/consistency/{size:012d}"] = f"old {size}\n{proof}".encode()
    return files


def _artifacts(ledger: Path, events: list[LoggedEvent]) -> dict[str, bytes]:
    """What the events refer to, and what an event too large for the log refers to in turn."""
    files: dict[str, bytes] = {}
    waiting = [reference for event in events for reference in references(event.data)]
    kept = {str(event.data["kept"]["digest"]) for event in events if set(event.data) == {"kept"}}
    while waiting:
        digest = str(waiting.pop()["digest"])
        path = artifact_path(digest)
        if path in files:
            continue
        try:
            files[path] = (ledger / path).read_bytes()
        except OSError as error:
            raise BrokenLog(f"{path} can not be read: {error.strerror}") from error
        if digest in kept:
            waiting += references(load_json(files[path], path))
    return files
