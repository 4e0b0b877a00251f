"""Machines within a bubble: QEMU over held images. What a machine writes goes beside them, and ends with the bubble.

Its network is QEMU's own, in this process, closed (restrict): it reaches nobody, and is reached at the ports that are
asked for, over the bubble's loopback. So a bubble with machines has the one interface that every bubble has.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import time
from typing import Any

from orchestrator.hosts.host_programs.bubble.disks import firmware_for, kernel_of
from orchestrator.hosts.host_programs.bubble.namespaces import Refused
from orchestrator.hosts.host_programs.bubble.units import PATH, WALLED

MACHINES_PLACE = "/run/skerry-machines"
NOBODY = "nobody"
LOOPBACK = "127.0.0.1"
QEMU = "qemu-system-x86_64"
# Code and variables of UEFI firmware, as Debian and Fedora have them.
UEFI = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
)
MIB = 1024 * 1024
OWN_MIB = 512  # what QEMU needs besides the machine's memory
TRANSLATED_MIB = 128  # of that, for translated code
CONSOLE_BYTES_MAX = 64 * 1024
MONITOR_SECONDS_MAX = 30.0
GREETING_SECONDS_MAX = 3.0
GREETING_BYTES_MAX = 1024
NETWORK_CARDS = {"virtio": "virtio-net-pci", "emulated": "e1000e"}
DISK_KINDS = {"virtio": "virtio", "emulated": "ide"}


def boot(machine: dict[str, Any]) -> dict[str, Any]:
    """Start it, and give back what starts it as soon as QEMU answers. Nothing of it waits for what the disk does."""
    rules, disks = machine["boot"], machine["disks"]
    folder = os.path.join(MACHINES_PLACE, machine["name"])
    os.chdir(folder)  # names within are short: that of a socket has an end
    if alive():
        raise Refused("%s runs already" % machine["name"])
    program = shutil.which(QEMU, path=PATH)
    if not program:
        raise Refused("%s is not installed, so no machine can be started from %s" % (QEMU, machine["name"]))
    if rules["memory_mib"] + OWN_MIB > memory_available_mib():
        told = (machine["name"], rules["memory_mib"], memory_available_mib())
        raise Refused("%s wants %d MiB of memory, and %d MiB are free" % told)
    firmware = firmware_for(disks[0]) if rules["firmware"] == "auto" else rules["firmware"]
    words = [*hardware(rules, disks), *starting(firmware, rules, disks[0], folder)]
    words += network(rules)
    shutil.chown(folder, NOBODY)
    environment = {"PATH": PATH, "LANG": "C.UTF-8", "TMPDIR": folder}
    with open("qemu.log", "ab") as log:
        process = subprocess.Popen(
            [*WALLED, program, *words], env=environment, cwd=folder, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + MONITOR_SECONDS_MAX
    while not alive():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Refused("%s: QEMU does not start: %s" % (machine["name"], why_ended()))
        time.sleep(0.05)
    quick = ask_monitor("query-kvm")["enabled"]
    return {"firmware": firmware, "accelerator": "kvm" if quick else "tcg"}


def hardware(rules: dict[str, Any], disks: list[str]) -> list[str]:
    """Memory, processors, disks, a screen that is looked at by picture, a serial console that is a file."""
    words = [
        "-nodefaults", "-no-user-config", "-display", "none", "-vga", "std",
        # What BIOS and boot loaders show goes to the serial console too.
        "-machine", "q35,graphics=off", "-accel", "kvm", "-accel", "tcg,tb-size=%d" % TRANSLATED_MIB, "-cpu", "max",
        "-m", str(rules["memory_mib"]), "-smp", str(rules["cpus"]),
        "-runas", NOBODY, "-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny",
        "-chardev", "file,id=console,path=console", "-serial", "chardev:console",
        "-qmp", "unix:qmp,server=on,wait=off",
    ]  # fmt: skip
    kind = DISK_KINDS[rules["devices"]]
    for disk in disks:
        # A layer of QEMU's own in TMPDIR, that has no name any more; the image is opened for reading alone.
        words += ["-drive", "file=%s,format=raw,if=%s,snapshot=on,discard=unmap" % (disk.replace(",", ",,"), kind)]
    return words


def starting(firmware: str, rules: dict[str, Any], disk: str, folder: str) -> list[str]:
    if firmware == "kernel":
        return [*kernel_of(disk, folder), "-append", rules["command_line"]]
    if firmware == "bios":
        return []
    code, variables = next(((one, other) for one, other in UEFI if os.path.exists(one)), ("", ""))
    if not code:
        raise Refused("the disk starts by UEFI, and no firmware for that is installed (ovmf)")
    shutil.copy(variables, "variables")
    flash = "if=pflash,format=raw,unit=%d,readonly=%s,file=%s"
    return ["-drive", flash % (0, "on", code), "-drive", flash % (1, "off", "variables")]


def network(rules: dict[str, Any]) -> list[str]:
    """The machine's address, two others of its network that answer nothing, and the ports at which it is reached.

    It has no way to another network, so it answers only who seems to come from its own: QEMU lets whoever comes over
    loopback seem so, and nobody else.
    """
    own = ipaddress.IPv4Interface(rules["address"])
    others = (one for one in own.network.hosts() if one != own.ip)
    settings = "user,id=net,ipv6=off,restrict=on,net=%s,host=%s,dns=%s,dhcpstart=%s" % (
        own.network, next(others), next(others), own.ip,
    )  # fmt: skip
    for port in rules["ports"]:
        settings += ",hostfwd=tcp:%s:%d-%s:%d" % (LOOPBACK, port["port"], own.ip, port["port"])
    return ["-netdev", settings, "-device", NETWORK_CARDS[rules["devices"]] + ",netdev=net,romfile="]


def memory_available_mib() -> int:
    with open("/proc/meminfo", encoding="ascii") as stream:
        return next(int(line.split()[1]) // 1024 for line in stream if line.startswith("MemAvailable:"))


def look(name: str) -> dict[str, Any]:
    enter(name)
    with open("console", "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - CONSOLE_BYTES_MAX))
        console = stream.read(CONSOLE_BYTES_MAX).decode("utf-8", "replace")
    return {"ended": "" if alive() else why_ended(), "console": console}


def picture(name: str) -> dict[str, Any]:
    """As PNG, or as PPM by a QEMU that writes no other (before 7.1)."""
    enter(name)
    kind = "image/png"
    try:
        ask_monitor("screendump", filename="screen", format="png")
    except Refused:
        kind = "image/x-portable-pixmap"
        ask_monitor("screendump", filename="screen")
    with open("screen", "rb") as stream:
        return {"media_type": kind, "content": base64.b64encode(stream.read()).decode()}


def greeting(port: int) -> dict[str, Any]:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=GREETING_SECONDS_MAX) as caller:
            caller.settimeout(GREETING_SECONDS_MAX)
            return {"said": caller.recv(GREETING_BYTES_MAX).decode("utf-8", "replace")}
    except OSError:
        return {"said": ""}


def enter(name: str) -> None:
    """The folder of a machine that was started."""
    folder = os.path.join(MACHINES_PLACE, name)
    if not os.path.exists(os.path.join(folder, "console")):
        raise Refused("no machine was started from %s" % name)
    os.chdir(folder)


def alive() -> bool:
    """Whether QEMU takes connections at its monitor; it ends with QEMU."""
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex("qmp") == 0


def why_ended() -> str:
    with open("qemu.log", encoding="utf-8", errors="replace") as stream:
        lines = [line.strip() for line in stream if line.strip() and "failed to initialize kvm" not in line.lower()]
    return " / ".join(lines[-3:]) or "it switched itself off"


def ask_monitor(command: str, **arguments: str) -> Any:
    """One command to QEMU's monitor; what it returns."""
    with socket.socket(socket.AF_UNIX) as caller, caller.makefile("rw", encoding="utf-8") as stream:
        caller.settimeout(MONITOR_SECONDS_MAX)
        try:
            caller.connect("qmp")
            stream.readline()  # its greeting
            for asked in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(asked) + "\n")
                stream.flush()
                answer: dict[str, Any] = {}
                while not {"return", "error"} & answer.keys():  # events come in between
                    answer = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise Refused("the machine does not answer: %s" % (why_ended() or error)) from error
    if "error" in answer:
        raise Refused("%s: %s" % (command, answer["error"]["desc"]))
    return answer["return"]
