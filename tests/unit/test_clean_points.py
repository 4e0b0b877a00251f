"""The last clean point: what ransomware leaves is seen point against point; what people do is not taken for it."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.contracts.point_looks import PointLook
from orchestrator.foundation.errors import DataError, UsageError
from orchestrator.operations.ransomware import CleanPoints
from orchestrator.planning.clean_points import last_clean, why_not_clean
from tests.fakes.drivers import ATTACHMENTS, REGISTER, SYSTEM
from tests.fakes.replicated import Replicated

PROGRAM = Path(__file__).parents[2] / "orchestrator" / "snapshots" / "host_programs" / "looks.py"
LETTER = b"A letter, of many like it, about the filing of this year. " * 40


@pytest.fixture
def points(tmp_path):
    """Makes the next point as a copy of the one before, changed; looks through all of them by the real program."""

    class Points:
        ids: list[str] = []
        canary = {"zz-never-touched.txt": "sha256:" + hashlib.sha256(LETTER).hexdigest()}

        def next(self, change=lambda tree: None) -> None:
            tree = tmp_path / f"p{len(self.ids)}"
            if self.ids:
                subprocess.run(["cp", "-a", "--reflink=auto", str(tmp_path / self.ids[-1]), str(tree)], check=True)
            else:
                tree.mkdir()
                for number in range(40):
                    (tree / f"letter-{number}.txt").write_bytes(b"%d " % number + LETTER)
                (tree / "scan.zip").write_bytes(os.urandom(20_000))
                (tree / "zz-never-touched.txt").write_bytes(LETTER)
            change(tree)
            self.ids.append(tree.name)

        def looks(self) -> list[PointLook]:
            asked = {"points": [{"id": each, "path": str(tmp_path / each)} for each in self.ids]}
            words = [sys.executable, "-I", "-S", str(PROGRAM), json.dumps({**asked, "canaries": self.canary})]
            said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            return [PointLook.model_validate(each) for each in json.loads(said.partition(" ")[2])["looks"]]

    Points.ids = []
    return Points()


def work(tree):
    """A day of an office: letters are edited, scans come in, one is replaced, files are moved and removed."""
    for number in range(10):
        (tree / f"letter-{number}.txt").write_bytes(LETTER + b"edited" * number)
    for number in range(10):
        (tree / f"new-{len(list(tree.iterdir()))}-{number}.jpg").write_bytes(os.urandom(9000))
    (tree / "scan.zip").write_bytes(os.urandom(21_000))
    (tree / "letter-39.txt").rename(tree / "letter-39.final.txt")


def encrypt(tree, *, suffix="", some=40):
    for path in sorted(tree.glob("letter-*.txt"))[:some]:
        path.write_bytes(os.urandom(path.stat().st_size))
        if suffix:
            path.rename(f"{path}{suffix}")


def test_what_people_do_is_clean(points):
    points.next()
    points.next(work)
    points.next()
    looks = points.looks()
    assert [why_not_clean(look) for look in looks] == [(), (), ()]
    assert (looks[1].changed, looks[1].noise, looks[2].changed) == (11, 0, 0)


def test_files_that_became_noise_are_seen_and_named(points):
    points.next()
    points.next(work)
    points.next(lambda tree: encrypt(tree, some=12))
    points.next()
    signs = [why_not_clean(look) for look in points.looks()]
    assert [bool(each) for each in signs] == [False, False, True, False]
    assert signs[2] == (
        "12 of 12 changed files became noise: letter-0.txt, letter-1.txt, letter-10.txt, letter-11.txt, letter-12.txt",
    )
    assert last_clean([(str(at), not each) for at, each in enumerate(signs)]) == "1"


def test_times_that_were_set_back_hide_nothing(points):
    def encrypt_unseen(tree):
        times = {path: path.stat() for path in tree.iterdir()}
        encrypt(tree)
        for path, seen in times.items():
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    points.next()
    points.next(encrypt_unseen)
    assert why_not_clean(points.looks()[1])[0].startswith("40 of 40 changed files became noise")


def test_a_storm_of_one_suffix_and_a_canary_are_signs_of_their_own(points):
    points.next()
    points.next(lambda tree: [path.rename(f"{path}.locked") for path in tree.glob("letter-*.txt")])
    points.next(lambda tree: (tree / "zz-never-touched.txt").write_bytes(b"pay"))
    points.next(lambda tree: (tree / "zz-never-touched.txt").unlink())
    signs = [why_not_clean(look) for look in points.looks()]
    assert signs[:2] == [(), ("40 of 42 files were renamed to .locked",)]
    assert signs[2][0].startswith("canary zz-never-touched.txt is sha256:")
    assert signs[3] == ("canary zz-never-touched.txt: No such file or directory",)


def test_encrypted_and_renamed_shows_both(points):
    points.next()
    points.next(lambda tree: encrypt(tree, suffix=".crypt"))
    [_, look] = points.looks()
    assert (look.noise, look.renamed, look.suffix) == (40, 40, ".crypt")


class Ground(Replicated):
    def __init__(self, folder):
        super().__init__(folder)
        self.bad: dict[str, int] = {}  # point → files that became noise
        self.search = CleanPoints(self.inventory.hosts, self.world.drivers, self.look, self.record).search

    def look(self, tree, host, points):
        return [
            PointLook(
                point=each.id, files_before=40, files=40, changed=40, compared=40, renamed=0,
                noise=self.bad.get(each.id, 0),
            )
            for each in points
        ]  # fmt: skip


@pytest.fixture
def ground(tmp_path):
    made = Ground(tmp_path)
    yield made
    made.store.close()


def test_the_search_walks_back_to_the_point_before_the_first_bad_one(ground):
    made = [ground.round().point for _ in range(4)]
    ground.bad = {made[2]: 40}
    found = ground.search(SYSTEM, by="ben")
    assert (found.first_bad, found.last_clean, found.not_looked_at) == (made[2], made[1], (REGISTER.name,))
    assert [each.clean for each in found.points] == [True, True, False, True]
    assert ground.kinds()[-1] == "points.looked_through"
    assert found.points[2].signs[0].startswith(f"{ATTACHMENTS.name}: 40 of 40 changed files became noise")


def test_no_clean_point_is_an_error_that_tells_why(ground):
    made = ground.round().point
    ground.bad = {made: 40}
    with pytest.raises(DataError, match=f"no point that DR holds is clean: {made}: attachments: 40 of 40"):
        ground.search(SYSTEM, by="ben")
    with pytest.raises(UsageError, match="no file tree"):
        ground.search(SYSTEM.model_copy(update={"datasets": (REGISTER,)}), by="ben")
