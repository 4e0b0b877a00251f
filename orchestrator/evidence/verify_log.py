"""Verifies a log that lies in a folder: reads the files, lets log_judgement judge, and says what it found.

Needs no lock, no state store and no network; a log that is being written to is verified up to its newest checkpoint.
"""

import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.envelope import LoggedEvent
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.log_judgement import (
    LogVerdict,
    RunInLog,
    Stretch,
    judge_checkpoints,
    judge_stretches,
    look_at_bundle,
)
from orchestrator.evidence.merkle import TILE_WIDTH
from orchestrator.evidence.note import Checkpoint, LogPolicy, SignedCheckpoint, VerifierKey, open_checkpoint
from orchestrator.evidence.plain_file import read_plain
from orchestrator.evidence.policy_told import ADOPTED
from orchestrator.evidence.receipts import judge_receipts
from orchestrator.evidence.retention import in_words, read_retention
from orchestrator.evidence.verify_words import TILE_BYTES_MAX, judge_seen_heads, judge_uses
from orchestrator.foundation.errors import BrokenLog

STRETCH_BUNDLES = 64
ENTRIES_FOR_MORE_PROCESSES_MIN = 100_000
TRIES_MAX = 5
NOTE_BYTES_MAX = 1024 * 1024
_LOCKED_COPY = re.compile(r"(?<!\d)(\d{12})-([0-9a-f]{64})(?![0-9a-f])")
_TORN = re.compile(r"^\..+\.[0-9a-f]+\.tmp$")
_TILE = re.compile(r"^tile/(\d+|entries)/((?:x\d{3}/)*\d{3})(?:\.p/(\d{1,3}))?$")


@dataclass(frozen=True)
class HeldHead:
    """A head of the log that was kept where the operator can not change it."""

    size: int
    root: bytes


def read_held(text: str) -> list[HeldHead]:
    """Heads out of any text that names locked copies as `<size, 12 digits>-<root in hex>`: a listing as it is."""
    return [HeldHead(int(size), bytes.fromhex(root)) for size, root in sorted(set(_LOCKED_COPY.findall(text)))]


@dataclass
class LogReport:
    """The verdict over a whole log."""

    folder: str
    origin: str = ""
    size: int = 0
    root: str = ""
    checkpoints: int = 0
    policies: list[LoggedEvent] = field(default_factory=list)  # trust policies that were adopted, in order
    runs: list[RunInLog] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)

    @property
    def verified(self) -> bool:
        return self.findings.verified


def log_folder_of(folder: Path) -> Path:
    """The log below a ledger's folder, or the folder itself when it is the log."""
    return folder / "log" if (folder / "log").is_dir() else folder


def own_keys(folder: Path) -> list[VerifierKey]:
    """The verifier keys that lie beside a log. They prove wholeness, not who made it."""
    names = ("vkey", "vkey.ml-dsa-44")
    try:
        found = [read_plain(path, NOTE_BYTES_MAX).decode() for name in names if (path := folder / name).exists()]
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenLog(f"{folder}: the verifier key can not be read: {error}") from error
    if not found:
        raise BrokenLog(
            f"{folder}: there is no ledger here (no vkey)",
            hint="Name the ledger's folder, or a bundle's; the default is $SKERRY_HOME/ledger.",
        )
    return [VerifierKey.parse(text) for text in found]


