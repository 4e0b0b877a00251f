"""Targets: entries and their bundles, whole logs on disk, bundles with a file changed, runs told by a dishonest writer.

A dishonest writer holds the log's keys: what is changed is hashed and signed anew, so the judges behind the log see it.
"""

import atexit
import base64
import gzip
import json
import os
import random
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

from orchestrator.evidence import merkle
from orchestrator.evidence.artifacts import artifact_path
from orchestrator.evidence.bundle import MANIFEST, is_core, manifest_of
from orchestrator.evidence.corrective_actions import corrective_actions
from orchestrator.evidence.envelope import LOG_RUN, read_event
from orchestrator.evidence.findings import Findings
from orchestrator.evidence.log_judgement import Stretch, judge_stretches, look_at_bundle
from orchestrator.evidence.note import Checkpoint, sign_checkpoint, to_base64
from orchestrator.evidence.population import population
from orchestrator.evidence.reading.derive import derive
from orchestrator.evidence.retention import kept_runs, read_retention
from orchestrator.evidence.show import grouped
from orchestrator.evidence.trust_policy import TrustPolicy, parse_trust_policy
from orchestrator.evidence.verify_bundle import BundleReport, judge_bundle
from orchestrator.evidence.verify_log import verify_log
from orchestrator.foundation.errors import BrokenLog, EvidenceError
from tests.fuzz.mutations import change_bytes, change_json
from tests.fuzz.notes import KEYS, ORIGIN, SIGNERS
from tests.fuzz.people import MATERIAL, ROOTS
from tests.fuzz.target import Target, must

ANCHORED_SIZE = 40


def signed(size: int, root: bytes) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, root), SIGNERS[:1], at_seconds=0).encode()


@cache
def _core() -> dict[str, bytes]:
    """The evidence of an honest run, its log signed with the key of these targets."""
    text = gzip.decompress((MATERIAL / "bundle.json.gz").read_bytes())
    core = {path: base64.b64decode(content) for path, content in json.loads(text).items()}
    policy = json.loads(core["policy/trust-policy.json"])
    policy["tlogPolicy"] = f"log {KEYS[0]}\nwitness w {KEYS[2]}\nquorum none\n"
    policy |= {"tsaRoots": ROOTS, "requireTsa": True, "maxSkewSeconds": 86_400}
    core["policy/trust-policy.json"] = json.dumps(policy).encode()
    return signed_anew(core, {})


def signed_anew(core: dict[str, bytes], entries: dict[int, bytes]) -> dict[str, bytes]:
    """The core with some entries changed (by their number in the run), the tile and the head following from them."""
    lines = core["log/events.ndjson"].split(b"\n")
    places = [int(line) for line in core["log/events.idx"].split()]
    (path,) = [path for path in core if path.startswith("log/tile/0/")]
    tile = bytearray(core[path])
    for number, entry in entries.items():
        lines[number] = entry
        at = merkle.HASH_BYTES * places[number]
        tile[at : at + merkle.HASH_BYTES] = merkle.leaf_hash(entry)
    size = len(tile) // merkle.HASH_BYTES
    reader = merkle.TileReader(size, lambda _: bytes(tile))
    changed = {"log/events.ndjson": b"\n".join(lines), path: bytes(tile), "log/checkpoint": signed(size, reader.root())}
    proof = "".join(to_base64(step) + "\n" for step in reader.consistency(ANCHORED_SIZE))
    changed[f"log/consistency/{ANCHORED_SIZE:012d}"] = f"old {ANCHORED_SIZE}\n{proof}".encode()
    for name, count in (("anchored", ANCHORED_SIZE), ("head", size)):
        head = Checkpoint(ORIGIN, count, reader.root(count))
        changed[f"anchors/{count:012d}.note"] = sign_checkpoint(head, SIGNERS[::2], at_seconds=0).encode()
        changed[f"anchors/{count:012d}.tsr"] = (MATERIAL / f"{name}.tsr").read_bytes()
    return core | changed


@cache
def _policy() -> TrustPolicy:
    return parse_trust_policy(_core()["policy/trust-policy.json"], "policy")


@cache
def _whole() -> dict[str, bytes]:
    files = _core() | derive(_core())
    return files | {MANIFEST: manifest_of(files)}


def honest_entries() -> list[bytes]:
    return _core()["log/events.ndjson"].split(b"\n")[:-1]


def judge(files: dict[str, bytes]) -> bool:
    report = BundleReport("fuzzed")
    judge_bundle(files, _policy(), report)
    must(report.findings.checks > 0, "something is always checked")
    _is_shown_in_lines(report.findings)
    return report.verified


def _is_shown_in_lines(findings: Findings) -> None:
    json.dumps(findings.as_data())
    must(all(line.isprintable() for line in grouped(findings)), "evidence writes to the terminal")


