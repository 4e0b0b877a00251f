"""One system on three sides, and the Drivers over it: databases, trees, services, fences, a cloud, clients; in memory.

Made of the lawful fakes. What is written here is what joins them: a fenced host starts no service and no primary, a
machine answers once it runs and its keys are known, a service takes writes only over a primary.
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from orchestrator.contracts.authority import Order
from orchestrator.contracts.databases import Role
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.observer import with_references
from orchestrator.contracts.programs import program_text
from orchestrator.contracts.progress import ProgressSink
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import AccessDenied, CommandFailed, DataError, HostKeyMismatch, HostUnreachable
from orchestrator.model.action import Action
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.names import PointId
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.site import Side
from orchestrator.model.step import Inverse, Phase, Step
from orchestrator.model.system import (
    HttpCheck,
    MachineSpec,
    Objectives,
    Placement,
    Quiesce,
    Route53Front,
    Service,
    System,
)
from orchestrator.model.transfer import TransferReport
from orchestrator.steps.authority import STOPPED_PROGRAM
from orchestrator.steps.quiescing import PROGRAM as QUIESCE_GUARD
from tests.fakes.access_log import MemoryAccessLog
from tests.fakes.authority import MemoryAuthority
from tests.fakes.bubble_machines import FakeMachines
from tests.fakes.bubbles import FakeBubbles
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.clock import SetClock
from tests.fakes.cloud_images import FakeImages, FakeIsolation
from tests.fakes.cloud_target import FakeConsole, FakeFront, FakeTarget, FakeThings
from tests.fakes.databases import FakeDatabases
from tests.fakes.host_keys import MemoryHostKeys
from tests.fakes.interruption import Interrupted, Interruption
from tests.fakes.obeyed import FakeObeyed
from tests.fakes.plans import DIGEST, shipped_steps
from tests.fakes.playbooks import FakePlaybooks, PlayFails
from tests.fakes.recorder import FakeRecorder
from tests.fakes.starts import FakeStarts
from tests.fakes.transport import FakeTransport, FakeTransports
from tests.fakes.trees import FakeFile, FakeHosts, FakeTreeMover
from tests.fakes.volumes import FakeVolumeMover

REGISTER = PostgresCluster(
    name="register", data_directory="/var/lib/postgresql/filing", service="filing-db", databases=("filing",)
)
ATTACHMENTS = FileTree(name="attachments", path="/srv/filing/attachments", changes="replaced")
CTL = "/opt/filing/bin/filingctl"
FRONT = Route53Front(name="filing.skerry.test", zone="skerry.test")
SYSTEM = System(
    name="filing",
    owner="ana",
    data_classes=("internal",),
    objectives=Objectives(rto=900, rpo=60, mtpd=14_400),
    placements={side: Placement(host=f"{side.value}-filing1") for side in Side},
    datasets=(REGISTER, ATTACHMENTS),
    services=(
        Service(name="filing-app", port=8080, depends_on=("filing-db",)),
        Service(name="filing-mail", port=8025, depends_on=("filing-app",)),
    ),
    checks=(
        HttpCheck(name="answers", port=8080, expected={"read_only": False, "site": "{site}"}),
        HttpCheck(name="attachments-ready", port=8080, level="business"),
    ),
    quiesce=Quiesce(enter=(CTL, "quiesce", "{seconds}"), leave=(CTL, "resume"), seconds_max=10),
    front=FRONT,
)
HOSTS = {
    f"{side.value}-filing1": Host(
        name=f"{side.value}-filing1", site=side.value, address=f"10.{number}.1.11", sees_fronts=side is Side.DR
    )
    for side, number in ((Side.SOURCE, 10), (Side.DR, 20), (Side.CLOUD, 30))
}
SOURCE, DR, CLOUD = (HOSTS[f"{side.value}-filing1"] for side in (Side.SOURCE, Side.DR, Side.CLOUD))
TOOLS = ("rsync", "python3", f"{REGISTER.binaries}/postgres")
RUN = "run-1"


def a_deed(action: Action, *, step: str = "step", plan: Plan | None = None, **values: Any) -> Deed:
    """A deed of one step that does `action`, outside any run."""
    written = Step(id=step, title=step, phase=Phase.PREPARE, action=action, inverse=Inverse(none_because="tried alone"))
    chosen = plan or the_plan()
    return Deed(
        run=RUN,
        plan=chosen,
        system_plan=chosen.systems[0],
        step=written,
        mode="do",
        attempt=1,
        key=f"{RUN}/filing/{step}/do",
        **values,
    )


def the_plan(system: System = SYSTEM, steps: Sequence[Step] | None = None) -> Plan:
    """The shipped migration of the system."""
    return Plan(
        wave="wave-1",
        author="ben",
        runbook="migrate",
        runbook_version="1.0",
        runbook_digest=DIGEST,
        inventory_digest=DIGEST,
        facts_digest=DIGEST,
        closure={},
        hosts=HOSTS,
        machines={CLOUD.name: MachineSpec(image="plain", subnet="hosts", security_group="hosts")},
        systems=(SystemPlan(system=system, steps=tuple(steps or shipped_steps()), bytes_expected=1000),),
    )


class HostDatabases(FakeDatabases):
    """Behind a fence, or a guard that nobody opened in this boot, a cluster starts as a standby or not at all."""

    def __init__(self, may_start: Callable[[str], bool]) -> None:
        super().__init__()
        self._may_start = may_start

    def start(self, cluster: PostgresCluster, host: Host, *, order: Order | None = None) -> Role:
        server = self._at(cluster, host)
        if server.role is Role.STOPPED and not server.upstream and not self._may_start(host.name):
            raise CommandFailed(f"{host.name}: {cluster.service} is held back: it starts as a standby only")
        return super().start(cluster, host, order=order)


class SeenTreeMover(FakeTreeMover):
    """Each copy is a session at its source, as the host's own log would have it."""

    def __init__(self, hosts: FakeHosts, access_log: MemoryAccessLog) -> None:
        super().__init__(hosts)
        self._access_log = access_log

    def copy(
        self,
        tree: FileTree,
        source: Host,
        replica: Host,
        *,
        from_point: PointId | None = None,
        order: Order | None = None,
        progress: ProgressSink | None = None,
    ) -> TransferReport:
        self._access_log.saw(source, replica)
        return super().copy(tree, source, replica, from_point=from_point, order=order, progress=progress)


