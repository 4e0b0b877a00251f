"""A watched tree has the digest of all of it, whatever happened to it; told by real programs on this machine."""

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.contracts.joined_program import with_libraries
from orchestrator.contracts.kept_program import KeptProgram
from orchestrator.foundation.errors import CommandFailed
from orchestrator.hosts.local import LocalTransport
from orchestrator.model.host import Host
from orchestrator.movers.ready_trees import LIFE_SECONDS_MAX
from orchestrator.movers.tree_digests import tree_digest

PROGRAMS = Path(__file__).parents[2] / "orchestrator" / "movers" / "host_programs"
HERE = LocalTransport(Host(name="here", site="source", address="127.0.0.1", become=False))
WATCH = with_libraries(PROGRAMS / "tree_watch.py", PROGRAMS / "tree_digest", PROGRAMS / "answering.py")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for name in ("a", "b/c", "b/d/e"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name.encode() * 100)
    return top


@pytest.fixture
def watch(tree: Path) -> Iterator[KeptProgram]:
    program = KeptProgram(HERE, WATCH, {"path": str(tree)}, user=None, seconds_max=120)
    with program:
        yield program


def settle(watch: KeptProgram) -> dict[str, Any]:
    answer = watch.ask({"do": "settle"}, timeout_seconds=60)
    assert "cannot" not in answer, answer
    return answer


def whole(tree: Path) -> str:
    return tree_digest(HERE, str(tree), "tree").digest


def replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(".aside")
    aside.write_bytes(content)
    aside.replace(path)


def test_nothing_changed_is_what_was_read(tree, watch):
    answer = settle(watch)
    assert answer["digest"] == whole(tree)
    assert (answer["changed"], answer["all"], answer["linked"]) == ([], False, False)
    assert answer["entries"] == 6


def test_what_changed_is_named_and_alone_read_again(tree, watch):
    settle(watch)
    replace(tree / "b/c", b"other")
    replace(tree / "new/deep/one", b"new")
    (tree / "a").unlink()
    answer = settle(watch)
    assert answer["digest"] == whole(tree)
    assert {"a", "b/c", "new", "new/deep", "new/deep/one"} <= set(answer["changed"])
    assert answer["gone"] == ["a"], "what was never there before its name was taken is not looked for"
    assert not any(name.startswith("b/d") for name in answer["changed"])
    assert answer["bytes"] < 100, "what is new may be read twice, the rest not at all"


def test_many_names_arrive_whole(tree, watch):
    names = [f"{'long' * 20}-{number}" for number in range(2000)]
    for name in names:
        (tree / name).write_bytes(b"")
    assert set(names) <= set(settle(watch)["changed"])


def test_what_changed_is_read_before_anybody_asks(tree, watch):
    deadline = time.monotonic() + 30
    while True:
        replace(tree / "b/c", os.urandom(10_000))
        time.sleep(0.5)
        answer = settle(watch)
        assert answer["digest"] == whole(tree)
        assert "b/c" in answer["changed"]
        if answer["unread"] == 0:
            break
        assert time.monotonic() < deadline, "nothing was ever read ahead"


def test_nothing_is_read_ahead_while_it_is_written(tree, watch):
    settle(watch)
    with (tree / "a").open("ab") as stream:
        for _ in range(10):
            stream.write(b"x" * 100_000)
            stream.flush()
            time.sleep(0.1)
        assert settle(watch)["bytes"] < 1_500_000, "it was read again for every piece"
    assert settle(watch)["digest"] == whole(tree)


def test_a_new_beginning_forgets_names_and_no_change(tree, watch):
    replace(tree / "one", b"1")
    assert watch.ask({"do": "begin"}) == {"number": 1}
    replace(tree / "two", b"2")
    answer = settle(watch)
    assert "two" in answer["changed"]
    assert answer["digest"] == whole(tree)


