"""Makes EC2's word true: for each instance a host that is on, off or gone, and a state that follows the host.

An instance is `pending` until its host answers SSH, `stopping` until the power is off, `shutting-down` until the host
is gone. The API never waits for any of it. What fails is tried again every second; the instance stays where it is.
"""

import base64
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.foundation.errors import LabError
from orchestrator.lab.blueprint import LabHost, PlacedFile, Unit
from orchestrator.lab.cloud.boot_disk import BootDisk, boot_disk
from orchestrator.lab.cloud.images import Images
from orchestrator.lab.cloud.strict.moto_state import all_instances, find_instance, release_address, set_state
from orchestrator.lab.demo.units import host_environment
from orchestrator.lab.town import Town
from orchestrator.model.names import Name

SETTLED = {"pending": "running", "stopping": "stopped", "shutting-down": "terminated"}
TRY_AGAIN_SECONDS = 1.0
WORKERS = 4

# cloud-init's own frame (cc_ssh "emit_keys_to_console"), which is where SDK users read host keys from.
CONSOLE = """[    0.000000] Linux version 6.1 (lab)
Starting cloud-init for {name}
{said}-----BEGIN SSH HOST KEY KEYS-----
{key}
-----END SSH HOST KEY KEYS-----
Cloud-init v. 22.4.2 finished. Datasource DataSourceEc2Local.

{name} login: """

USER_DATA_UNIT = """[Unit]
Description=User data at first boot
[Service]
Type=simple
ExecStart=/opt/cloud-init/first-boot
[Install]
WantedBy=multi-user.target
"""

FIRST_BOOT = """#!/bin/sh
# Runs the user data once in the life of the instance, as cloud-init does.
state="${SKERRY_LAB_PREFIX}/var/lib/cloud"
[ -e "$state/done" ] && exit 0
if [ -n "$SKERRY_LAB_PREFIX" ]; then
    # On loopback the host has no root of its own: user data would change this machine.
    echo "not run: this host shares its root" >"$state/output.log"
    exit 0
fi
"$state/user-data" >"$state/output.log" 2>&1
echo "$?" >"$state/exit-code"
touch "$state/done"
"""


@dataclass(frozen=True)
class Content:
    """What a host starts with. `disk` is a file with the content of its first disk, where its image was made of one."""

    services: tuple[Unit, ...]
    files: Mapping[str, PlacedFile]
    disk: Path | None


class Machines(Protocol):
    """Where instances really are.

    on    makes the host where there is none, and powers it on; returns its SSH host key line once it answers.
          Where it has a disk, that is its /dev/xvda, and the units and files that the disk holds are its own
    off   cuts its power; gone removes it with all it holds. Both are idempotent
    said  is what its user data has printed so far, which stands on its console
    """

    def on(self, name: str, address: str, content: Content) -> str: ...
    def off(self, name: str) -> None: ...
    def gone(self, name: str) -> None: ...
    def said(self, name: str) -> str: ...


class TownMachines:
    """Hosts of the lab's cloud site."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._network = "127.0.0.0/8" if town.kind == "loopback" else "10.0.0.0/8"

    def on(self, name: str, address: str, content: Content) -> str:
        environment = host_environment("cloud", address, self._network)
        first = Unit("cloud-init", USER_DATA_UNIT, {**content.files, **environment}, enabled=True)
        # On loopback the API's 127.x is the blueprint's 10.x.
        in_blueprint = "10." + address.split(".", 1)[1]
        disk = content.disk
        booted = boot_disk(disk) if disk else BootDisk()
        self._town.add_host(
            LabHost(
                name,
                "cloud",
                in_blueprint,
                services=(first, *content.services, *booted.units),
                trusts_ca=self._town.kind == "loopback",  # where user data is not run
            ),
            files=booted.files,
            disks={"xvda": disk} if disk and self._town.kind == "namespaces" else None,
        )
        return self._town.host_key(name)

    def off(self, name: str) -> None:
        if name in self._town.hosts():
            self._town.power_off(name)

    def gone(self, name: str) -> None:
        self._town.remove_host(name)

    def said(self, name: str) -> str:
        try:
            return self._town.path_on_machine(name, "/var/lib/cloud/output.log").read_text(errors="replace")
        except OSError:  # it has not begun
            return ""


class ImaginaryMachines:
    """No hosts at all: instances answer at once, each with a key of its own. For a cloud without a town."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def on(self, name: str, address: str, content: Content) -> str:
        if name not in self._keys:
            with tempfile.TemporaryDirectory() as folder:
                words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", f"{folder}/key"]
                subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
                self._keys[name] = " ".join(Path(f"{folder}/key.pub").read_text().split()[:2])
        return self._keys[name]

    def off(self, name: str) -> None:
        return

    def gone(self, name: str) -> None:
        self._keys.pop(name, None)

    def said(self, name: str) -> str:
        return ""