def verify_log(
    folder: Path,
    *,
    vkeys: Sequence[VerifierKey],
    policy: LogPolicy | None = None,
    held: Sequence[HeldHead] = (),
    processes: int = 0,
) -> LogReport:
    """Recompute the whole log in `folder` (a ledger's, or the log's own). Never raises for what the log holds.

    `policy` adds witnesses and their quorum; `held` are heads that somebody else kept (see `read_held`). `processes` 0
    takes all cores for a large log.
    """
    log = log_folder_of(folder)
    report = LogReport(str(folder))
    for attempt in range(TRIES_MAX):
        report = LogReport(str(folder))
        earlier, head = _read_checkpoints(log, vkeys, policy, report)
        if head is None:
            return report
        dropped = [each.checkpoint for each in earlier if each.checkpoint.size > head.checkpoint.size]
        if dropped:
            report.findings.judge("LOG", judge_checkpoints(head.checkpoint, dropped, {})[:1], "")
            return report
        try:
            anchored, spoilt = _read_anchors(log.parent, [*vkeys, *(policy.keys if policy else ())])
            sizes = [each.checkpoint.size for each in (*earlier, *anchored)] + [each.size for each in held]
            verdict = _judge(log, head.checkpoint.size, sizes, processes)
            words = Findings()
            if not verdict.broken_tree:
                judge_seen_heads(log, head.checkpoint, verdict.signed, words)
                judge_uses(log, verdict.signed, words)
        except OSError as error:
            # A writer replaced tiles meanwhile; with an unchanged checkpoint the file is really missing.
            if attempt + 1 < TRIES_MAX and _has_moved_on(log, head):
                continue
            report.findings.fail("LOG", f"the log is not whole: {_relative(error, log)}")
            return report
        _report(report, log, head, earlier, verdict)
        report.findings.found += words.found
        report.policies = [event for event in verdict.signed if event.type == ADOPTED]
        _report_keeping(report.findings, verdict)
        _report_quorum(report.findings, head, anchored, policy)
        _report_anchors(report.findings, head, anchored, spoilt, verdict)
        judge_receipts(log.parent, verdict.receipts, report.findings)
        if held:
            kept = [Checkpoint(head.checkpoint.origin, each.size, each.root) for each in held]
            problems = judge_checkpoints(head.checkpoint, kept, verdict.roots)
            report.findings.judge(
                "ANCHORS", problems, f"all {len(held)} heads held elsewhere are beginnings of this log"
            )
        return report
    return report


def _relative(error: OSError, log: Path) -> str:
    path = Path(str(error.filename))
    name = path.relative_to(log).as_posix() if path.is_relative_to(log) else str(path)
    return f"{name}: {error.strerror}"


def _has_moved_on(log: Path, head: SignedCheckpoint) -> bool:
    try:
        return read_plain(log / "checkpoint", NOTE_BYTES_MAX).decode() != head.note
    except (OSError, UnicodeDecodeError):
        return False


def _open(path: Path, keys: Sequence[VerifierKey]) -> SignedCheckpoint:
    try:
        return open_checkpoint(read_plain(path, NOTE_BYTES_MAX).decode(), keys)
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenLog(f"can not be read: {error}") from None


def _read_checkpoints(
    log: Path, vkeys: Sequence[VerifierKey], policy: LogPolicy | None, report: LogReport
) -> tuple[list[SignedCheckpoint], SignedCheckpoint | None]:
    """Earlier checkpoints first: a writer replaces the newest one before it adds to their folder."""
    keys = [*vkeys, *(policy.keys if policy else ())]
    earlier, problems = [], []
    for path in sorted((log / "checkpoints").glob("[0-9]*")):
        try:
            signed = _open(path, keys)
            if path.name != f"{signed.checkpoint.size:012d}":
                raise BrokenLog(f"is over {signed.checkpoint.size} entries")
            earlier.append(signed)
        except BrokenLog as error:
            problems.append(f"checkpoints/{path.name}: {error.message}")
    findings = report.findings
    try:
        head = _open(log / "checkpoint", keys)
    except BrokenLog as error:
        findings.fail("LOG", f"checkpoint: {error.message}")
        return earlier, None
    checkpoint = head.checkpoint
    report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
    log_keys = {*vkeys, *(policy.logs if policy else ())}
    by_log = [key for key, _ in head.signatures if key in log_keys and key.name == checkpoint.origin]
    if by_log:
        names = ", ".join(key.algorithm.title for key in by_log)
        findings.ok("LOG", f"checkpoint of {checkpoint.origin}, size {checkpoint.size}, signed by the log ({names})")
    else:
        findings.fail("LOG", f"checkpoint of {checkpoint.origin} is not signed by a key of that log")
    missing = [key for key in log_keys if key.name == checkpoint.origin and key not in by_log]
    if by_log and missing:
        names = ", ".join(key.algorithm.title for key in missing)
        findings.fail("LOG", f"the log's {names} signature is missing from the checkpoint")
    if problems:
        findings.judge("LOG", problems, "")
    return earlier, head


