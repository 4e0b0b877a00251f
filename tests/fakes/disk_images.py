"""Small disks as machines have them: an ext4 file system that would boot at AWS, without root or a loop device."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

MIB = 1 << 20
MBR_SIGNATURE = b"\x55\xaa"
WILLING = {
    "etc/fstab": "UUID=6d2bc1c4-2b0e-4f7e-9d0c-1f2a3b4c5d6e / ext4 defaults 0 1\n",
    "etc/cloud/cloud.cfg": "users: []\n",
    "etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n",
    "lib/modules/6.1.0/modules.dep": "kernel/nvme.ko:\nkernel/ena.ko:\n",
}


def a_disk(
    path: Path, files: Mapping[str, str] = WILLING, *, size: int = 24 * MIB, partitioned: bool = True, ends: bool = True
) -> Path:
    """`ends`: /usr/bin/ls is on it, by which its architecture is told."""
    tree = path.with_suffix(".tree")
    for name, text in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    if ends:
        (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/ls", tree / "usr/bin/ls")
    partition = path.with_suffix(".ext4")
    with partition.open("wb") as stream:
        stream.truncate(size - MIB)
    words = ["/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(partition)]
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
