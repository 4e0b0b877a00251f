"""A copy that was told to be there outlives a loss of power: the disk as it is at that moment is mounted elsewhere."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.contracts.programs import program_text
from orchestrator.movers.file_tree import PROGRAM

pytestmark = [pytest.mark.platform("root", "rsync")]


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A file system that writes nothing by itself for longer than the test takes."""
    image = tmp_path / "disk"
    image.write_bytes(b"")
    os.truncate(image, 64 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    return image


def after_a_loss_of_power(disk: Path, folder: Path) -> Iterator[tuple[str, bytes]]:
    """What a mount finds on the disk as it is now, without what only the memory of the host had."""
    copy = disk.with_suffix(".later")
    copy.write_bytes(disk.read_bytes())
    with mounted(copy, folder) as there:
        for path in sorted(there.glob("tree/**/*")):
            if path.is_file():
                yield str(path.relative_to(there / "tree")), path.read_bytes()


def test_what_was_copied_is_on_the_disk_when_it_is_told(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    content = {"one": b"1" * 5000, "below/two": os.urandom(300_000), "below/three": b""}
    for name, text in content.items():
        (source / name).write_bytes(text)
    with mounted(disk, tmp_path / "there") as there:
        words = ["rsync", "-a", "--stats", f"{source}/", f"{there}/tree/"]
        (there / "tree").mkdir()
        (there / "tree/unsaid").write_bytes(b"what nobody vouched for")
        before = dict(after_a_loss_of_power(disk, tmp_path / "before"))
        way = {"resume": False, "distrusted": False}
        request = {"words": words, "target": f"{there}/tree", "partial": f"{there}/partial", **way}
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-", json.dumps(request)],
            input=program_text(PROGRAM), capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        after = dict(after_a_loss_of_power(disk, tmp_path / "after"))
    told = json.loads(done.stdout.splitlines()[-1].removeprefix(b"result "))
    assert told["code"] == 0
    assert before == {}  # or the disk would be one that keeps everything at once, and show nothing
    assert after == {**content, "unsaid": b"what nobody vouched for"}
