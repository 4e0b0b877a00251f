"""A system: datasets and services that fail over together."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from orchestrator.model.dataset import Dataset
from orchestrator.model.frozen import Frozen, Grown
from orchestrator.model.names import DatasetName, HostName, Name, Seconds, SystemName
from orchestrator.model.site import Side


class Objectives(Frozen):
    """What the business asks for, in seconds; NIST SP 800-34 section 3.2.1 and ISO 22301 terms.

    Rejected when RTO + WRT > MTPD, for then a recovery within its objective would still be too late.
    """

    rto: Seconds  # recovery time objective
    rpo: Seconds  # recovery point objective
    mtpd: Seconds  # maximum tolerable period of disruption
    wrt: Seconds = 0.0  # work recovery time: from system up to business really usable

    @model_validator(mode="after")
    def _fits(self) -> "Objectives":
        if self.rto > self.mtpd:
            raise ValueError(f"rto ({self.rto:g}s) is longer than mtpd ({self.mtpd:g}s)")
        if self.rto + self.wrt > self.mtpd:
            raise ValueError(f"rto + wrt ({self.rto + self.wrt:g}s) is longer than mtpd ({self.mtpd:g}s)")
        return self


class Placement(Frozen):
    """Where a system lives at one side. `datasets` names the exceptions: dataset → host."""

    host: HostName
    datasets: dict[DatasetName, HostName] = {}


class Service(Frozen):
    """A unit that serves clients. `depends_on` orders start; stop is the reverse."""

    name: Name
    port: int = Field(ge=1, le=65535)
    depends_on: tuple[Name, ...] = ()


class HttpCheck(Frozen):
    """GET a path from the service's host and compare the status and, where given, JSON values in the body.

    `{site}` in an expected text stands for the site that is asked: an answer that names its site tells which one it is.
    `notes` are values of the body that are written down, such as control totals; those of `grows` besides must never be
    less than they were when an earlier step of the run asked, at whichever side: row counts, the last receipt's number.
    """

    kind: Literal["http"] = "http"
    name: Name
    port: int = Field(ge=1, le=65535)
    path: str = "/healthz"
    expected_status: int = 200
    expected: dict[str, str | int | float | bool] = {}
    notes: tuple[str, ...] = ()
    grows: tuple[str, ...] = ()
    # business: control totals, last receipt number; technical: it answers
    level: Literal["technical", "business"] = "technical"

    def asked_at(self, address: str, site: str, *, port: int = 0) -> dict[str, Any]:
        """As the programs that ask take it. `port` is another than the service's where something stands in between."""
        expected = {
            key: value.replace("{site}", site) if isinstance(value, str) else value
            for key, value in self.expected.items()
        }
        return {
            "name": self.name,
            "url": f"http://{address}:{port or self.port}{self.path}",
            "expected_status": self.expected_status,
            "expected": expected,
            "notes": [*self.notes, *self.grows],
            "level": self.level,
        }


class Quiesce(Frozen):
    """Hold the application still for a moment, so that all datasets can be held at one point.

    Both ends have a limit: `enter` is told it, and its host calls `leave` by itself when nobody does in time.
    `{seconds}` in the words is replaced by the limit.
    """

    host: HostName | None = None  # None: the placement's host
    enter: tuple[str, ...]
    leave: tuple[str, ...]
    seconds_max: float = Field(default=10.0, gt=0, le=120)


class Route53Front(Grown):
    """The name clients use, as a record in a Route 53 zone."""

    later: ClassVar[tuple[str, ...]] = ("health_check",)
    kind: Literal["route53"] = "route53"
    name: str  # filing.skerry.test
    zone: str  # skerry.test
    ttl_seconds: int = Field(default=1, ge=0, le=86400)
    # `weighted`: every side that clients were sent to keeps a record of its own, and a switch moves the weight alone:
    # the way back is there already. `failover`: the side that serves is the primary, the one before it the secondary.
    routing: Literal["simple", "weighted", "failover"] = "simple"
    health_check: str = ""  # id of the Route 53 health check that the primary carries; AWS takes no primary without one

    @model_validator(mode="after")
    def _primary_is_checked(self) -> "Route53Front":
        if (self.routing == "failover") != bool(self.health_check):
            raise ValueError("health_check: needed where routing is failover, and there alone")
        return self


class HaproxyFront(Frozen):
    """A HAProxy that clients speak to: one backend, in it one server for each side, at that side's address.

    One server is ready and the others are in maintenance; a switch changes that by the runtime API.
    """

    kind: Literal["haproxy"] = "haproxy"
    name: str  # what clients call it; its address is the proxy's and never changes
    host: HostName  # where the proxy runs
    backend: str = Field(pattern=r"^[A-Za-z0-9_.:-]+$")
    port: int = Field(ge=1, le=65535)  # where clients reach it
    socket: str = "/run/haproxy/admin.sock"  # `stats socket … level admin`
    # `server-state-file` of its configuration: what a switch said outlives a restart. "" keeps it in memory alone.
    state_file: str = "/var/lib/haproxy/server-state"


