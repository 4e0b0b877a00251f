"""Small disks as machines have them: an ext4 file system that would boot at AWS, without root or a loop device."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

MIB = 1 << 20
XFS_BYTES_MIN = 320 * MIB  # mkfs.xfs makes no smaller one
MBR_SIGNATURE = b"\x55\xaa"
UUID = "6d2bc1c4-2b0e-4f7e-9d0c-1f2a3b4c5d6e"
WILLING = {
    "etc/fstab": f"UUID={UUID} / ext4 defaults 0 1\n",
    "etc/cloud/cloud.cfg": "users: []\n",
    "etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n",
    "lib/modules/6.1.0/modules.dep": "kernel/nvme.ko:\nkernel/ena.ko:\n",
    "lib/modules/6.1.0/modules.builtin": "kernel/nvme.ko\n",
}
_UNIT = """[Unit]
Description=Serves what the disk holds
[Service]
ExecStart=/usr/bin/python3 -m http.server 8099 --directory /srv/app
[Install]
WantedBy=multi-user.target
"""
# What is served on port 8099 once the units of the disk are started: {"letters": 1} as /state.json.
SERVING = {
    "srv/app/state.json": '{"letters": 1}',
    "etc/systemd/system/serving.service": _UNIT,
    "etc/systemd/system/multi-user.target.wants/serving.service": _UNIT,
}


def an_archive(*names: str) -> bytes:
    """A cpio archive as an initramfs has them, of files with a few bytes each."""
    out = b""
    for name in (*names, "TRAILER!!!"):
        content = b"" if name == "TRAILER!!!" else b"module"
        fields = (1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
    return out + bytes(-len(out) % 512)


def an_xfs_volume(path: Path, files: Mapping[str, str | bytes]) -> Path:
    """The same as XFS, without a partition table: mkfs fills it by a list of what shall be on it, without mounting."""
    tree = path.with_suffix(".tree")
    tree.mkdir()
    lines = ["/none", "0 0", "d--755 0 0"]

    def place(folder: str) -> None:
        below = {name[len(folder) :].split("/")[0] for name in files if name.startswith(folder)}
        for name in sorted(below):
            whole = folder + name
            if whole in files:
                content = files[whole]
                held = tree / str(len(list(tree.iterdir())))
                held.write_bytes(content.encode() if isinstance(content, str) else content)
                lines.append(f"{name} ---755 0 0 {held}")
            else:
                lines.append(f"{name} d--755 0 0")
                place(whole + "/")
                lines.append("$")

    place("")
    listed = path.with_suffix(".list")
    listed.write_text("\n".join([*lines, "$", ""]))
    with path.open("wb") as stream:
        stream.truncate(XFS_BYTES_MIN)
    words = ["/sbin/mkfs.xfs", "-q", "-f", "-m", f"uuid={UUID}", "-p", str(listed), str(path)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    shutil.rmtree(tree)
    listed.unlink()
    return path


def a_disk(
    path: Path,
    files: Mapping[str, str | bytes] = WILLING,
    *,
    size: int = 24 * MIB,
    partitioned: bool = True,
    ends: bool = True,
) -> Path:
    """`ends`: /usr/bin/ls is on it, by which its architecture is told."""
    tree = path.with_suffix(".tree")
    for name, text in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
    if ends:
        (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/ls", tree / "usr/bin/ls")
    partition = path.with_suffix(".ext4")
    with partition.open("wb") as stream:
        stream.truncate(size - MIB)
    words = ["/sbin/mke2fs", "-q", "-t", "ext4", "-U", UUID, "-d", str(tree), str(partition)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    with path.open("wb") as disk:
        if partitioned:
            head = bytearray(512)
            head[446:462] = struct.pack("<B3xB3xII", 0x80, 0x83, 2048, (size - MIB) // 512)
            head[510:512] = MBR_SIGNATURE
            disk.write(head)
            disk.seek(MIB)
        disk.write(partition.read_bytes())
    shutil.rmtree(tree)
    partition.unlink()
    return path
