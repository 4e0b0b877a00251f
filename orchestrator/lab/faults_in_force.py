"""The faults a lab has at this moment: put, healed, and forgotten where a reboot or a removed host ends them."""

import signal
import subprocess
from collections.abc import Callable

from orchestrator.foundation.errors import LabError
from orchestrator.lab.faults import Fault
from orchestrator.lab.ground import Ground, HostRecord

WITHIN_HOSTS = ("freeze", "no-ssh", "stop-unit", "disk-full", "read-only")
HEAL_SECONDS_MAX = 60

# A full disk that shows what is on it: a small memory file system over it takes writes until it is full. What was
# written until then moves to the disk when there is room again.
DISK_FULL = """
[ -d "$1" ] || { echo "no folder $1" >&2; exit 1; }
over=/run/lab-full/$(echo "$1" | tr / _); mkdir -p "$over"
mount -t tmpfs -o size=$(($2 * 1024 + 64))k,mode=755 full "$over"
mkdir "$over/upper" "$over/work"
chown --reference="$1" "$over/upper"; chmod --reference="$1" "$over/upper"  # also what is left when it is healed
options="lowerdir=$1,upperdir=$over/upper,workdir=$over/work"
mount -t overlay full -o "$options,userxattr" "$1" 2>/dev/null || mount -t overlay full -o "$options" "$1"
dd if=/dev/zero of="$over/rest" bs=4k count=12 2>/dev/null || true
"""
DISK_NOT_FULL = """
over=/run/lab-full/$(echo "$1" | tr / _)
umount -l "$1"
find "$over/upper" -type c | while read -r gone; do rm -rf "$1/${gone#"$over/upper/"}" "$gone"; done
cp -a "$over/upper/." "$1/"
umount -l "$over"; rmdir "$over"
"""
READ_ONLY = '[ -e "$1" ] || { echo "no $1" >&2; exit 1; }; mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"'
READ_WRITE = 'umount -l "$1"'


class FaultsInForce:
    """The list, and the deeds that keep the world like it. A fault is in the list only once it is so."""

    def __init__(self, ground: Ground, host: Callable[[str], HostRecord]) -> None:
        self._ground = ground
        self._host = host
        self._list: dict[str, Fault] = {}

    def all(self) -> list[Fault]:
        return list(self._list.values())

    def put(self, fault: Fault) -> None:
        """Make the fault so; the same with another amount replaces it. Power is the caller's to cut."""
        before = self._list.get(fault.name)
        if before == fault:
            return
        if before is not None and fault.kind in WITHIN_HOSTS:
            self._end_within(before)
        if fault.kind in WITHIN_HOSTS:
            self._begin_within(fault)
        elif fault.kind != "power-off":
            if fault.kind == "cut-cable":
                self._host(fault.where[0])
            self._ground.set_faults([*(each for each in self.all() if each.name != fault.name), fault])
        self._list[fault.name] = fault

    def heal(self, name: str | None) -> list[Fault]:
        """End the fault of that name, or all, the newest first. Power is the caller's to give back."""
        if name is not None and name not in self._list:
            there = ", ".join(self._list) or "none"
            raise LabError(f"the lab has no fault {name!r}; there are: {there}")
        healed = []
        for each in reversed([name] if name is not None else list(self._list)):
            fault = self._list[each]
            if fault.kind in WITHIN_HOSTS:
                self._end_within(fault)
            elif fault.kind != "power-off":
                self._ground.set_faults([other for other in self.all() if other.name != each])
            del self._list[each]
            healed.append(fault)
        return healed

    def forget_by_reboot(self, host: str) -> None:
        """The power went: what was wrong within the host has ended; what is wrong with its cable has not."""
        self._forget(lambda fault: fault.where[0] == host and fault.kind in WITHIN_HOSTS)

    def forget_power_off(self, host: str) -> None:
        """The host was given power again."""
        self._forget(lambda fault: fault.where[0] == host and fault.kind == "power-off")

    def forget_host(self, host: str) -> None:
        """There is no such host any more."""
        self._forget(lambda fault: fault.where[0] == host)

    def _forget(self, ended: Callable[[Fault], bool]) -> None:
        self._list = {name: fault for name, fault in self._list.items() if not ended(fault)}

    def _begin_within(self, fault: Fault) -> None:
        host = fault.where[0]
        if fault.kind == "freeze":
            self._ground.signal_all(self._host(host), signal.SIGSTOP)
        elif fault.kind == "no-ssh":
            self._inside(fault, ["systemctl", "stop", "ssh"])
        elif fault.kind == "stop-unit":
            self._inside(fault, ["systemctl", "kill", "--signal=SIGSTOP", fault.where[1]])
        elif fault.kind == "disk-full":
            self._inside(fault, _shell(DISK_FULL, fault.where[1], f"{fault.amount:.0f}"))
        else:
            self._inside(fault, _shell(READ_ONLY, fault.where[1]))

    def _end_within(self, fault: Fault) -> None:
        host = fault.where[0]
        if fault.kind == "freeze":
            self._ground.signal_all(self._host(host), signal.SIGCONT)
        elif fault.kind == "no-ssh":
            self._inside(fault, ["systemctl", "start", "ssh"])
        elif fault.kind == "stop-unit":
            self._inside(fault, ["systemctl", "kill", "--signal=SIGCONT", fault.where[1]])
        else:
            self._inside(fault, _shell(DISK_NOT_FULL if fault.kind == "disk-full" else READ_WRITE, fault.where[1]))

    def _inside(self, fault: Fault, words: list[str]) -> None:
        launch = self._ground.launch(self._host(fault.where[0]), words, {})
        done = subprocess.run(
            launch.words,
            env=dict(launch.environment),
            cwd=launch.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HEAL_SECONDS_MAX,
            check=False,
        )
        if done.returncode:
            raise LabError(f"{fault.name}: {done.stderr.strip() or done.stdout.strip()}")


def _shell(script: str, *words: str) -> list[str]:
    return ["/bin/sh", "-eu", "-c", script, "fault", *words]