def test_names_are_those_since_the_beginning(tree, watch):
    """Whoever asks twice needs the first answer no more."""
    replace(tree / "one", b"1")
    settle(watch)
    replace(tree / "two", b"2")
    assert {"one", "two"} <= set(settle(watch)["changed"])


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "b/c").chmod(0o600),
        lambda top: os.utime(top / "a", ns=(1, 1)),
        lambda top: os.utime(top / "b", ns=(1, 1)),
        lambda top: (top / "b/d").chmod(0o700),
        lambda top: top.chmod(0o700),
        lambda top: (top / "a").write_bytes(b"rewritten in place"),
        lambda top: (top / "b").rename(top / "moved"),
        lambda top: shutil.rmtree(top / "b"),
        lambda top: (top / "link").symlink_to("nowhere"),
        lambda top: os.mkfifo(top / "pipe"),
        lambda top: os.link(top / "a", top / "b/again"),
        lambda top: ((top / "a").unlink(), (top / "a").mkdir()),
        lambda top: (shutil.rmtree(top / "b"), (top / "b").write_bytes(b"a file now")),
        lambda top: ((top / "b").rename(top / "x"), (top / "x").rename(top / "b")),
        lambda top: ((top / "b/d").rename(top / "d"), (top / "b").rmdir() if not any((top / "b").iterdir()) else None),
        lambda top: (top / "b\udcff\n").write_bytes(b"no text"),
    ],
)
def test_every_kind_of_change_is_seen(tree, watch, change):
    settle(watch)
    change(tree)
    assert settle(watch)["digest"] == whole(tree)


def test_a_change_of_a_file_with_several_names_is_told(tree, watch):
    os.link(tree / "a", tree / "b/again")
    assert settle(watch)["linked"]


def some_change(chosen: random.Random, top: Path) -> None:
    folders = [top, *(path for path in top.rglob("*") if path.is_dir())]
    files = [path for path in top.rglob("*") if not path.is_dir()]
    where, deed = chosen.choice(folders), chosen.randrange(7)
    name = f"n{chosen.randrange(12)}"
    if deed <= 2 and not (where / name).is_dir():
        replace(where / name, chosen.randbytes(50))
    elif deed == 3 and files:
        chosen.choice(files).unlink()
    elif deed == 4 and not (where / name).exists():
        (where / name).mkdir()
    elif deed == 5 and where != top:
        shutil.rmtree(where)
    elif deed == 6 and where != top:
        target = chosen.choice(folders)
        if not target.is_relative_to(where) and not (target / name).exists():
            where.rename(target / name)


@pytest.mark.parametrize("seed", range(6))
def test_after_any_changes_the_digest_is_that_of_the_whole(tree, watch, seed):
    chosen = random.Random(seed)
    for _ in range(6):
        for _ in range(chosen.randrange(1, 25)):
            some_change(chosen, tree)
        assert settle(watch)["digest"] == whole(tree)


def test_too_many_changes_are_told_as_all(tree, watch):
    for number in range(5200):
        (tree / "b" / f"f{number}").write_bytes(b"")
    answer = settle(watch)
    assert answer["all"]
    assert answer["changed"] == []
    assert answer["digest"] == whole(tree)


def test_what_changes_in_a_large_tree_is_named_from_the_first_question_on(tree):
    """What was read at the beginning is no change, however much it is: last deltas of large trees go by name too."""
    for number in range(5200):
        (tree / "b" / f"f{number}").write_bytes(b"")
    with KeptProgram(HERE, WATCH, {"path": str(tree)}, user=None, seconds_max=120) as watch:
        replace(tree / "b/c", b"other")
        answer = settle(watch)
    assert not answer["all"]
    assert "b/c" in answer["changed"]
    assert len(answer["changed"]) < 5
    assert answer["digest"] == whole(tree)


def test_a_tree_that_is_not_there_is_refused_in_words(tmp_path):
    program = KeptProgram(HERE, WATCH, {"path": str(tmp_path / "no")}, user=None, seconds_max=60)
    with pytest.raises(CommandFailed, match="No such file"):
        program.open()


def test_a_closed_program_is_gone_and_says_so(tree):
    program = KeptProgram(HERE, WATCH, {"path": str(tree)}, user=None, seconds_max=60)
    program.open()
    assert program.alive
    program.close()
    program.close()
    with pytest.raises(CommandFailed, match="ended"):
        for _ in range(200):
            program.ask({"do": "settle"}, timeout_seconds=5)


def test_its_life_is_bounded(tree):
    program = KeptProgram(HERE, WATCH, {"path": str(tree)}, user=None, seconds_max=0.1)
    program.open()
    with pytest.raises(CommandFailed):
        for _ in range(400):
            program.ask({"do": "settle"}, timeout_seconds=10)
    assert LIFE_SECONDS_MAX <= 24 * 3600
