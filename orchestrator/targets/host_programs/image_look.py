"""Reads a disk offline: how it is divided, what would boot from it, and whether it has what the cloud's machines need.

This file is sent to hosts and run by their own Python (3.9 or newer): standard library, and debugfs of e2fsprogs, which
reads ext2, ext3 and ext4 without mounting. Nothing is written. What cannot be told is said to be untold.
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

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any

SECTOR = 512
ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
SEARCH = os.pathsep.join(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
DEBUGFS_SECONDS_MAX = 60
FILE_BYTES_MAX = 4 * 1024 * 1024
FIXED = re.compile(r"\bstatic\b|\bmacaddress\b|MACAddress=|^\s*address(es)?[\s:]|^Address=", re.MULTILINE)
ARCHITECTURES = {0x3E: "x86_64", 0xB7: "arm64", 0x03: "i386"}
PROGRAMS = ("/usr/bin/ls", "/bin/ls", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/usr/bin/bash")


def partitions(descriptor: int) -> tuple[str, list[tuple[int, uuid.UUID | None]]]:
    """(gpt, mbr or none; first byte and GPT type of each partition)."""
    head = os.pread(descriptor, SECTOR, 0)
    table = os.pread(descriptor, SECTOR, SECTOR)
    if table[:8] == b"EFI PART":
        start, count, size = struct.unpack_from("<QII", table, 72)
        raw = os.pread(descriptor, min(count, 256) * size, start * SECTOR)
        found: list[tuple[int, uuid.UUID | None]] = []
        for place in range(0, len(raw) - size + 1, size):
            kind = uuid.UUID(bytes_le=raw[place : place + 16])
            if kind.int:
                found.append((struct.unpack_from("<Q", raw, place + 32)[0] * SECTOR, kind))
        return "gpt", found
    if head[510:512] == b"\x55\xaa" and head[:3] != b"\xeb\x58\x90":
        entries = [struct.unpack_from("<B3xB3xII", head, 446 + 16 * number) for number in range(4)]
        return "mbr", [(first * SECTOR, None) for _, kind, first, count in entries if kind and count]
    return "none", [(0, None)]


def is_ext(descriptor: int, offset: int) -> bool:
    return os.pread(descriptor, 2, offset + 1024 + 56) == b"\x53\xef"


class ExtReader:
    """One ext file system within a disk, by debugfs."""

    def __init__(self, program: str, path: str, offset: int) -> None:
        self.words = [program, "-R"]
        self.place = f"{path}?offset={offset}" if offset else path

    def ask(self, request: str) -> bytes:
        done = subprocess.run(
            [*self.words, request, self.place],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=DEBUGFS_SECONDS_MAX,
        )
        return done.stdout[:FILE_BYTES_MAX]

    def names(self, folder: str) -> list[str]:
        lines = self.ask(f"ls -p {folder}").decode("utf-8", "replace").splitlines()
        return [line.split("/")[5] for line in lines if line.startswith("/") and line.count("/") >= 6]

    def text(self, path: str) -> str:
        return self.ask(f"cat {path}").decode("utf-8", "replace")

    def machine_of(self, path: str) -> str:
        head = self.ask(f"cat {path}")[:20]
        return ARCHITECTURES.get(struct.unpack_from("<H", head, 18)[0], "") if head[:4] == b"\x7fELF" else ""


def finding(name: str, holds: bool | None, said: str) -> dict[str, Any]:
    return {"id": name, "holds": holds, "said": said}


def fstab_finding(text: str) -> dict[str, Any]:
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not rows:
        return finding("fstab", None, "there is no /etc/fstab, or nothing in it")
    lasting = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/disk/by-", "/dev/mapper/")
    named = [row[0] for row in rows if row[0].startswith("/dev/") and not row[0].startswith(lasting)]
    if named:
        return finding("fstab", False, f"devices are called by names that change: {', '.join(named)}; use UUID=")
    return finding("fstab", True, f"{len(rows)} lines, none by a device's name")


def driver_findings(reader: ExtReader) -> list[dict[str, Any]]:
    """Disks and network of today's machines are NVMe and ENA; older ones are Xen's."""
    kernels = [name for name in reader.names("/lib/modules") or reader.names("/usr/lib/modules") if name[:1].isdigit()]
    if not kernels:
        return [finding("drivers", None, "no kernel's modules were found")]
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
    return out


def cloud_init_finding(reader: ExtReader) -> dict[str, Any]:
    if "cloud" not in reader.names("/etc"):
        return finding(
            "cloud_init", False, "cloud-init is not installed: no user data, and no host keys on the console"
        )
    if "cloud-init.disabled" in reader.names("/etc/cloud"):
        return finding("cloud_init", False, "cloud-init is there and disabled (/etc/cloud/cloud-init.disabled)")
    return finding("cloud_init", True, "cloud-init is there")


def network_finding(reader: ExtReader) -> dict[str, Any]:
    """Whether an interface whose name and card nobody knows yet gets its address."""
    interfaces = reader.text("/etc/network/interfaces")
    plans = [f"/etc/netplan/{name}" for name in reader.names("/etc/netplan") if name.endswith((".yaml", ".yml"))]
    folder = "/etc/systemd/network"
    units = [f"{folder}/{name}" for name in reader.names(folder) if name.endswith(".network")]
    texts = {path: reader.text(path) for path in [*plans, *units]}
    if interfaces.strip():
        texts["/etc/network/interfaces"] = interfaces
    if not texts:
        return finding("network", None, "no configuration of the network was found")
    fixed = [path for path, text in texts.items() if FIXED.search(text)]
    if fixed:
        return finding("network", False, f"addresses or cards are fixed in {', '.join(sorted(fixed))}")
    return finding("network", True, f"addresses are asked for: {', '.join(sorted(texts))}")


def look(path: str) -> dict[str, Any]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kind, parts = partitions(descriptor)
        offsets = [offset for offset, _ in parts if is_ext(descriptor, offset)]
    finally:
        os.close(descriptor)
    types = {each for _, each in parts}
    facts: dict[str, Any] = {"partitions": kind, "boot_mode": "uefi" if ESP in types else "legacy-bios"}
    facts.update({"architecture": "", "file_system": "ext" if offsets else "unknown", "findings": []})
    findings = facts["findings"]
    if ESP in types and BIOS_BOOT in types:
        facts["boot_mode"] = "uefi-preferred"
    findings.append(finding("partitions", None if kind == "none" else True, f"partition table: {kind}"))
    program = shutil.which("debugfs", path=SEARCH)
    if not offsets or program is None:
        why = "no ext file system was found on it" if program else "debugfs (e2fsprogs) is not installed here"
        findings += [finding(name, None, why) for name in ("fstab", "drivers", "cloud_init", "network")]
        return facts
    readers = [ExtReader(program, path, offset) for offset in offsets]
    root = next((reader for reader in readers if "etc" in reader.names("/")), None)
    if root is None:
        findings += [finding(name, None, "no /etc on it") for name in ("fstab", "drivers", "cloud_init", "network")]
        return facts
    facts["architecture"] = next(filter(None, (root.machine_of(path) for path in PROGRAMS)), "")
    findings.append(fstab_finding(root.text("/etc/fstab")))
    findings += driver_findings(root)
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
