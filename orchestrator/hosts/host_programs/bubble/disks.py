"""What of a disk starts a machine, read from the image: an EFI partition, a boot record, or a kernel in /boot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from orchestrator.hosts.host_programs.bubble.namespaces import Refused
from orchestrator.hosts.host_programs.bubble.units import PATH

SECTOR = 512
EFI_PARTITION = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")  # its type in a GPT
KERNEL = re.compile(r"vmlinuz(?:-([\w.+-]+))?")
INITRAMFS = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}")
INITRAMFS_OF_THE_ONLY = ("initrd.img", "initramfs.img", "initrd")
DEBUGFS_SECONDS_MAX = 120


def firmware_for(disk: str) -> str:
    """bios, uefi or kernel; Refused where nothing on the disk starts a machine."""
    with open(disk, "rb") as stream:
        head = stream.read(34 * SECTOR)
    if head[SECTOR : SECTOR + 8] == b"EFI PART" and EFI_PARTITION in head[2 * SECTOR :]:
        return "uefi"
    if head[510:512] == b"\x55\xaa":
        return "bios"
    if head[1024 + 56 : 1024 + 58] == b"\x53\xef":
        return "kernel"
    raise Refused("%s: no machine starts from it: no EFI partition, no boot record and no ext file system" % disk)


def kernel_of(disk: str, folder: str) -> list[str]:
    """Words for QEMU with the newest kernel of the disk's /boot and its initramfs, copied to `folder`."""
    program = shutil.which("debugfs", path=PATH)
    if not program:
        raise Refused("debugfs (e2fsprogs) is not installed, so no kernel can be read out of %s" % disk)

    def ask(request: str) -> str:
        words = [program, "-R", request, disk]
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=DEBUGFS_SECONDS_MAX)
        return done.stdout.decode("utf-8", "replace")

    there = [line.split("/")[5] for line in ask("ls -p /boot").splitlines() if line.count("/") >= 6]
    kernels = sorted((name for name in there if KERNEL.fullmatch(name)), key=in_order)
    if not kernels:
        raise Refused("%s: no kernel (vmlinuz…) is in /boot of its file system" % disk)
    kernel = kernels[-1]
    version = kernel.partition("-")[2]
    named = [form.format(version) for form in INITRAMFS] if version else []
    initramfs = next((name for name in (*named, *INITRAMFS_OF_THE_ONLY) if name in there), "")
    words = []
    for option, name in (("-kernel", kernel), ("-initrd", initramfs)):
        if name:
            path = os.path.join(folder, name)
            ask("dump /boot/%s %s" % (name, path))
            if not os.path.isfile(path) or not os.path.getsize(path):
                raise Refused("%s: /boot/%s cannot be read" % (disk, name))
            words += [option, path]
    return words


def in_order(name: str) -> list[tuple[int, str]]:
    """Versions as people count them: 6.1.0-10 is after 6.1.0-9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
