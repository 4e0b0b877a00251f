"""What runs first within a lab host's namespaces: it builds the host's root, enters it and becomes its first process.

Started as a program (`python3 -S host_root.py JSON`), so it imports the standard library alone. It sees the machine's
files until pivot_root, and only the host's afterwards: /usr is the machine's, read-only; /etc, /var, /srv, /opt, /home,
/root and /usr/local are the host's own.
"""

import ctypes
import json
import os
import socket
import sys
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
# statvfs flag → mount flag: a remount must repeat what a user namespace may not take away.
LOCKED_FLAGS = ((2, 2), (4, 4), (8, 8), (1024, 1024), (2048, 2048), (4096, 1 << 21))
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
LINKS_TO_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
OF_THE_MACHINE = ("/etc/ssl", "/etc/alternatives")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
FIRST_PROCESS = "/opt/lab/bin/systemctl-itself"

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), None if data is None else data.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"mounting {source} at {target}: {os.strerror(number)}")


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        has = os.statvfs(target).f_flag
        kept = sum(flag for seen, flag in LOCKED_FLAGS if has & seen)
        mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def bind_file(source: str, target: str, *, read_only: bool = False) -> None:
    with open(target, "a"):
        pass
    bind(source, target, read_only=read_only)


def build_root(spec: dict[str, Any]) -> None:
    """Put the host's root together at spec["mount"]."""
    root, files = spec["mount"], spec["files"]
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", 0, "mode=755,size=16m")
    own = [name for name in os.listdir(files) if name != "usr"]
    for name in ["usr", "proc", "sys", "dev", "tmp", "run", "mnt", "old", *own]:
        os.makedirs(f"{root}/{name}", exist_ok=True)
    bind("/usr", f"{root}/usr", read_only=True)
    bind(f"{files}/usr/local", f"{root}/usr/local")
    for name in LINKS_TO_USR:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif os.path.isdir(f"/{name}"):
            os.makedirs(f"{root}/{name}")
            bind(f"/{name}", f"{root}/{name}", read_only=True)
    for name in own:
        bind(f"{files}/{name}", f"{root}/{name}")
    for path in OF_THE_MACHINE:
        if os.path.isdir(path):
            os.makedirs(root + path, exist_ok=True)
            bind(path, root + path, read_only=True)
    # The machine's own would speak to a systemd that is not here, and Ansible would believe it.
    for name in ("systemctl", "sudo"):
        if os.path.exists(f"/usr/bin/{name}"):
            bind(f"{files}/opt/lab/bin/{name}", f"{root}/usr/bin/{name}", read_only=True)


def build_devices(root: str, disks: dict[str, str], *, one_user_id: bool) -> None:
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name in DEVICES:
        bind_file(f"/dev/{name}", f"{root}/dev/{name}")
    for name, image in disks.items():
        bind_file(image, f"{root}/dev/{name}")
    os.makedirs(f"{root}/dev/pts")
    os.makedirs(f"{root}/dev/shm")
    # Group 5 is tty; where it is not mapped the host has no such group and sshd does not ask for it.
    group = "" if one_user_id else ",gid=5"
    mount("devpts", f"{root}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620" + group)
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{root}/dev/{name}")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    mount("tmpfs", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("tmpfs", f"{root}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("tmpfs", f"{root}/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")


def enter_root(root: str) -> None:
    machine = os.uname().machine
    if machine not in PIVOT_ROOT:
        raise OSError(f"the number of pivot_root on {machine} is not known to the lab")
    os.chdir(root)
    if libc.syscall(PIVOT_ROOT[machine], b".", b"old"):
        number = ctypes.get_errno()
        raise OSError(number, f"pivot_root to {root}: {os.strerror(number)}")
    os.chdir("/")
    if libc.umount2(b"/old", MNT_DETACH):
        number = ctypes.get_errno()
        raise OSError(number, f"letting go of the machine's files: {os.strerror(number)}")
    os.rmdir("/old")


def set_network_rules() -> None:
    """Ports below 1024 for everybody, no IPv6: the lab's addresses are all there is."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as stream:
        stream.write("0")
    for name in ("all", "default"):
        path = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
        if os.path.exists(path):
            with open(path, "w") as stream:
                stream.write("1")


def main(spec: dict[str, Any]) -> None:
    build_root(spec)
    build_devices(spec["mount"], spec["disks"], one_user_id=spec["one_user_id"])
    socket.sethostname(spec["name"])
    enter_root(spec["mount"])
    set_network_rules()
    for folder in ("/run/systemd/system", "/run/sshd", "/run/lock"):
        os.makedirs(folder, exist_ok=True)
    environment = {"PATH": spec["path"], "HOME": "/root", "LANG": "C.UTF-8", "container": "skerry-lab"}
    os.execve(FIRST_PROCESS, [FIRST_PROCESS, "serve"], environment)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