def check_bundle(content: bytes) -> None:
    """`<path> NUL <content>`: one file of an honest bundle changed, or added; the manifest follows."""
    name, _, changed = content.partition(b"\0")
    path = name.decode(errors="replace")
    files = _whole() | {path: changed}
    if path != MANIFEST:
        files[MANIFEST] = manifest_of({each: files[each] for each in files if each != MANIFEST})
    if judge(files):
        same = all(files[each] == _core()[each] for each in _core() if each.startswith(("log/events", "artifacts/")))
        must(same, "other events or artifacts than the log holds are verified")
    _made_or_refused({path: files[path] for path in files if is_core(path)})


def _made_or_refused(core: dict[str, bytes]) -> None:
    try:
        copies = derive(core)
    except EvidenceError:
        return
    for path in copies:
        must(not {"", ".", ".."} & set(path.split("/")), f"a reading copy outside of its folder: {path[:60]!r}")
    must(b"<x-fuzz" not in copies["report.html"], "evidence writes the report's HTML")
    lines = copies["README.txt"].decode().split("\n")
    must(all(line.isprintable() for line in lines), "evidence writes to whoever reads the README")


def change_bundle(content: bytes, chance: random.Random) -> bytes:
    files = _whole()
    name, _, changed = content.partition(b"\0")
    if chance.random() < 0.3:
        path = chance.choice([*sorted(_core()), *sorted(_core()), *sorted(files)])
        name, changed = path.encode(), files[path]
    if chance.random() < 0.02:
        name = change_bytes(name, chance).replace(b"\0", b"")
    change = change_json if name.endswith((b".json", b"ndjson")) or b"artifacts" in name else change_bytes
    return name + b"\0" + change(changed, chance)


def check_run(content: bytes) -> None:
    """Lines `<number> TAB <entry>` and `a<number> TAB <content>`: entries and artifacts of a run told otherwise."""
    core = dict(_core())
    entries: dict[int, bytes] = {}
    artifacts = sorted(path for path in core if path.startswith("artifacts/"))
    lines = core["log/events.ndjson"]
    for line in content.split(b"\n"):
        name, _, changed = line.partition(b"\t")
        if name[:1] == b"a" and name[1:].isdigit() and len(name) < 5:
            old = artifacts[int(name[1:]) % len(artifacts)]
            digest = sha256(changed).hexdigest()
            core.pop(old, None)
            core[artifact_path("sha256:" + digest)] = changed
            lines = lines.replace(old.removeprefix("artifacts/sha256/").replace("/", "").encode(), digest.encode())
        elif name.isdigit() and len(name) < 6:
            entries[int(name) % len(honest_entries())] = changed
    everything = dict(enumerate(lines.split(b"\n")[:-1])) | entries
    core = signed_anew(core, everything)
    verified = judge(core | {MANIFEST: manifest_of(core)})
    must(not verified, "a bundle without its reading copies is not verified")
    _made_or_refused(core)
    _listed_or_refused(core)


def _listed_or_refused(core: dict[str, bytes]) -> None:
    entries = list(enumerate(core["log/events.ndjson"].split(b"\n")[:-1]))
    try:
        population(entries)
    except EvidenceError:
        pass
    try:
        events = [read_event(index, entry) for index, entry in entries]
        corrective_actions(events, lambda digest: core.get(artifact_path(digest)))
        promised = read_retention([replace(event, run=LOG_RUN) for event in events])
        kept_runs(promised, [(event.run, event.time) for event in events], datetime(2026, 11, 21, tzinfo=UTC))
    except EvidenceError:
        pass