@dataclass
class FakeReadyHosts:
    """Notes who was told, by host; it changes nothing, as the contract has it."""

    told: dict[str, list[str | None]] = field(default_factory=dict)

    def stand_ready(self, host: Host, users: Sequence[str | None]) -> None:
        self.told[host.name] = list(users)


class FakeWorld:
    """The source serves, with a few filings; DR and cloud are empty. `drivers` is all that handlers get.

    `interruption` orders trouble at any call of any driver. `events` is what handlers emitted.
    """

    def __init__(self, *, filings: int = 3) -> None:
        self.clock = SetClock()
        self.interruption = Interruption()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.acknowledged: list[str] = []
        self.violations: list[str] = []

        self.serving: dict[str, set[str]] = {name: set() for name in HOSTS}
        self.fenced: dict[str, int] = {}
        self.enabled: set[str] = {SOURCE.name}  # hosts whose services start with them
        self.tickets = 0
        self.tools: dict[str, set[str]] = {name: set(TOOLS) for name in HOSTS}
        self.bytes_free: dict[str, int] = dict.fromkeys(HOSTS, 1_000_000)
        self.failing_checks: set[tuple[str, str]] = set()  # (host, check)
        self.held_until = 0.0  # by the clock; the application lets go by itself then
        self.quiesced = 0
        self.stale_name = ""  # the address that clients' resolvers still give
        self.silent_tries = 0  # so many connections to the cloud are refused while its machine boots
        self.distrusting_tries = 0  # so many logins at the cloud are refused until its user data has run
        self.uninstalled_tries = 0  # so often it lacks rsync, until its user data has installed it

        self.access_log = MemoryAccessLog(self.clock)
        self.starts = FakeStarts(lambda host: sorted(self.serving[host]), self._start_what_boots)
        self.databases = HostDatabases(self.may_start)
        self.obeyed = self.databases.obeyed
        self.trees = SeenTreeMover(FakeHosts(), self.access_log)
        self.volumes = FakeVolumeMover()
        self.trees.hosts.obeyed = self.volumes.volumes.obeyed = FakeObeyed(self.fenced, self.obeyed)
        self.target, self.front = FakeTarget(), FakeFront()
        self.machine_console = FakeConsole(self.target)
        self.images, self.isolation = FakeImages(self.volumes, self.target), FakeIsolation()
        self.bubbles, self.cloud_things = FakeBubbles(clock=self.clock), FakeThings()
        self.bubble_machines = FakeMachines(self.bubbles)
        self.found_within: dict[str, str] = {}  # dataset → its digest within a bubble, where it is not what was proved
        self.authority, self.catalogue = MemoryAuthority(), MemoryCatalogue()
        self.authority.next_ticket = lambda _system: self._next_ticket()
        self.host_keys = MemoryHostKeys()
        self.playbooks = FakePlaybooks(
            {
                "drain": self._stop,
                "stop": self._stop,
                "fence": self._fence,
                "unfence": self._unfence,
                "confirm": self._confirm,
                "recover": self._recover,
                "start": self._start,
                "check": self._check,
                "look": self._look,
                "guard": lambda host, variables: self._see_to_starts("guard", host, variables),
                "permit": lambda host, variables: self._see_to_starts("permit", host, variables),
                "unguard": self._unguard,
            }
        )
        self.transports = FakeTransports({name: self._transport(host) for name, host in HOSTS.items()})
        self.ready = FakeReadyHosts()
        self.drivers = self._drivers()

        self.databases.create(REGISTER, SOURCE)
        self.trees.hosts.trees[SOURCE.name, ATTACHMENTS.path] = {}
        self.serving[SOURCE.name] = {service.name for service in SYSTEM.services}
        self.front.switch(FRONT, SOURCE.address, key="laid")
        for _ in range(filings):
            self.client_files()

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """The `emit` of a ledger that is always there."""
        self.events.append((kind, json.loads(json.dumps(with_references(data, FakeRecorder().keep)))))

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        """The `emit` of a ledger in which trouble may come."""
        self.interruption.place(f"{kind}:before")
        self.tell(kind, data)
        self.interruption.place(f"{kind}:after")

    # -- clients

    def client_files(self) -> None:
        """A client files through the front name; what is acknowledged must be found for ever after."""
        address = self.front.records[FRONT.name].address
        host = next(host for host in HOSTS.values() if host.address == address)
        if self.takes_writes(host) and self.clock.monotonic_seconds() >= self.held_until:
            filing = f"filing-{len(self.acknowledged) + 1}"
            self.databases.write(REGISTER, host, filing)
            self.trees.hosts.trees[host.name, ATTACHMENTS.path][filing] = FakeFile(filing.encode())
            self.acknowledged.append(filing)

    def takes_writes(self, host: Host) -> bool:
        serves = "filing-app" in self.serving[host.name]
        return serves and self.databases.role(REGISTER, host) is Role.PRIMARY

    def look_for_violations(self) -> None:
        """Two sides that could write, or one that writes without authority."""
        writers = [host for host in HOSTS.values() if self.takes_writes(host)]
        holder = self.authority.read(SYSTEM.name).side.value
        self.violations += [f"{host.name} writes, authority is at {holder}" for host in writers if host.site != holder]
        self.violations += [f"two sides write: {writers}"] if len(writers) > 1 else []

    def lost(self, host: Host) -> list[str]:
        """Acknowledged filings whose row or attachment is not at `host`."""
        rows = set(self.databases.rows(REGISTER, host))
        files = self.trees.hosts.trees.get((host.name, ATTACHMENTS.path), {})
        return [filing for filing in self.acknowledged if filing not in rows or filing not in files]

    # -- what happens to hosts

    def reboot(self, host: Host) -> None:
        """It dies and comes back with its disk as it was: behind a fence no service and no primary starts."""
        self.serving[host.name] = set()
        self.starts.booted(host.name)
        server = self.databases.servers.get((REGISTER.name, host.name))
        if server is not None:
            server.role = Role.STOPPED
        self._start_what_boots(host.name)

    def may_start(self, name: str) -> bool:
        """Whether neither a fence nor a guard keeps its units from starting."""
        return name not in self.fenced and self.starts.may_start(name)

    def _start_what_boots(self, name: str) -> list[str]:
        """What starts with the host; the units that were started."""
        server, before = self.databases.servers.get((REGISTER.name, name)), set(self.serving[name])
        if server is not None:
            with contextlib.suppress(CommandFailed):
                self.databases.start(REGISTER, HOSTS[name])
        may_serve = name in self.enabled and self.may_start(name)
        if may_serve and server is not None and server.role is Role.PRIMARY:
            self.serving[name] = {service.name for service in SYSTEM.services}
        return sorted(self.serving[name] - before)

    def _next_ticket(self) -> int:
        self.tickets += 1
        return self.tickets

    # -- what is compared

    def state(self) -> dict[str, Any]:
        """Everything that lasts, but times, and how often a database noted a checkpoint."""
        hosts = self.trees.hosts
        return {
            "databases": {
                key: (server.role.value, [row for _, row in server.records if row], server.upstream, server.replayed)
                for key, server in self.databases.servers.items()
            },
            "trees": {key: {name: file.form() for name, file in files.items()} for key, files in hosts.trees.items()},
            "points": {
                key: {point: {name: file.form() for name, file in files.items()} for point, (_, files) in kept.items()}
                for key, kept in hosts.points.items()
                if kept
            },
            "machines": [(each.tags["Name"], each.state) for each in self.target.machines.values()],
            "front": self.front.current(FRONT),
            "authority": self.authority.read(SYSTEM.name).model_dump(include={"number", "side"}),
            "recovery_points": [
                {name: value for name, value in document.items() if name in ("id", "sides", "holds")}
                for _, document in self.catalogue.list("recovery_point")
            ],
            "host_keys": dict(self.host_keys.kept),
            "serving": {name: sorted(units) for name, units in self.serving.items()},
            "fenced": dict(self.fenced),
        }

    # -- hosts

    def _drivers(self) -> Drivers:
        def watched(fake: Any) -> Any:
            return Interrupted(fake, self.interruption)

        return Drivers(
            transports=watched(self._reach),
            ready=self.ready,
            playbooks=watched(self.playbooks),
            prepared=watched(self.playbooks),
            trees=watched(self.trees),
            volumes=watched(self.volumes),
            databases=watched(self.databases),
            database_digests=watched(self.databases),
            target=watched(self.target),
            images=watched(self.images),
            isolation=watched(self.isolation),
            machine_console=watched(self.machine_console),
            bubbles=watched(self.bubbles),
            bubble_machines=watched(self.bubble_machines),
            cloud_things=self.cloud_things,
            digest_within=self._digest_within,
            clusters_within=self.bubbles,
            front=watched(self.front),
            authority=watched(self.authority),
            catalogue=watched(self.catalogue),
            host_keys=watched(self.host_keys),
            access_log=watched(self.access_log),
            clock=self.clock,
        )

    def _reach(self, host: Host) -> FakeTransport:
        """The transport of `host`; a cloud host is reached once its machine runs and its keys were learned."""
        transport = self.transports(host)
        if host.name == CLOUD.name:
            machine = self.target.find(host)
            if machine is None or machine.state != "running":
                transport.trouble = HostUnreachable(f"{host.name} cannot be reached: no route")
            elif not self.host_keys.fingerprints(host):
                transport.trouble = HostKeyMismatch(f"{host.name}: no host key of it is known")
            else:
                transport.trouble = None
        return transport

    def _transport(self, host: Host) -> FakeTransport:
        programs: dict[str, Callable[[Sequence[str], bytes], tuple[int, bytes, bytes]]] = {
            "python3": lambda words, stdin: self._python(host, words, stdin),
            "test": lambda words, stdin: (0 if self._exists(host, words[-1]) else 1, b"", b""),
            "true": lambda words, stdin: self._booted(host),
            CTL: lambda words, stdin: self._control(words),
        }
        return FakeTransport(host, programs=programs)

    def _booted(self, host: Host) -> tuple[int, bytes, bytes]:
        if self.silent_tries > 0:
            self.silent_tries -= 1
            raise HostUnreachable(f"{host.name} cannot be reached: Connection refused")
        if self.distrusting_tries > 0:
            self.distrusting_tries -= 1
            raise AccessDenied(f"{host.name} refuses our key: Permission denied (publickey)")
        return 0, b"", b""

    def _python(self, host: Host, words: Sequence[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        if stdin == program_text(QUIESCE_GUARD):
            return 0, b"result " + json.dumps(self._guarded(json.loads(words[-1]))).encode(), b""
        if stdin == program_text(STOPPED_PROGRAM):
            asked = json.loads(words[-1])["services"]
            found = [self._service(host, service["name"]) for service in asked]
            return 0, b"result " + json.dumps({"services": found}).encode(), b""
        return 0, json.dumps(self._asked(host, json.loads(stdin))).encode(), b""

    def _guarded(self, request: dict[str, Any]) -> dict[str, Any]:
        """The program that quiesces: what it runs is the application's own command."""
        in_time = self.clock.monotonic_seconds() < self.held_until
        self._control(request["enter"] if request["do"] == "hold" else request["leave"])
        return {"folder": "/tmp/guard"} if request["do"] == "hold" else {"in_time": in_time}

    def _asked(self, host: Host, asked: Any) -> Any:
        """What the preflight asks of a host's Python."""
        there = set(self.tools[host.name])
        if host.name == CLOUD.name and self.uninstalled_tries > 0:
            self.uninstalled_tries -= 1
            there.discard("rsync")
        return {
            "tools": {tool: f"/usr/bin/{tool}" if tool in there else "" for tool in asked["tools"]},
            "free": dict.fromkeys(asked["paths"], self.bytes_free[host.name]),
        }

    def _service(self, host: Host, name: str) -> dict[str, Any]:
        serves = name in self.serving[host.name]
        active = "active" if serves else "inactive"
        return {"name": name, "active": active, "enabled": "disabled", "port_open": serves}

    def _exists(self, host: Host, path: str) -> bool:
        if path == ATTACHMENTS.path:
            return (host.name, path) in self.trees.hosts.trees
        return path == REGISTER.data_directory and self.databases.role(REGISTER, host) is not Role.MISSING

    def _control(self, words: Sequence[str]) -> tuple[int, bytes, bytes]:
        if words[1] == "quiesce":
            self.quiesced += 1
            self.held_until = self.clock.monotonic_seconds() + float(words[2])
        else:
            self.held_until = 0.0
        return 0, b"", b""

    def _digest_within(self, dataset: FileTree | PostgresCluster, host: Host, inside: Transport) -> str:
        document = self.catalogue.list("recovery_point", prefix=f"{SYSTEM.name}/", limit=1)[0][1]
        proved = {held["dataset"]: held["digest"] for held in document["datasets"]}
        found: str = self.found_within.get(dataset.name, proved[dataset.name])
        if found == "killed":
            self.bubbles.open_on.clear()
        if found in ("closed", "killed"):
            raise DataError(f"{dataset.name} cannot be digested")
        return found

    # -- playbooks

    def _own(self, host: Host, variables: Mapping[str, Any]) -> list[str]:
        return [service["name"] for service in variables["skerry_services"] if service["address"] == host.address]

    def _stop(self, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        self.serving[host.name] -= set(self._own(host, variables))
        return {}

    def _fence(self, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        self._obey(host, variables)
        self._stop(host, variables)
        self.enabled.discard(host.name)
        self.starts.permitted.discard(host.name)
        self.fenced[host.name] = variables["skerry_fence"]["number"]
        return {"fence": variables["skerry_fence"]}

    def _confirm(self, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        counted = variables["skerry_fence"]["ticket"] > 0
        if counted or self.obeyed.get(host.name, (0, 0))[0] > variables["skerry_fence"]["number"]:
            self._obey(host, variables)
        if host.name not in self.fenced:
            raise PlayFails(f"no fence of {variables['skerry_system']} stands there")
        if not counted:
            return {"fence": self.fenced[host.name]}
        self.fenced[host.name] = variables["skerry_fence"]["number"]
        return {"fence": variables["skerry_fence"]}

    def _recover(self, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        confirmed = self._confirm(host, variables)
        before = self.databases.role(REGISTER, host)
        FakeDatabases.start(self.databases, REGISTER, host)
        return {**confirmed, "started": [REGISTER.service] if before is Role.STOPPED else []}

    def _unfence(self, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        self._obey(host, variables)
        self.enabled.add(host.name)
        self.starts.permit(host.name)
        self.fenced.pop(host.name, None)
        return {"unfenced": variables["skerry_fence"]}

    def _obey(self, host: Host, variables: Mapping[str, Any]) -> None:
        order = (variables["skerry_fence"]["number"], variables["skerry_fence"]["ticket"])
        if self.obeyed.get(host.name, (0, 0)) > order:
            raise PlayFails(f"order {order} came too late: {self.obeyed[host.name]} was obeyed before")
        self.obeyed[host.name] = order

    def _start(self, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        self._obey(host, variables)
        if host.name in self.fenced:
            raise PlayFails("fenced")
        self.starts.permit(host.name)
        if self.databases.start(REGISTER, host) is not Role.PRIMARY:
            raise PlayFails("its database takes no writes")
        self.serving[host.name] |= set(self._own(host, variables))
        self.enabled.add(host.name)
        return {}

    def _look(self, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        let_by = 0 if host.name in self.fenced else self.obeyed.get(host.name, (0, 0))[0]
        return self.starts.look(host.name, self._fence_of(host), let_by)

    def _see_to_starts(self, do: str, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        if do == "permit":
            self._obey(host, variables)
        elif self.obeyed.get(host.name, (0, 0))[0] > variables["skerry_fence"]["number"]:
            raise PlayFails("a newer number was obeyed")
        return self.starts.obey(host.name, do, variables["skerry_boots"][host.name], self._fence_of(host))

    def _unguard(self, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        self.starts.guarded.discard(host.name)
        return {"guarded": False}

    def _fence_of(self, host: Host) -> dict[str, Any] | None:
        return {"number": self.fenced[host.name]} if host.name in self.fenced else None

    def _check(self, host: Host, variables: Mapping[str, Any]) -> dict[str, Any]:
        for check in variables["skerry_checks"]:
            name = cast("str", check["name"])
            asked = self._behind(check["url"])
            wanted = check["expected"].get("site", asked.site)
            if not self.takes_writes(asked) or (asked.name, name) in self.failing_checks or wanted != asked.site:
                raise PlayFails(f"{name}: expected {check['expected_status']}, saw 503 at {asked.site}")
        return {"checks": [check["name"] for check in variables["skerry_checks"]]}

    def _behind(self, url: str) -> Host:
        """The host that answers there; names lead where the front points, or where clients still believe it does."""
        place = url.split("/")[2].split(":", maxsplit=1)[0]
        address = (self.stale_name or self.front.records[FRONT.name].address) if place == FRONT.name else place
        return next(host for host in HOSTS.values() if host.address == address)
