"""Everything that a tree can hold, each by its name, arrives equal: copied as root between hosts with a real sshd.

What is equal is judged here by looking at both ends, and then by the digests of both.
"""

import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.foundation.errors import DataError
from orchestrator.hosts.ssh import open_transports
from orchestrator.model.dataset import FileTree
from orchestrator.movers.file_tree import FileTreeSettings
from tests.platform.moving import TreeGround, file_tree_mover

pytestmark = pytest.mark.platform("hosts", "rsync", "root")
ITEMS: dict[str, Callable[[bytes], None]] = {}
CLAIMS: dict[str, Callable[[bytes], bool]] = {}
SPARSE_BYTES = 16 << 20
NOBODY_HERE = 4_000_042  # an owner without a name on any host


def item(name: str, claim: Callable[[bytes], bool] = lambda top: True) -> Any:
    """The decorated function makes it in an empty folder; `claim` says, of the replica's, that it is what it is."""

    def take(make: Callable[[bytes], None]) -> Callable[[bytes], None]:
        ITEMS[name], CLAIMS[name] = make, claim
        return make

    return take


def write(path: bytes, content: bytes = b"content") -> bytes:
    with open(path, "wb") as stream:
        stream.write(content)
    return path


NAMES = {
    "a name with a line break": b"new\nline",
    "a name with a leading dash": b"--delete",
    "a name that is not UTF-8": b"bytes \xff\xfe",
    "a name of 255 bytes": b"n" * 255,
    "a name with blanks at its ends": b" blank ",
    "a name with marks of the shell": b"quote'\"$x`;&|",
    "a name with a backslash": b"back\\slash\\#012",
    "a name with marks of patterns": b"*?[a",
}
for each, raw in NAMES.items():

    def named(top: bytes, raw: bytes = raw) -> None:
        write(top + b"/" + raw, raw)

    ITEMS[each] = named
    CLAIMS[each] = lambda top, raw=raw: os.listdir(top) == [raw]  # type: ignore[misc]