def _judge(log: Path, size: int, sizes: Sequence[int], processes: int) -> LogVerdict:
    sizes = [each for each in sizes if each <= size]
    tiles: dict[tuple[int, int], bytes] = {}
    # From the top down, so that a head over more entries than there are files for ends at the first that is missing.
    for level in range((size.bit_length() - 1) // 8, 0, -1):
        for number, width in merkle.tiles_of_level(level, size):
            tiles[level, number] = _read_tile(log, level, number, width)[: merkle.HASH_BYTES * width]
    bundles = -(-size // TILE_WIDTH)
    wanted = {each // TILE_WIDTH for each in (*sizes, size)}
    tasks = []
    for first in range(0, bundles, STRETCH_BUNDLES):
        numbers = range(first, min(bundles, first + STRETCH_BUNDLES))
        tasks.append((str(log), size, numbers, frozenset(wanted.intersection(numbers))))
    if not processes:
        # A process with threads must not be forked.
        alone = threading.active_count() == 1
        processes = (os.cpu_count() or 1) if alone and size >= ENTRIES_FOR_MORE_PROCESSES_MIN else 1
    if processes == 1:
        return judge_stretches(map(_read_stretch, tasks), size, sizes, tiles)
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        return judge_stretches(pool.map(_read_stretch, tasks), size, sizes, tiles)


def _read_stretch(task: tuple[str, int, range, frozenset[int]]) -> Stretch:
    name, size, numbers, wanted = task
    log = Path(name)
    stretch = Stretch()
    for number in numbers:
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        bundle, tile = _read_tile(log, "entries", number, width), _read_tile(log, 0, number, width)
        look_at_bundle(stretch, number, bundle, width, tile, keep_tile=number in wanted)
    return stretch


def _read_tile(log: Path, level: int | str, number: int, width: int) -> bytes:
    try:
        return read_plain(log / merkle.tile_path(level, number, width), TILE_BYTES_MAX)
    except FileNotFoundError:
        if width == TILE_WIDTH:
            raise
        return read_plain(log / merkle.tile_path(level, number), TILE_BYTES_MAX)


def _report(
    report: LogReport, log: Path, head: SignedCheckpoint, earlier: Sequence[SignedCheckpoint], verdict: LogVerdict
) -> None:
    findings, size = report.findings, head.checkpoint.size
    report.runs = verdict.runs
    report.checkpoints = len({each.checkpoint.size for each in (*earlier, head)})
    findings.judge("LOG", verdict.broken_tree, f"{size} entries hash to the tiles, and these to the signed root")
    broken = judge_checkpoints(head.checkpoint, [each.checkpoint for each in earlier], verdict.roots)
    findings.judge("LOG", broken, f"all {report.checkpoints} heads ever signed are beginnings of the newest one")
    stray, unpublished = _stray_files(log, size)
    findings.judge("LOG", stray, "no file lies here that is not part of the log")
    if unpublished:
        findings.info("LOG", f"{unpublished} files of a publication that was broken off, or is under way")
    events = sum(run.events for run in verdict.runs)
    good = f"{len(verdict.runs)} runs with {events} events, each numbered without gap or repeat"
    findings.judge("RUNS", verdict.broken_runs, f"{good}; every step that finished was started before")
    unfinished = [run.run for run in verdict.runs if not run.is_finished]
    if unfinished:
        findings.info("RUNS", f"{len(unfinished)} not finished, or still under way: {', '.join(unfinished[:3])}")
    if verdict.open_steps:
        findings.info("RUNS", f"{len(verdict.open_steps)} steps without an end: {'; '.join(verdict.open_steps[:3])}")


def _report_keeping(findings: Findings, verdict: LogVerdict) -> None:
    try:
        lines = in_words(read_retention(verdict.keeping))
    except BrokenLog as error:
        findings.fail("KEEPING", error.message)
        return
    for line in lines:
        findings.info("KEEPING", line)


def _read_anchors(ledger: Path, keys: Sequence[VerifierKey]) -> tuple[list[SignedCheckpoint], list[str]]:
    """Heads that were shown to others, as kept beside the log."""
    notes, problems = [], []
    for path in sorted((ledger / "anchors").glob("[0-9]*.note")):
        try:
            notes.append(_open(path, keys))
        except BrokenLog as error:
            problems.append(f"anchors/{path.name}: {error.message}")
    return notes, problems


def _report_quorum(
    findings: Findings, head: SignedCheckpoint, anchored: Sequence[SignedCheckpoint], policy: LogPolicy | None
) -> None:
    """Witnesses sign heads as they are shown, so the newest one they signed may be some entries behind."""
    if policy is None or policy.quorum == "none":
        return
    sizes = [each.checkpoint.size for each in (head, *anchored) if policy.is_satisfied_by(each)]
    bad = [] if sizes else [f"the witnesses' quorum '{policy.quorum}' is not met by any head"]
    findings.judge("LOG", bad, f"the witnesses' quorum '{policy.quorum}' is met at {max(sizes, default=0)} entries")


def _report_anchors(
    findings: Findings,
    head: SignedCheckpoint,
    anchored: Sequence[SignedCheckpoint],
    spoilt: list[str],
    verdict: LogVerdict,
) -> None:
    if not anchored and not spoilt:
        findings.warn(
            "ANCHORS", "nobody else has seen a head of this log: that it was never rewritten is the operator's own word"
        )
        return
    problems = spoilt + judge_checkpoints(head.checkpoint, [each.checkpoint for each in anchored], verdict.roots)
    witnessed = sum(
        any(key.is_cosigner and key.name != each.checkpoint.origin for key, _ in each.signatures) for each in anchored
    )
    good = f"all {len(anchored)} anchored heads are beginnings of this log, {witnessed} signed by a known witness"
    findings.judge("ANCHORS", problems, good)
    behind = head.checkpoint.size - max((each.checkpoint.size for each in anchored), default=0)
    if behind:
        findings.info("ANCHORS", f"the last {behind} entries came after the last anchor")


def _stray_files(log: Path, size: int) -> tuple[list[str], int]:
    """Files that are no part of a log of `size` entries, and how many are of an unfinished publication."""
    needed = {(str(level), number): width for level, number, width in merkle.tiles_for(size)}
    needed |= {("entries", number): width for (level, number), width in needed.items() if level == "0"}
    stray, unpublished = [], 0
    for name in _files_below(log):
        if name == "checkpoint" or re.fullmatch(r"checkpoints/\d{12}", name):
            continue
        match = _TILE.match(name)
        if _TORN.match(name.rpartition("/")[2]):
            unpublished += 1
        elif match is None:
            stray.append(f"{name}: not a part of this log")
        else:
            level, width = match[1], int(match[3] or TILE_WIDTH)
            number = int(match[2].replace("x", "").replace("/", ""))
            wide = needed.get((level, number))
            if width == wide:
                continue
            problem = _judge_other_width(log, name, (level, number, width), wide)
            stray += [problem] if problem else []
            unpublished += not problem
    return stray, unpublished


def _judge_other_width(log: Path, name: str, tile: tuple[str, int, int], needed: int | None) -> str:
    """A tile that the newest checkpoint does not need: older and narrower, or of a publication that is not done."""
    level, number, width = tile
    if needed is None:
        return ""  # beyond the newest checkpoint: nothing was signed over it
    try:
        other = _read_tile(log, level if level == "entries" else int(level), number, needed)
        content = read_plain(log / name, TILE_BYTES_MAX)
    except OSError:
        return ""  # replaced meanwhile
    narrower, wider = (content, other) if width < needed else (other, content)
    return "" if wider.startswith(narrower) else f"{name}: contradicts the tile that the log ends with"


def _files_below(folder: Path) -> Iterator[str]:
    for place, _, files in os.walk(folder):
        below = Path(place).relative_to(folder).as_posix()
        for name in files:
            yield name if below == "." else f"{below}/{name}"
