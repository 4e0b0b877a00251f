"""Judges a whole log from its entries alone. Pure: bytes and values come in, a verdict goes out.

What must hold: entries hash to the level-0 tiles, tiles to the tiles above, the tree to every root that was ever
signed; events of each run are numbered 0, 1, 2 … without gap or repeat; a step that finished was started before.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from orchestrator.evidence import merkle
from orchestrator.evidence.envelope import LOG_RUN, LoggedEvent, read_event
from orchestrator.evidence.merkle import HASH_BYTES, TILE_WIDTH
from orchestrator.evidence.note import Checkpoint
from orchestrator.evidence.receipts import RECORDED
from orchestrator.evidence.retention import KINDS as RETENTION_KINDS
from orchestrator.evidence.seen_heads import SIGNED_KINDS
from orchestrator.foundation.errors import BrokenLog

PROBLEMS_KEPT_MAX = 200

# The end of an entry as we write it. A quote inside a JSON string is escaped, so `,"id":"` last stands where it should.
_END = re.compile(
    rb',"id":"([A-Za-z0-9._:-]+)/(\d{1,18})","run":"\1","seq":\2,"source":"[^"]*","specversion":"1\.0"'
    rb'(?:,"subject":"([^"]*)")?,"time":"[^"]*","type":"skerry\.([a-z0-9_.]+)\.v1"\}'
)
_ID, _TYPE, _LAST = b',"id":"', b'"type":"skerry.', b'.v1"}'
_TIME_BYTES = len("2026-11-21T22:18:00.123Z")
_LOOKED_AT = frozenset(
    (
        *(b"step.started", b"step.finished", b"run.created", b"run.started", b"run.finished"),
        *(kind.encode() for kind in (*RETENTION_KINDS, *SIGNED_KINDS, RECORDED)),
    )
)


@dataclass(frozen=True)
class StepMark:
    run: str
    kind: str
    index: int
    deed: tuple[str, str]  # system and step, and mode (do or undo); attempts are told apart by the rules of runs


@dataclass
class Stretch:
    """What a stretch of entry bundles holds: small enough to travel between processes."""

    roots: list[bytes] = field(default_factory=list)  # one for each full bundle
    tiles: dict[int, bytes] = field(default_factory=dict)  # level-0 hashes of the bundles asked for
    problems: list[str] = field(default_factory=list)
    numbers: dict[str, tuple[int, int]] = field(default_factory=dict)  # run → first and next number
    steps: list[StepMark] = field(default_factory=list)
    marks: list[tuple[str, str, str]] = field(default_factory=list)  # run, kind, time
    keeping: list[LoggedEvent] = field(default_factory=list)  # what is said of retention and holds
    signed: list[LoggedEvent] = field(default_factory=list)  # words of persons
    receipts: list[LoggedEvent] = field(default_factory=list)  # of anchors

    def complain(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_KEPT_MAX:
            self.problems.append(problem)


def look_at_bundle(stretch: Stretch, number: int, bundle: bytes, width: int, tile: bytes, *, keep_tile: bool) -> None:
    """Take one entry bundle, of which `width` entries count, and its level-0 tile into the stretch."""
    first = number * TILE_WIDTH
    try:
        entries = merkle.unpack_bundle(bundle)[:width]
    except ValueError as error:
        stretch.complain(f"entries {first} to {first + width - 1}: {error}")
        entries = []
    hashes = b"".join([sha256(b"\x00" + entry).digest() for entry in entries])
    if len(entries) != width:
        stretch.complain(f"{len(entries)} entries from {first} on, where {width} belong")
    elif hashes != tile[: HASH_BYTES * width]:
        stretch.complain(_first_difference(hashes, tile, first))
    look_at_events(stretch, first, entries)
    if keep_tile:
        stretch.tiles[number] = hashes
    if width == TILE_WIDTH:
        whole = len(entries) == width
        stretch.roots.append(merkle.perfect_root(hashes) if whole else sha256(b"missing").digest())


def _first_difference(hashes: bytes, tile: bytes, first: int) -> str:
    for at in range(0, len(hashes), HASH_BYTES):
        if hashes[at : at + HASH_BYTES] != tile[at : at + HASH_BYTES]:
            return f"entry {first + at // HASH_BYTES} does not hash to its place in the tile"
    return f"the tile over the entries from {first} on is too long or too short"


def look_at_events(stretch: Stretch, first: int, entries: Iterable[bytes]) -> None:
    """Follow numbers of runs, and starts and ends of steps. Most entries pass by comparing bytes."""
    following: dict[bytes, tuple[int, bytes]] = {}  # run → its next number, and the form in which an entry tells it
    kinds: dict[bytes, bool] = {}  # how an entry of each kind ends → whether that kind is looked at
    run, seq, form, kind = b"", 0, b"", b""
    shape: _Shape | None = None
    for index, entry in enumerate(entries, start=first):
        # Nearly always like the one before it but for number and time. This is the hot path of verifying a log.
        if shape is not None:
            told = shape.form % (seq, seq)
            at = len(entry) - len(told) - shape.rest_bytes
            alike = entry.startswith(told, at) and entry.endswith(shape.end)
            if alike and entry.find(b'"', at + len(told)) == len(entry) - len(shape.end):
                seq += 1
                continue
        at = entry.rfind(form % (seq, seq)) if form else -1
        before, kind = kind, entry[entry.rfind(_TYPE) :]
        if at < 0 or entry.find(_ID, at + 1) >= 0 or kind not in kinds:
            if form:
                following[run] = seq, form
            at = entry.rfind(_ID)
            run, shape = entry[at + len(_ID) : entry.find(b"/", at)], None
            known = following.get(run) or _join_run(stretch, run, index, entry)
            if known is None:
                form = b""
                continue
            seq, form = known
            at = entry.rfind(form % (seq, seq))
            if at < 0 or entry.find(_ID, at + 1) >= 0 or not kind.endswith(_LAST):
                seq = _out_of_line(stretch, index, entry, seq)
            if kind.startswith(_TYPE) and kind.endswith(_LAST):
                kinds[kind] = kind[len(_TYPE) : -len(_LAST)] in _LOOKED_AT
        elif kind == before:
            shape = _shape_of(entry[at:], form, seq, kind) if not kinds[kind] else None
        seq += 1
        if kinds.get(kind):
            _look_closer(stretch, index, entry)
    if form:
        following[run] = seq, form
    for name, (number, _) in following.items():
        stretch.numbers[name.decode()] = (stretch.numbers[name.decode()][0], number)


@dataclass(frozen=True)
class _Shape:
    """How entries of one run, kind and subject end, but for number and time."""

    form: bytes  # from the id to where the time begins
    end: bytes  # from where it ends
    rest_bytes: int  # what follows the form


def _shape_of(tail: bytes, form: bytes, seq: int, kind: bytes) -> _Shape | None:
    """The shape of an entry that ends with `tail`, which begins with its id; None where its time is of another form."""
    end = b'",' + kind
    told = form % (seq, seq)
    middle = tail[len(told) : len(tail) - len(end) - _TIME_BYTES]
    if not middle.endswith(b',"time":"') or not tail.endswith(end):
        return None
    return _Shape(form + middle.replace(b"%", b"%%"), end, _TIME_BYTES + len(end))


def _join_run(stretch: Stretch, run: bytes, index: int, entry: bytes) -> tuple[int, bytes] | None:
    """What is expected next of a run that these entries name for the first time; None when the entry is no event."""
    end = _END.match(entry, max(0, entry.rfind(b',"id":"')))
    if end is None or end.end() != len(entry) or end[1] != run:
        stretch.complain(f"entry {index} is not an event of the form of this log")
        return None
    known = stretch.numbers.setdefault(run.decode(), (int(end[2]), int(end[2])))
    # Names of runs hold no per cent sign.
    return known[1], b',"id":"' + run + b'/%d","run":"' + run + b'","seq":%d,"source":"'


def _out_of_line(stretch: Stretch, index: int, entry: bytes, wanted: int) -> int:
    """Say what is wrong with an entry that is not the next one of its run; returns the number to go on from."""
    end = _END.match(entry, max(0, entry.rfind(b',"id":"')))
    if end is None or end.end() != len(entry):
        stretch.complain(f"entry {index} is not an event of the form of this log")
        return wanted
    stretch.complain(f"entry {index}: run {end[1].decode()} goes on with number {int(end[2])} where {wanted} belongs")
    return int(end[2])


def _look_closer(stretch: Stretch, index: int, entry: bytes) -> None:
    try:
        event = read_event(index, entry)
    except BrokenLog as error:
        stretch.complain(error.message)
        return
    if event.type.startswith("step."):
        deed = (f"{event.system}/{event.step}", str(event.data.get("mode", "")))
        stretch.steps.append(StepMark(event.run, event.type, index, deed))
    elif event.type in RETENTION_KINDS:
        stretch.keeping.append(event)
    elif event.type in SIGNED_KINDS:
        stretch.signed.append(event)
    elif event.type == RECORDED:
        stretch.receipts.append(event)
    else:
        stretch.marks.append((event.run, event.type, event.time))


@dataclass(frozen=True)
class RunInLog:
    """One run as the log tells of it."""

    run: str
    events: int
    created_at: str = ""
    finished_at: str = ""
    steps_started: int = 0
    steps_finished: int = 0

    @property
    def is_finished(self) -> bool:
        return bool(self.finished_at)


@dataclass
class LogVerdict:
    """What the entries say, and what does not fit."""

    roots: dict[int, bytes]  # size → root, for every size asked for
    runs: list[RunInLog]
    broken_tree: list[str]
    broken_runs: list[str]
    open_steps: list[str]  # started and never finished: a run under way, or one that died
    keeping: list[LoggedEvent] = field(default_factory=list)  # in order
    signed: list[LoggedEvent] = field(default_factory=list)  # in order
    receipts: list[LoggedEvent] = field(default_factory=list)  # in order


def judge_stretches(
    stretches: Iterable[Stretch], size: int, sizes: Sequence[int], upper_tiles: Mapping[tuple[int, int], bytes]
) -> LogVerdict:
    """Put the stretches of a log of `size` entries together, in order. `upper_tiles` are the tiles above level 0."""
    following = _Following()
    frontier = merkle.Frontier()
    wanted: dict[int, list[int]] = {}
    for each in sorted({*sizes, size}):
        wanted.setdefault(each // TILE_WIDTH, []).append(each)
    roots: dict[int, bytes] = {}
    broken: list[str] = []
    level_one = bytearray()
    keeping: list[LoggedEvent] = []
    signed: list[LoggedEvent] = []
    receipts: list[LoggedEvent] = []
    for stretch in stretches:
        keeping += stretch.keeping
        signed += stretch.signed
        receipts += stretch.receipts
        broken += stretch.problems
        following.take(stretch)
        for root in stretch.roots:
            _roots_within(frontier, wanted, stretch.tiles, roots)
            frontier.append_perfect(root, TILE_WIDTH)
            level_one += root
        _roots_within(frontier, wanted, stretch.tiles, roots)
    broken += _judge_upper_tiles(bytes(level_one), size, upper_tiles)
    kept = broken[:PROBLEMS_KEPT_MAX]
    told = (following.problems, following.open_steps(), keeping, signed, receipts)
    return LogVerdict(roots, following.runs(), kept, *told)


def _roots_within(
    frontier: merkle.Frontier, wanted: dict[int, list[int]], tiles: Mapping[int, bytes], roots: dict[int, bytes]
) -> None:
    """Roots at the sizes asked for that lie within the bundle after the frontier."""
    number = frontier.size // TILE_WIDTH
    sizes = wanted.get(number, [])
    tile = tiles.get(number, b"")
    if not sizes or (sizes[-1] > frontier.size and not tile):
        return
    growing = frontier.copy()
    for size in sizes:
        while growing.size < size:
            at = HASH_BYTES * (growing.size % TILE_WIDTH)
            if len(tile) < at + HASH_BYTES:
                return
            growing.append(tile[at : at + HASH_BYTES])
        roots[size] = growing.root()
    del wanted[number]


def _judge_upper_tiles(hashes: bytes, size: int, tiles: Mapping[tuple[int, int], bytes]) -> list[str]:
    problems = []
    level = 1
    while size >> 8 * level:
        step = HASH_BYTES * TILE_WIDTH
        for number, at in enumerate(range(0, len(hashes), step)):
            if tiles.get((level, number), b"") != hashes[at : at + step]:
                width = len(hashes[at : at + step]) // HASH_BYTES
                problems.append(f"{merkle.tile_path(level, number, width)} does not follow from the tiles below it")
        full = len(hashes) - len(hashes) % step
        hashes = b"".join([merkle.perfect_root(hashes[at : at + step]) for at in range(0, full, step)])
        level += 1
    return problems


class _Following:
    """The thread of every run, over stretches."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._next: dict[str, int] = {}
        self._open: dict[tuple[str, tuple[str, str]], int] = {}
        self._ever_started: set[tuple[str, tuple[str, str]]] = set()
        self._started: dict[str, int] = {}
        self._finished: dict[str, int] = {}
        self._times: dict[tuple[str, str], str] = {}

    def take(self, stretch: Stretch) -> None:
        for run, (first, following) in stretch.numbers.items():
            if first != self._next.get(run, 0):
                self._complain(f"run {run} goes on with number {first} where {self._next.get(run, 0)} belongs")
            self._next[run] = following
        for run, kind, time in stretch.marks:
            self._times.setdefault((run, kind), time)
        for mark in stretch.steps:
            key = (mark.run, mark.deed)
            if mark.kind == "step.started":
                self._started[mark.run] = self._started.get(mark.run, 0) + 1
                self._open[key] = mark.index
                self._ever_started.add(key)
            else:
                self._finished[mark.run] = self._finished.get(mark.run, 0) + 1
                self._open.pop(key, None)
                # One that was given up may still come to an end later: a start is asked for, not an open one.
                if key not in self._ever_started:
                    self._complain(f"entry {mark.index}: {mark.deed[0]} of run {mark.run} finished without its start")

    def _complain(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_KEPT_MAX:
            self.problems.append(problem)

    def runs(self) -> list[RunInLog]:
        return [
            RunInLog(
                run=run,
                events=events,
                created_at=self._times.get((run, "run.created"), self._times.get((run, "run.started"), "")),
                finished_at=self._times.get((run, "run.finished"), ""),
                steps_started=self._started.get(run, 0),
                steps_finished=self._finished.get(run, 0),
            )
            for run, events in self._next.items()
            if run != LOG_RUN
        ]

    def open_steps(self) -> list[str]:
        return [f"{deed[0]} of run {run}, entry {index}" for (run, deed), index in self._open.items()]


def judge_checkpoints(head: Checkpoint, earlier: Iterable[Checkpoint], roots: Mapping[int, bytes]) -> list[str]:
    """Every head ever signed must be the beginning of the newest one."""
    problems = []
    for checkpoint in (*earlier, head):
        if checkpoint.origin != head.origin:
            problems.append(f"a checkpoint of another log: {checkpoint.origin}")
        elif checkpoint.size > head.size:
            problems.append(
                f"a checkpoint over {checkpoint.size} entries was signed, but the log now ends at {head.size}: "
                "its tail was dropped"
            )
        elif roots.get(checkpoint.size) != checkpoint.root:
            problems.append(f"the entries do not produce the root that was signed at size {checkpoint.size}")
    return problems
