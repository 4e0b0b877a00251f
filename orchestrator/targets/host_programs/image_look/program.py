"""Reads a disk offline: how it is divided, what would boot from it, and whether it has what the cloud's machines need.

It is sent to hosts and run by their own Python (3.9 or newer): standard library, debugfs for ext, xfs_db for XFS.
Nothing is mounted or written. What cannot be told is said to be untold.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import uuid
import zlib
from contextlib import ExitStack, contextmanager
from lzma import LZMAError

from orchestrator.targets.host_programs.image_look.initramfs import MissingProgram, names_in
from orchestrator.targets.host_programs.image_look.readers import ExtReader, Reader, XfsReader, asked
from orchestrator.targets.host_programs.image_look.table import is_ext, is_xfs, own_uuid, partitions

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Iterator
    from typing import Any

ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
SEARCH = os.pathsep.join(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
INITRAMFS_BYTES_MAX = 512 * 1024 * 1024
INITRAMFS_NAMES = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}")
# Debian's, netplan's, systemd's, Red Hat's, SUSE's and NetworkManager's own files; and the names that udev gave cards.
NETWORK_FILES = (
    ("/etc/network", r"interfaces"),
    ("/etc/netplan", r".*\.ya?ml"),
    ("/etc/systemd/network", r".*\.network"),
    ("/etc/sysconfig/network-scripts", r"ifcfg-(?!lo$).*"),
    ("/etc/sysconfig/network", r"ifcfg-(?!lo$).*"),
    ("/etc/NetworkManager/system-connections", r".*"),
    ("/etc/udev/rules.d", r".*persistent-net\.rules"),
)
FIXED = re.compile(
    r"\bstatic\b|\bmacaddress\b|^\s*address(es)?[\s:]|^Address=|^MACAddress=|^IPADDR|^HWADDR=|^BOOTPROTO=[\"']?none"
    r"|^method=manual|^mac-address=|ATTR\{address\}==",
    re.MULTILINE,
)
PROGRAMS = ("/usr/bin/ls", "/bin/ls", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/usr/bin/bash")
LOOKED_FOR = ("fstab", "drivers", "initramfs", "cloud_init", "network")


def finding(name: str, holds: bool | None, said: str) -> dict[str, Any]:
    return {"id": name, "holds": holds, "said": said}


def fstab_finding(root: Reader) -> dict[str, Any]:
    text = root.text("/etc/fstab")
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not rows:
        return finding("fstab", None, "there is no /etc/fstab, or nothing in it")
    lasting = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/disk/by-", "/dev/mapper/")
    named = [row[0] for row in rows if row[0].startswith("/dev/") and not row[0].startswith(lasting)]
    if named:
        return finding("fstab", False, f"devices are called by names that change: {', '.join(named)}; use UUID=")
    first = next((row[0] for row in rows if len(row) > 1 and row[1] == "/"), "")
    if first.startswith("UUID=") and first[5:].strip('"').lower() != root.uuid:
        return finding("fstab", False, f"/ is to be mounted from {first}, but this file system is {root.uuid}")
    return finding("fstab", True, f"{len(rows)} lines, none by a device's name")


def driver_findings(reader: Reader, others: list[Reader]) -> list[dict[str, Any]]:
    """Disks and network of today's machines are NVMe and ENA; older ones are Xen's. Any of `others` may be /boot."""
    kernels = [name for name in reader.names("/lib/modules") or reader.names("/usr/lib/modules") if name[:1].isdigit()]
    if not kernels:
        return [finding(name, None, "no kernel's modules were found") for name in ("drivers", "initramfs")]
    out = []
    for kernel in kernels:
        folder = f"/lib/modules/{kernel}"
        listed = reader.text(folder + "/modules.dep") + reader.text(folder + "/modules.builtin")
        if not listed.strip():
            folder = f"/usr/lib/modules/{kernel}"
            listed = reader.text(folder + "/modules.dep") + reader.text(folder + "/modules.builtin")
        there = {module for module in ("nvme", "ena", "xen-blkfront") if re.search(rf"/{module}\.ko", listed)}
        missing = sorted({"nvme", "ena"} - there)
        said = f"kernel {kernel} has {', '.join(sorted(there)) or 'none of nvme, ena, xen-blkfront'}"
        out.append(finding("drivers", not missing, said + (f"; it lacks {', '.join(missing)}" if missing else "")))
        built_in = re.search(r"/nvme\.ko", reader.text(folder + "/modules.builtin")) is not None
        out.append(initramfs_finding(kernel, built_in, reader, others))
    return out


def initramfs_finding(kernel: str, built_in: bool, root: Reader, others: list[Reader]) -> dict[str, Any]:
    """Whether the kernel finds the NVMe disk that it is to start from."""
    if built_in:
        return finding("initramfs", True, f"kernel {kernel} has nvme built in")
    for reader, folder in [(root, "/boot"), *((other, "/") for other in others)]:
        there = reader.names(folder)
        for name in (form.format(kernel) for form in INITRAMFS_NAMES):
            if name not in there:
                continue
            try:
                held = names_in(reader.content(f"{folder.rstrip('/')}/{name}", INITRAMFS_BYTES_MAX))
            except MissingProgram as error:
                return finding("initramfs", None, f"{name} cannot be unpacked here: {error} is not installed")
            except (ValueError, OSError, EOFError, zlib.error, LZMAError, subprocess.SubprocessError) as error:
                return finding("initramfs", None, f"{name} cannot be read: {error}")
            if any(re.search(r"/nvme\.ko(\.\w+)?$", each) for each in held):
                return finding("initramfs", True, f"{name} has nvme")
            return finding("initramfs", False, f"{name} lacks nvme: the kernel would not find its disk")
    return finding("initramfs", None, f"no initramfs of kernel {kernel} was found")


def cloud_init_finding(reader: Reader) -> dict[str, Any]:
    if "cloud" not in reader.names("/etc"):
        return finding(
            "cloud_init", False, "cloud-init is not installed: no user data, and no host keys on the console"
        )
    if "cloud-init.disabled" in reader.names("/etc/cloud"):
        return finding("cloud_init", False, "cloud-init is there and disabled (/etc/cloud/cloud-init.disabled)")
    return finding("cloud_init", True, "cloud-init is there")


def network_finding(reader: Reader) -> dict[str, Any]:
    """Whether an interface whose name and card nobody knows yet gets its address."""
    paths = [
        f"{folder}/{name}"
        for folder, form in NETWORK_FILES
        for name in reader.names(folder)
        if re.fullmatch(form, name)
    ]
    texts = {path: text for path in paths if (text := reader.text(path)).strip()}
    if not texts:
        return finding("network", None, "no configuration of the network was found")
    fixed = [path for path, text in texts.items() if FIXED.search(text)]
    if fixed:
        return finding("network", False, f"addresses or cards are fixed in {', '.join(sorted(fixed))}")
    return finding("network", True, f"addresses are asked for: {', '.join(sorted(texts))}")


@contextmanager
def from_offset(path: str, offset: int) -> Iterator[str]:
    """The disk from there on, as a place of its own: a read-only loop device, which only root may make."""
    if not offset:
        yield path
        return
    program = shutil.which("losetup", path=SEARCH)
    place = asked([program, "-r", "-f", "--show", "-o", str(offset), path]).decode().strip() if program else ""
    try:
        yield place
    finally:
        if place:
            asked([str(program), "-d", place])


def readers_of(path: str, opened: ExitStack, offsets: dict[int, str]) -> tuple[list[Reader], list[str]]:
    """A reader of each file system that can be read here, and why others cannot."""
    readers: list[Reader] = []
    why: list[str] = []
    debugfs, xfs_db = shutil.which("debugfs", path=SEARCH), shutil.which("xfs_db", path=SEARCH)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for offset, kind in offsets.items():
            own = own_uuid(descriptor, offset)
            if kind == "ext" and debugfs:
                readers.append(ExtReader(debugfs, path, offset, own))
            elif kind == "xfs" and xfs_db:
                place = opened.enter_context(from_offset(path, offset))
                if place:
                    readers.append(XfsReader(xfs_db, place, own))
                else:
                    why.append("XFS within a partition is read through a loop device, and none could be made")
            else:
                why.append(f"{'debugfs (e2fsprogs)' if kind == 'ext' else 'xfs_db (xfsprogs)'} is not installed here")
    finally:
        os.close(descriptor)
    return readers, why


def look(path: str) -> dict[str, Any]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kind, parts = partitions(descriptor)
        offsets = {offset: "ext" for offset, _ in parts if is_ext(descriptor, offset)}
        offsets.update({offset: "xfs" for offset, _ in parts if is_xfs(descriptor, offset)})
    finally:
        os.close(descriptor)
    types = {each for _, each in parts}
    facts: dict[str, Any] = {"partitions": kind, "boot_mode": "uefi" if ESP in types else "legacy-bios"}
    facts.update({"architecture": "", "file_system": "unknown", "findings": []})
    findings = facts["findings"]
    if ESP in types and BIOS_BOOT in types:
        facts["boot_mode"] = "uefi-preferred"
    findings.append(finding("partitions", None if kind == "none" else True, f"partition table: {kind}"))
    with ExitStack() as opened:
        readers, why = readers_of(path, opened, offsets)
        root = next((reader for reader in readers if "etc" in reader.names("/")), None)
        if root is None:
            said = "; ".join(why) or ("no /etc on it" if offsets else "no ext or XFS file system was found on it")
            findings += [finding(name, None, said) for name in LOOKED_FOR]
            return facts
        facts["file_system"] = "xfs" if isinstance(root, XfsReader) else "ext"
        facts["architecture"] = next(filter(None, (root.machine_of(path) for path in PROGRAMS)), "")
        findings.append(fstab_finding(root))
        findings += driver_findings(root, [reader for reader in readers if reader is not root])
        findings += [cloud_init_finding(root), network_finding(root)]
    return facts


def main() -> None:
    try:
        result = look(json.loads(sys.argv[-1])["path"])
    except (OSError, struct.error, subprocess.SubprocessError) as error:
        result = {"broken": str(error)}
    print("result " + json.dumps(result))


if __name__ == "__main__":
    main()