@item("a path of 3600 bytes")
def deep_path(top: bytes) -> None:
    here = os.open(top, os.O_RDONLY)
    for _ in range(16):
        os.mkdir(b"d" * 224, dir_fd=here)
        below = os.open(b"d" * 224, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


def is_one_file(top: bytes) -> bool:
    numbers = {os.lstat(top + name).st_ino for name in (b"/one", b"/two", b"/below/three")}
    return len(numbers) == 1 and os.lstat(top + b"/one").st_nlink == 3


@item("hard links, over folders too", is_one_file)
def hard_links(top: bytes) -> None:
    os.mkdir(top + b"/below")
    write(top + b"/one")
    os.link(top + b"/one", top + b"/two")
    os.link(top + b"/one", top + b"/below/three")


for each, target in {
    "a symbolic link to a file beside it": b"file",
    "a symbolic link to a folder": b"folder",
    "a symbolic link to nowhere": b"nowhere",
    "a symbolic link to an absolute path": b"/etc/passwd",
    "a symbolic link to itself": b"link",
    "a symbolic link out of the tree": b"../../../..",
    "a symbolic link to bytes that are not UTF-8": b"bytes \xff",
}.items():

    def symbolic_link(top: bytes, target: bytes = target) -> None:
        os.mkdir(top + b"/folder")
        write(top + b"/file")
        os.symlink(target, top + b"/link")
        os.utime(top + b"/link", ns=(1, 1_234_567_890_000_000_007), follow_symlinks=False)
        os.lchown(top + b"/link", NOBODY_HERE, 7)

    ITEMS[each] = symbolic_link
    CLAIMS[each] = lambda top, target=target: os.readlink(top + b"/link") == target  # type: ignore[misc]


def has_holes(top: bytes) -> bool:
    found = os.lstat(top + b"/sparse")
    return found.st_size == SPARSE_BYTES and found.st_blocks * 512 < SPARSE_BYTES // 4


@item("a sparse file", has_holes)
def sparse_file(top: bytes) -> None:
    with open(top + b"/sparse", "wb") as stream:
        stream.truncate(SPARSE_BYTES)
        stream.seek(SPARSE_BYTES // 2)
        stream.write(b"island")


@item("a FIFO", lambda top: stat.S_ISFIFO(os.lstat(top + b"/fifo").st_mode))
def fifo(top: bytes) -> None:
    os.mkfifo(top + b"/fifo")


@item("a socket", lambda top: stat.S_ISSOCK(os.lstat(top + b"/socket").st_mode))
def a_socket(top: bytes) -> None:
    here = os.open(top, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/socket")  # the whole path would be too long for one
    os.close(here)


@item("a character device", lambda top: os.lstat(top + b"/null").st_rdev == os.makedev(1, 3))
def character_device(top: bytes) -> None:
    os.mknod(top + b"/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))


@item("a block device", lambda top: os.lstat(top + b"/loop").st_rdev == os.makedev(7, 299))
def block_device(top: bytes) -> None:
    os.mknod(top + b"/loop", 0o640 | stat.S_IFBLK, os.makedev(7, 299))


@item("extended attributes", lambda top: os.getxattr(top + b"/file", "user.all") == bytes(range(256)))
def attributes(top: bytes) -> None:
    write(top + b"/file")
    os.setxattr(top + b"/file", "user.all", bytes(range(256)))
    os.setxattr(top + b"/file", "user.none", b"")
    os.setxattr(top + b"/file", "trusted.mark", b"of root alone")
    os.setxattr(top, "user.folder", b"has one too")


def access_list(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ANYBODY = 0xFFFFFFFF
RULES = access_list((1, 6, ANYBODY), (2, 4, NOBODY_HERE), (4, 4, ANYBODY), (16, 4, ANYBODY), (32, 0, ANYBODY))


@item("an ACL", lambda top: os.getxattr(top + b"/file", "system.posix_acl_access") == RULES)
def acl(top: bytes) -> None:
    os.setxattr(write(top + b"/file"), "system.posix_acl_access", RULES)


@item("a default ACL of a folder", lambda top: os.getxattr(top, "system.posix_acl_default") == RULES)
def default_acl(top: bytes) -> None:
    os.setxattr(top, "system.posix_acl_default", RULES)


CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep


@item("a capability", lambda top: os.getxattr(top + b"/program", "security.capability") == CAPABILITY)
def capability(top: bytes) -> None:
    os.setxattr(write(top + b"/program"), "security.capability", CAPABILITY)


for each, mode in {"setuid": 0o4755, "setgid": 0o2711, "a file that nobody may read": 0o000}.items():

    def moded(top: bytes, mode: int = mode) -> None:
        write(top + b"/file")
        os.chown(top + b"/file", 7, 8)
        os.chmod(top + b"/file", mode)

    ITEMS[each] = moded
    CLAIMS[each] = lambda top, mode=mode: stat.S_IMODE(os.lstat(top + b"/file").st_mode) == mode  # type: ignore[misc]

for each, nanoseconds in {
    "a time to the nanosecond": 1_234_567_890_123_456_789,
    "a time before 1970": -86_400_000_000_001,
    "a time after 2038": 4_102_444_800_000_000_003,
}.items():

    def timed(top: bytes, nanoseconds: int = nanoseconds) -> None:
        os.utime(write(top + b"/file"), ns=(1, nanoseconds))
        os.utime(top, ns=(1, nanoseconds))

    ITEMS[each] = timed
    CLAIMS[each] = lambda top, at=nanoseconds: os.lstat(top).st_mtime_ns == at  # type: ignore[misc]


@item("owners by number", lambda top: os.lstat(top + b"/file").st_uid == NOBODY_HERE)
def owners(top: bytes) -> None:
    os.chown(write(top + b"/file"), NOBODY_HERE, NOBODY_HERE + 1)


@item("an empty folder", lambda top: os.listdir(top + b"/empty") == [])
def empty_folder(top: bytes) -> None:
    os.mkdir(top + b"/empty")


@item("an empty file", lambda top: os.lstat(top + b"/empty").st_size == 0)
def empty_file(top: bytes) -> None:
    write(top + b"/empty", b"")


@item("a folder that nobody may enter", lambda top: stat.S_IMODE(os.lstat(top + b"/closed").st_mode) == 0)
def closed_folder(top: bytes) -> None:
    os.mkdir(top + b"/closed")
    write(top + b"/closed/inside")
    os.chmod(top + b"/closed", 0)


@item("a folder that all may write to", lambda top: stat.S_IMODE(os.lstat(top + b"/sticky").st_mode) == 0o1777)
def sticky_folder(top: bytes) -> None:
    os.mkdir(top + b"/sticky")
    os.chmod(top + b"/sticky", 0o1777)


def folder_of(top: Path, name: str) -> bytes:
    return os.fsencode(top / name.replace(" ", "-"))


def looked_at(top: bytes) -> dict[bytes, Any]:
    """Every entry below a folder, and itself, as this file sees it; files that are one by their names."""
    found: dict[bytes, Any] = {}
    names_of: dict[tuple[int, int], list[bytes]] = {}
    for path, folders, files, here in os.fwalk(top):
        for name in (b".", *folders, *files):
            entry = os.stat(name, dir_fd=here, follow_symlinks=False)
            known: list[Any] = [entry.st_mode, entry.st_uid, entry.st_gid, entry.st_mtime_ns, entry.st_rdev]
            way = b"/proc/self/fd/%d/%s" % (here, name)
            names = sorted(os.listxattr(way, follow_symlinks=False))
            known.append([(one, os.getxattr(way, one, follow_symlinks=False)) for one in names])
            if stat.S_ISREG(entry.st_mode):
                with open(os.open(name, os.O_RDONLY, dir_fd=here), "rb") as stream:
                    known.append(stream.read())
                names_of.setdefault((entry.st_dev, entry.st_ino), []).append(path[len(top) :] + b"/" + name)
            elif stat.S_ISLNK(entry.st_mode):
                known.append(os.readlink(name, dir_fd=here))
            found[path[len(top) :] + b"/" + name] = known
    found[b"linked"] = sorted(sorted(names) for names in names_of.values() if len(names) > 1)
    return found


@pytest.fixture(scope="module")
def transports(town, tmp_path_factory):
    with open_transports(town.ssh_config, tmp_path_factory.mktemp("run"), None) as opened:
        yield opened


def a_ground(town, transports, name):
    tree = FileTree(name=name, path=f"/srv/contents/{name}", changes="replaced")
    ground = TreeGround(town, transports, file_tree_mover(town, transports), tree)
    ground.clear()
    return ground


@pytest.fixture(scope="module")
def copied(town, transports):
    """A tree with all of ITEMS in it, copied once."""
    ground = a_ground(town, transports, "everything")
    top = ground.path(ground.source)
    for name, make in ITEMS.items():
        folder = folder_of(top, name)
        os.makedirs(folder)
        make(folder)
    ground.mover.copy(ground.tree, ground.source, ground.replica)
    yield ground
    ground.clear()


@pytest.mark.parametrize("name", ITEMS)
def test_it_arrives_equal(copied, name):
    here, there = (folder_of(copied.path(host), name) for host in (copied.source, copied.replica))
    assert CLAIMS[name](there)
    assert looked_at(there) == looked_at(here)


def test_all_of_it_has_one_digest_and_a_second_copy_has_nothing_to_do(copied):
    one, other = (copied.mover.digest(copied.tree, host) for host in (copied.source, copied.replica))
    assert (one.digest, one.entries) == (other.digest, other.entries)
    assert one.entries > len(ITEMS) * 2
    again = copied.mover.copy(copied.tree, copied.source, copied.replica)
    assert (again.files, again.changed) == (0, ())


@pytest.fixture
def ground(town, transports):
    made = a_ground(town, transports, "documents")
    yield made
    made.clear()


def test_what_an_ordinary_user_may_not_read_is_an_error_and_not_an_omission(ground, tmp_path):
    """The host is reached without becoming root; the tree has a file, then a folder, that this login may not read."""
    ground.write(ground.source, "open", b"x")
    ground.write(ground.source, "folder/inside", b"x")
    top = ground.path(ground.source)
    for path in (top, top / "open", top / "folder", top / "folder/inside"):
        path.chmod(0o755)
    whole = ground.mover.digest(ground.tree, ground.source)
    login = ground.source.model_copy(update={"become": False})
    (tmp_path / "config").write_text(ground.town.ssh_config.read_text().replace("User root", "User deploy"))
    with open_transports(tmp_path / "config", tmp_path / "run", None) as transports:
        mover = file_tree_mover(ground.town, transports)
        assert mover.digest(ground.tree, login).digest == whole.digest
        (top / "open").chmod(0o600)
        with pytest.raises(DataError, match=r"open .Permission denied"):
            mover.digest(ground.tree, login)
        (top / "open").chmod(0o755)
        (top / "folder").chmod(0o700)
        with pytest.raises(DataError, match=r"folder .Permission denied"):
            mover.digest(ground.tree, login)


def test_a_file_that_is_changed_during_the_copy_is_named_and_copied_again(ground):
    ground.write(ground.source, "busy", os.urandom(12 << 20))
    ground.write(ground.source, "still", b"x")
    slow = file_tree_mover(ground.town, ground.transports, FileTreeSettings(bandwidth_bytes_per_second=8 << 20))
    copy = threading.Thread(target=slow.copy, args=(ground.tree, ground.source, ground.replica))
    copy.start()
    while copy.is_alive() and not list(ground.path(ground.replica).glob(".busy.*")):
        time.sleep(0.01)
    # What rsync has read of it by now is old, what it reads later is new.
    with (ground.path(ground.source) / "busy").open("r+b") as stream:
        stream.write(b"new")
        stream.seek(-3, os.SEEK_END)
        stream.write(b"new")
    copy.join()
    found = ground.mover.differences(ground.tree, ground.source, ground.replica)
    assert [line.partition(":")[0] for line in found] == ["busy"]
    again = ground.mover.copy(ground.tree, ground.source, ground.replica)
    assert again.changed == ("busy",)
    assert ground.mover.differences(ground.tree, ground.source, ground.replica) == []