class Reconciler:
    """Follows the instances' asked-for states in threads of its own; `lock` is the gateway's, held to read and set."""

    def __init__(
        self, machines: Machines, images: Images, lock: threading.RLock, disk_of: Callable[[str, str], Path | None]
    ) -> None:
        """`disk_of`: the file with an instance's first disk, by instance and image; None for the lab's own images."""
        self._disk_of = disk_of
        self._machines = machines
        self._images = images
        self._lock = lock
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._busy: dict[str, threading.Lock] = {}
        self._keys: dict[str, tuple[str, str]] = {}  # name and host key of an instance that has booted

    def settle(self) -> None:
        """Take for done what was asked for, as it was before the next call that is replayed."""
        for instance in all_instances():
            if instance.state in SETTLED:
                self._settle(instance)

    def start(self) -> None:
        """Begin, with every instance there is; but one that ended, and whose name another has now, is no host."""
        under_way = {settled: asked for asked, settled in SETTLED.items()}
        live = {host_name(each) for each in all_instances() if each.state != "terminated"}
        for instance in all_instances():
            if instance.state != "terminated" or host_name(instance) not in live:
                set_state(instance, under_way[instance.state])
                self._queue.put(instance.id)
        for _ in range(WORKERS):
            threading.Thread(target=self._work, daemon=True).start()

    def changed(self, instance_id: str) -> None:
        self._queue.put(instance_id)

    def output(self, instance_id: str) -> str:
        """The instance's console."""
        if instance_id not in self._keys:
            return ""
        name, key = self._keys[instance_id]
        return CONSOLE.format(name=name, key=key, said=self._machines.said(name))

    def _work(self) -> None:
        while True:
            instance_id = self._queue.get()
            with self._lock:
                one_at_a_time = self._busy.setdefault(instance_id, threading.Lock())
            try:
                with one_at_a_time:
                    self._reconcile(instance_id)
            except (LabError, OSError, subprocess.SubprocessError) as error:
                print(f"{instance_id}: {error}; tried again", file=sys.stderr, flush=True)
                again = threading.Timer(TRY_AGAIN_SECONDS, self._queue.put, [instance_id])
                again.daemon = True
                again.start()

    def _reconcile(self, instance_id: str) -> None:
        with self._lock:
            instance = find_instance(instance_id)
            if instance is None or instance.state not in SETTLED:
                return
            asked = instance.state
            name = host_name(instance)
            address = str(instance.private_ip)
            services = self._images.services(instance.image_id)
            files = user_data_files(instance.user_data)
        if asked == "pending":
            content = Content(services, files, self._disk_of(instance_id, instance.image_id))
            key = self._machines.on(name, address, content)
            self._keys[instance_id] = name, key
        elif asked == "stopping":
            self._machines.off(name)
        else:
            self._machines.gone(name)
        with self._lock:
            if instance.state == asked:
                self._settle(instance)
        print(f"{instance_id} ({name}, {address}) is {instance.state}", flush=True)

    @staticmethod
    def _settle(instance: Any) -> None:
        settled = SETTLED[instance.state]
        set_state(instance, settled)
        if settled == "terminated" and getattr(instance, "lab_settled", "") != settled:
            release_address(instance)  # once: afterwards another may have it
        instance.lab_settled = settled


def host_name(instance: Any) -> Name:
    """The Name tag, where it is a name that a host may have; the instance's id otherwise."""
    tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
    name = str(tags.get("Name", ""))
    usable = name and name.isascii() and name == name.lower() and name.replace("-", "").isalnum() and name[0].isalpha()
    return name if usable else f"cloud-{instance.id}"


def user_data_files(encoded: Any) -> dict[str, PlacedFile]:
    """User data as the first boot finds it; what is no program (`#!`) is kept but not run."""
    raw = base64.b64decode(encoded.as_bytes()) if encoded else b""
    runnable = raw.startswith(b"#!")
    return {
        "/var/lib/cloud/user-data": PlacedFile(raw if runnable else b"#!/bin/sh\n", 0o755),
        "/var/lib/cloud/user-data.txt": PlacedFile(raw, 0o600),
        "/opt/cloud-init/first-boot": PlacedFile(FIRST_BOOT.encode(), 0o755),
    }