def _usual_kind(front: Any) -> Any:
    return {"kind": "route53", **front} if isinstance(front, dict) and "kind" not in front else front


Front = Annotated[
    Annotated[Route53Front | HaproxyFront, Field(discriminator="kind")],
    BeforeValidator(_usual_kind),  # it was the only kind for long, and nobody wrote it
]


PackageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_:~-]{0,99}$")]


class MachineSpec(Frozen):
    """The machine to start in the cloud for a host of the cloud side.

    `image` is an AMI's id or name, or `dataset:NAME`: what was seeded last from that block volume of the system.
    """

    instance_type: str = "t3.small"
    image: str
    subnet: str  # by Name tag
    security_group: str  # by Name tag
    # What the image lacks: installed at the first boot, by the image's own package manager.
    # Left out where there is none: plans made before have the digest that they had.
    packages: tuple[PackageName, ...] = Field(default=(), exclude_if=lambda packages: not packages)
    # Where test machines start, by Name tag: nothing leads out of there. "" where the system has no such place.
    drill_subnet: str = ""
    drill_security_group: str = ""

    @property
    def seeded_from(self) -> str:
        """The dataset that the image is made of; "" for an image that is just there."""
        return self.image.removeprefix("dataset:") if self.image.startswith("dataset:") else ""


class Dependency(Frozen):
    """`hard`: must be at the same place or move at the same time. `soft`: survives a WAN link."""

    system: SystemName
    kind: Literal["hard", "soft"] = "hard"


class ApprovalRule(Frozen):
    """How many different persons must approve, and in which roles."""

    persons_min: int = Field(default=1, ge=1, le=9)
    roles: tuple[Name, ...] = ("system-owner",)


class BubbleRules(Frozen):
    """Who may start a system in a drill's bubble, and after how long at most all that was copied there is erased."""

    may_enter: tuple[Name, ...] = ()  # persons by their id in people.yml; nobody: whoever may drill
    erased_after: Seconds = 1800.0


class Look(Frozen):
    """Something that production shows, by a command that only looks: open tickets, a counter of mails sent."""

    name: Name
    host: HostName
    words: tuple[str, ...] = Field(min_length=1)


class System(Frozen):
    """Datasets and services that fail over together, with what the business asks of them."""

    name: SystemName
    title: str = ""
    owner: str  # a person's id from people.yml
    criticality: Literal["low", "moderate", "high"] = "moderate"
    data_classes: tuple[Name, ...] = Field(min_length=1)
    objectives: Objectives
    strategy: Literal["retire", "retain", "relocate", "rehost", "repurchase", "replatform", "refactor"] = "rehost"
    depends_on: tuple[Dependency, ...] = ()
    placements: dict[Side, Placement]
    datasets: tuple[Annotated[Dataset, Field()], ...] = Field(min_length=1)
    services: tuple[Service, ...] = ()
    checks: tuple[HttpCheck, ...] = ()
    quiesce: Quiesce | None = None
    front: Front
    approval: ApprovalRule = ApprovalRule()
    bubble: BubbleRules = BubbleRules()
    # After a boot of its hosts nothing starts before skerry has said that the side may still serve (docs/starts.md).
    # Left out where it is not so: plans made before have the digest that they had.
    guard_starts: bool = Field(default=False, exclude_if=lambda guarded: not guarded)
    looks: tuple[Look, ...] = ()  # taken before and after a drill: they must show the same
    # Variables handed to the playbooks as they are.
    variables: dict[str, str | int | float | bool] = {}

    @model_validator(mode="after")
    def _whole(self) -> "System":
        missing = [side.value for side in Side if side not in self.placements]
        if missing:
            raise ValueError(f"placements: no host for {', '.join(missing)}")
        names = [dataset.name for dataset in self.datasets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"datasets: {', '.join(twice)} is there twice")
        for side, placement in self.placements.items():
            for unknown in sorted(set(placement.datasets) - set(names)):
                raise ValueError(f"placements.{side.value}.datasets: no dataset is called {unknown}")
        return self

    def host_of(self, side: Side, dataset: DatasetName | None = None) -> HostName:
        """The host that holds `dataset` at `side`; without a dataset, the one that runs the services."""
        placement = self.placements[side]
        return placement.datasets.get(dataset, placement.host) if dataset else placement.host

    def hosts_of(self, side: Side) -> list[HostName]:
        """Every host that it uses at `side`, the services' host first."""
        return list(dict.fromkeys([self.host_of(side), *(self.host_of(side, each.name) for each in self.datasets)]))