def change_run(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    if chance.random() < 0.25 and len(content) < 20_000:
        lines.append(chance.choice(_run_lines()))
    at = chance.randrange(len(lines))
    name, _, changed = lines[at].partition(b"\t")
    lines[at] = name + b"\t" + change_json(changed, chance).replace(b"\n", b"")
    if chance.random() < 0.1:
        del lines[chance.randrange(len(lines))]
    return b"\n".join(lines)


@cache
def _run_lines() -> list[bytes]:
    core = _core()
    artifacts = sorted(path for path in core if path.startswith("artifacts/"))
    kept = [b"a%d\t%b" % (number, core[path].replace(b"\n", b"")) for number, path in enumerate(artifacts)]
    told = [b"%d\t%b" % (number, entry) for number, entry in enumerate(honest_entries())]
    review = next(line for line in told if b"skerry.review.signed.v1" in line)
    words = [review.replace(b"review.signed", kind) for kind in (b"run.ordered", b"result.signed", b"approval.revoked")]
    started = next(line for line in told if b"skerry.run.started.v1" in line)
    kinds = (
        (b"retention.set", b'"years":10,'),
        (b"hold.placed", b'"hold":"h","because":"x","by":"ana",'),
        (b"hold.lifted", b'"hold":"h",'),
    )
    for kind, data in kinds:
        words.append(started.replace(b"run.started", kind).replace(b'{"data":{', b'{"data":{' + data))
    return kept + told + words


def check_entry(content: bytes) -> None:
    try:
        event = read_event(5, content)
        must(event.data is not None and event.seq == int(str(event.seq)), "an event has data and a number")
    except BrokenLog:
        pass


def check_entries(content: bytes) -> None:
    """An entry bundle, as the whole-log verifier takes it in."""
    try:
        entries = merkle.unpack_bundle(content)
        must(merkle.pack_bundle(entries) == content, "an entry bundle has one form")
    except ValueError:
        entries = []
    width = min(len(entries), merkle.TILE_WIDTH) or 1
    tile = b"".join(map(merkle.leaf_hash, entries[:width]))
    stretch = Stretch()
    look_at_bundle(stretch, 0, content, width, tile, keep_tile=True)
    upper = {(1, 0): merkle.perfect_root(tile)} if width == merkle.TILE_WIDTH else {}
    verdict = judge_stretches([stretch], width, [width // 2, width], upper)
    json.dumps([verdict.broken_tree, verdict.broken_runs, verdict.open_steps])


def change_entries(content: bytes, chance: random.Random) -> bytes:
    try:
        entries = merkle.unpack_bundle(content)
    except ValueError:
        return change_bytes(content, chance)
    if not entries or chance.random() < 0.2:
        return change_bytes(content, chance)
    at = chance.randrange(len(entries))
    match chance.randrange(5):
        case 0:
            entries[at:at] = [entries[at]]
        case 1:
            del entries[at]
        case 2:
            entries[at] = change_bytes(entries[at], chance)
        case _:
            entries[at] = change_json(entries[at], chance)
    return merkle.pack_bundle([entry[:65_535] for entry in entries])


class _Disk:
    """An honest log in files; each input changes it, and it is put right after."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-log-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        entries = honest_entries()
        tile = b"".join(map(merkle.leaf_hash, entries))
        size = len(entries)
        note = signed(size, merkle.TileReader(size, lambda _: tile).root())
        self.size = size
        self.files = {
            "vkey": f"{KEYS[0]}\n".encode(),
            "log/checkpoint": note,
            f"log/checkpoints/{size:012d}": note,
            f"log/{merkle.tile_path(0, 0, size)}": tile,
            f"log/{merkle.tile_path('entries', 0, size)}": merkle.pack_bundle(entries),
        }
        self.put_right()

    def put_right(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for path, content in self.files.items():
            self.put(path, content)

    def put(self, path: str, content: bytes) -> None:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


@cache
def _disk() -> _Disk:
    return _Disk()


def check_log(content: bytes) -> None:
    """`f<number> <content>` changes a file, `n<name> NUL <content>` adds one, `c<text>` is a head to be signed."""
    disk = _disk()
    kind, rest = content[:1], content[1:]
    paths = sorted(disk.files)
    changed = ""
    if kind == b"f" and rest:
        changed = paths[rest[0] % len(paths)]
        disk.put(changed, rest[1:])
    elif kind == b"n":
        name, _, text = rest.partition(b"\0")
        parts = [part for part in os.fsdecode(name).split("/") if part not in {"", ".", ".."}]
        changed = "/".join(["log", *(part[:80] for part in parts)])
        try:
            disk.put(changed, text)
        except OSError:
            return disk.put_right()
    elif kind == b"c":
        try:
            head = Checkpoint.parse(rest)
        except BrokenLog:
            return None
        changed = "log/checkpoint"
        disk.put(changed, sign_checkpoint(head, SIGNERS[:1], at_seconds=0).encode())
    try:
        report = verify_log(disk.folder, vkeys=KEYS[:1], processes=1)
        _is_shown_in_lines(report.findings)
        if report.verified:
            must(report.size == disk.size, "another log is verified")
    finally:
        disk.put_right()
    return None


def _logs() -> list[bytes]:
    files = _disk().files
    whole = [b"f" + bytes([number]) + files[path] for number, path in enumerate(sorted(files))]
    heads = [
        f"c{ORIGIN}\n{size}\n{base64.b64encode(bytes(32)).decode()}\n".encode()
        for size in (0, 1, 88, 300, 70_000, 10**18)
    ]
    return [*whole, *heads, b"ntile/0/x001/000\0abc", b"nanchors/000000000001.note\0" + files["log/checkpoint"]]


def change_log(content: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.1:
        content = chance.choice(_logs())
    if content[:1] == b"c" and chance.random() < 0.5:
        lines = content.split(b"\n")
        if len(lines) > 1:
            lines[1] = b"%d" % chance.choice((0, 1, 5, 87, 88, 89, 256, 300, 65_536, 10**6, 10**9, 2**63, 10**19 - 1))
        return b"\n".join(lines)
    return content[:2] + change_bytes(content[2:], chance)


TARGETS = (
    Target("entry", "entries of the log, as events", check_entry, honest_entries, change_json, 65_535),
    Target(
        "entries",
        "entry bundles, as the whole-log verifier reads them",
        check_entries,
        lambda: [merkle.pack_bundle(honest_entries()[:20]), merkle.pack_bundle(honest_entries()[60:])],
        change_entries,
        65_535,
    ),
    Target("log", "a whole log on disk", check_log, _logs, change_log, 65_535),
    Target(
        "bundle",
        "bundles with one file changed",
        check_bundle,
        lambda: [path.encode() + b"\0" + content for path, content in sorted(_core().items())],
        change_bundle,
        65_535,
    ),
    Target(
        "run", "runs told by a dishonest writer who holds the log's keys", check_run, _run_lines, change_run, 65_535
    ),
)
