"""Estates of any size, made up: a host per system at each side, groups that hang together, chains of groups."""

from collections.abc import Sequence

from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.model.inventory import Inventory, Link, Person, ResidencyRule
from orchestrator.model.site import Side, Site
from orchestrator.model.system import Dependency, HttpCheck, Objectives, Placement, Route53Front, Service, System

GROUP = 4  # systems that depend hard on the first of them
SITES = {Side.SOURCE: "home", Side.DR: "spare", Side.CLOUD: "sky"}
DIGEST = "sha256:" + "3" * 64


def an_estate(count: int, *, group: int = GROUP, needs: Sequence[tuple[str, str, str]] = ()) -> Inventory:
    """`count` systems s0, s1, …; the first of each group is needed hard by the rest of it, and each group softly needs
    the one before it. `needs` adds (system, needed, kind). ana owns all and approves, ben migrates, eve approves too.
    """
    added: dict[str, list[Dependency]] = {}
    for system, needed, kind in needs:
        added.setdefault(system, []).append(Dependency(system=needed, kind="hard" if kind == "hard" else "soft"))
    systems = {f"s{number}": _system(number, group, added.get(f"s{number}", [])) for number in range(count)}
    hosts = {
        f"{site}-{number}": Host(name=f"{site}-{number}", site=site, address="192.0.2.1")
        for number in range(count)
        for site in SITES.values()
    }
    return Inventory(
        sites={name: Site(name=name, side=side, region=f"{name}-1") for side, name in SITES.items()},
        hosts=hosts,
        systems=systems,
        people={
            "ana": Person(id="ana", name="Ana", roles=("system-owner",)),
            "ben": Person(id="ben", name="Ben", roles=("migration-engineer",)),
            "eve": Person(id="eve", name="Eve", roles=("system-owner",)),
        },
        residency=(ResidencyRule(data_class="internal", regions=("home-1", "spare-1", "sky-1")),),
        links=(
            Link(source="home", replica="spare", mbit_per_second=1000),
            Link(source="spare", replica="sky", mbit_per_second=1000),
        ),
        digest=DIGEST,
    )


def _system(number: int, group: int, added: Sequence[Dependency]) -> System:
    first = number - number % group
    needs = list(added)
    if number != first:
        needs.append(Dependency(system=f"s{first}", kind="hard"))
    elif first >= group:
        needs.append(Dependency(system=f"s{first - group}", kind="soft"))
    return System(
        name=f"s{number}",
        owner="ana",
        criticality=("low", "moderate", "high")[number // group % 3],
        data_classes=("internal",),
        objectives=Objectives(rto=3600, rpo=60, mtpd=7200),
        depends_on=tuple(needs),
        placements={side: Placement(host=f"{site}-{number}") for side, site in SITES.items()},
        datasets=(FileTree(name="files", path=f"/srv/s{number}"),),
        services=(Service(name=f"s{number}-app", port=8080),),
        checks=(
            HttpCheck(name="answers", port=8080),
            HttpCheck(name="totals", port=8080, level="business", expected={"records": 3}),
        ),
        front=Route53Front(name=f"s{number}.skerry.test", zone="skerry.test"),
    )
