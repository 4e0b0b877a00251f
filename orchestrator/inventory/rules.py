"""What must hold between the parts of an estate: who exists, where data may go, what may not be there twice. Pure."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from orchestrator.foundation.name_graph import circles_in
from orchestrator.foundation.written_file import Location, did_you_mean
from orchestrator.model.dataset import BlockVolume, Dataset, PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.inventory import CloudSettings, Link, ResidencyRule
from orchestrator.model.names import HostName, SiteName, SystemName
from orchestrator.model.site import Side, Site
from orchestrator.model.system import HaproxyFront, MachineSpec, System

HOSTS, SYSTEMS, POLICY = "hosts", "systems", "policy"


class Breach(NamedTuple):
    """A rule that does not hold: in which file, at which key, and why."""

    file: str  # HOSTS, SYSTEMS or POLICY
    location: Location
    message: str


class PolicyParts(NamedTuple):
    """What policy.yml says."""

    residency: tuple[ResidencyRule, ...]
    links: tuple[Link, ...]
    cloud: CloudSettings


class Estate(NamedTuple):
    """All parts, each of which is well formed by itself."""

    sites: Mapping[SiteName, Site]
    hosts: Mapping[HostName, Host]
    machines: Mapping[HostName, MachineSpec]
    host_places: Mapping[HostName, Location]
    hosts_elsewhere: frozenset[str]  # named in the hosts file, at no site
    systems: Mapping[SystemName, System]
    policy: PolicyParts | None  # None: not well formed, so nothing is judged by it
    # Names of what is there, well formed or not: one mistake must not be told as two. Where the hosts file itself has a
    # mistake, what it lacks may be what was meant, so nothing is said to be missing from it.
    hosts_whole: bool
    systems_named: frozenset[str]
    people_named: frozenset[str]


def breaches(estate: Estate) -> Iterator[Breach]:
    """Every rule that does not hold, in the order of the files."""
    yield from _machines(estate)
    if estate.policy is not None:
        yield from _links(estate, estate.policy)
    for system in estate.systems.values():
        yield from _owner(estate, system)
        yield from _placements(estate, system)
        yield from _bubble(estate, system)
        yield from _boots(system)
        yield from _dependencies(estate, system)
        yield from _services(system)
        if estate.policy is not None:
            yield from _residency(estate, estate.policy, system)
    yield from _cycles(estate)
    yield from _fronts(estate)
    yield from _paths(estate)


def _machines(estate: Estate) -> Iterator[Breach]:
    for name in estate.machines:
        site = estate.sites.get(estate.hosts[name].site)
        if site is None:
            continue
        place = estate.host_places[name]
        if site.side is not Side.CLOUD:
            yield Breach(HOSTS, place, f"host {name} has skerry_machine, but only machines of the cloud side are made")
        elif estate.policy is not None and site.region != estate.policy.cloud.region:
            region = estate.policy.cloud.region
            message = f"host {name} stands in region {site.region!r}, but cloud.region is {region!r}"
            yield Breach(HOSTS, place, message)


def _owner(estate: Estate, system: System) -> Iterator[Breach]:
    if system.owner not in estate.people_named:
        near = did_you_mean(system.owner, sorted(estate.people_named))
        yield Breach(SYSTEMS, ("systems", system.name, "owner"), f"nobody in people.yml is called {system.owner}{near}")


def _bubble(estate: Estate, system: System) -> Iterator[Breach]:
    for position, person in enumerate(system.bubble.may_enter):
        if person not in estate.people_named:
            near = did_you_mean(person, sorted(estate.people_named))
            location: Location = ("systems", system.name, "bubble", "may_enter", position)
            yield Breach(SYSTEMS, location, f"nobody in people.yml is called {person}{near}")
    for position, look in enumerate(system.looks):
        if look.host not in estate.hosts and estate.hosts_whole:
            near = did_you_mean(look.host, list(estate.hosts))
            location = ("systems", system.name, "looks", position, "host")
            yield Breach(SYSTEMS, location, f"no host is called {look.host}{near}")


def _boots(system: System) -> Iterator[Breach]:
    """A machine must be able to be seen up, start with volumes of its system, and have each of them alone."""
    volumes = {each.name for each in system.datasets if isinstance(each, BlockVolume)}
    taken: dict[str, str] = {}
    for position, volume in enumerate(system.datasets):
        if not isinstance(volume, BlockVolume) or volume.boot is None:
            continue
        at: Location = ("systems", system.name, "datasets", position, "boot")
        if system.guard_starts:
            message = f"the guard would lie within {volume.name}, and hold up every machine that a drill starts from it"
            yield Breach(SYSTEMS, ("systems", system.name, "guard_starts"), message)
        if not (volume.boot.console or system.checks or any(port.banner for port in volume.boot.ports)):
            message = f"nothing shows that a machine of {volume.name} is up: give it a console, a banner, or a check"
            yield Breach(SYSTEMS, at, message)
        for index, name in enumerate((volume.name, *volume.boot.disks)):
            place = (*at, "disks", index - 1) if index else at
            if name not in volumes:
                near = did_you_mean(name, sorted(volumes))
                yield Breach(SYSTEMS, place, f"no block volume of {system.name} is called {name}{near}")
            elif name in taken:
                yield Breach(SYSTEMS, place, f"volume {name} is already a disk of the machine of {taken[name]}")
            taken.setdefault(name, volume.name)


def _placements(estate: Estate, system: System) -> Iterator[Breach]:
    for side, placement in system.placements.items():
        at: Location = ("systems", system.name, "placements", side.value)
        named = [((*at, "host"), placement.host)]
        named += [((*at, "datasets", dataset), host) for dataset, host in placement.datasets.items()]
        for location, name in named:
            host = estate.hosts.get(name)
            if host is None and name in estate.hosts_elsewhere:
                message = f"host {name} stands at no site: put it into a group that has the variable skerry_side"
                yield Breach(SYSTEMS, location, message)
            elif host is None and estate.hosts_whole:
                yield Breach(SYSTEMS, location, f"no host is called {name}{did_you_mean(name, list(estate.hosts))}")
            elif host is not None and (site := estate.sites.get(host.site)) is not None and site.side is not side:
                message = f"host {name} stands at site {site.name}, whose side is {site.side.value}, not {side.value}"
                yield Breach(SYSTEMS, location, message)
    if system.quiesce is not None and system.quiesce.host not in (None, *estate.hosts) and estate.hosts_whole:
        location = ("systems", system.name, "quiesce", "host")
        yield Breach(SYSTEMS, location, f"no host is called {system.quiesce.host}")


def _dependencies(estate: Estate, system: System) -> Iterator[Breach]:
    for position, dependency in enumerate(system.depends_on):
        location = ("systems", system.name, "depends_on", position, "system")
        if dependency.system == system.name:
            yield Breach(SYSTEMS, location, f"system {system.name} depends on itself")
        elif dependency.system not in estate.systems_named:
            near = did_you_mean(dependency.system, sorted(estate.systems_named))
            yield Breach(SYSTEMS, location, f"no system is called {dependency.system}{near}")


def _services(system: System) -> Iterator[Breach]:
    names = [service.name for service in system.services]
    units = {*names, *(dataset.service for dataset in system.datasets if isinstance(dataset, PostgresCluster))}
    for position, service in enumerate(system.services):
        at: Location = ("systems", system.name, "services", position)
        if names.index(service.name) != position:
            yield Breach(SYSTEMS, (*at, "name"), f"service {service.name} is there twice")
        for index, needed in enumerate(service.depends_on):
            if needed not in units:
                near = did_you_mean(needed, sorted(units))
                message = f"no service of {system.name} is called {needed}{near}"
                yield Breach(SYSTEMS, (*at, "depends_on", index), message)
    graph = {service.name: tuple(service.depends_on) for service in system.services}
    for circle in circles_in(graph):
        location = ("systems", system.name, "services", names.index(circle[0]))
        yield Breach(SYSTEMS, location, f"services depend on each other in a circle: {' → '.join(circle)}")


def _residency(estate: Estate, policy: PolicyParts, system: System) -> Iterator[Breach]:
    rules = {rule.data_class: rule for rule in policy.residency}
    for position, data_class in enumerate(system.data_classes):
        location = ("systems", system.name, "data_classes", position)
        rule = rules.get(data_class)
        if rule is None:
            near = did_you_mean(data_class, list(rules))
            message = f"data class {data_class} has no residency rule in policy.yml, so its data may go nowhere{near}"
            yield Breach(SYSTEMS, location, message)
            continue
        for site in _sites_written_to(estate, system):
            if site.region not in rule.regions:
                where = f"region {site.region!r}" if site.region else "no region (skerry_region)"
                message = (
                    f"data class {data_class} may be in {', '.join(rule.regions) or 'no region'}, "
                    f"but site {site.name} ({site.side.value}) has {where}"
                )
                yield Breach(SYSTEMS, location, message)


def _sites_written_to(estate: Estate, system: System) -> list[Site]:
    """Where a move writes data; at the source it is already."""
    names = [
        host
        for side in (Side.DR, Side.CLOUD)
        for host in (system.placements[side].host, *system.placements[side].datasets.values())
    ]
    sites = [estate.hosts[name].site for name in names if name in estate.hosts]
    return [estate.sites[site] for site in dict.fromkeys(sites) if site in estate.sites]


def _cycles(estate: Estate) -> Iterator[Breach]:
    graph = {
        system.name: tuple(needed.system for needed in system.depends_on if needed.system != system.name)
        for system in estate.systems.values()
    }
    for circle in circles_in(graph):
        location = ("systems", circle[0], "depends_on")
        yield Breach(SYSTEMS, location, f"systems depend on each other in a circle: {' → '.join(circle)}")


def _fronts(estate: Estate) -> Iterator[Breach]:
    first: dict[str, str] = {}
    for system in estate.systems.values():
        name = system.front.name.rstrip(".").lower()
        location = ("systems", system.name, "front", "name")
        if isinstance(system.front, HaproxyFront):
            if system.front.host not in estate.hosts:
                yield Breach(SYSTEMS, (*location[:-1], "host"), f"no host is called {system.front.host}")
        elif name != (zone := system.front.zone.rstrip(".").lower()) and not name.endswith(f".{zone}"):
            yield Breach(SYSTEMS, location, f"front name {name} is not in zone {zone}")
        if name in first:
            yield Breach(SYSTEMS, location, f"front name {name} is already that of system {first[name]}")
        first.setdefault(name, system.name)


def _dataset_path(dataset: Dataset) -> str:
    return dataset.data_directory if isinstance(dataset, PostgresCluster) else dataset.path


def _paths(estate: Estate) -> Iterator[Breach]:
    """Two datasets on one host may not be the same folder, nor one within the other: one would overwrite the other."""
    seen: dict[tuple[str, PurePosixPath], tuple[str, str]] = {}
    inside: dict[tuple[str, PurePosixPath], tuple[str, str, PurePosixPath]] = {}  # every folder above a dataset
    for system in estate.systems.values():
        for position, dataset in enumerate(system.datasets):
            key = "data_directory" if isinstance(dataset, PostgresCluster) else "path"
            location = ("systems", system.name, "datasets", position, key)
            path = PurePosixPath(_dataset_path(dataset))
            clash = None
            hosts = dict.fromkeys(system.host_of(side, dataset.name) for side in system.placements)
            for host in hosts:
                for folder in (path, *path.parents):
                    if (host, folder) in seen:
                        clash = clash or (host, folder, *seen[host, folder])
                if (host, path) in inside:
                    other, name, below = inside[host, path]
                    clash = clash or (host, below, other, name)
            if clash is not None:
                host, taken, other, name = clash
                message = f"{path} overlaps {taken} on host {host}, which is dataset {name} of system {other}"
                yield Breach(SYSTEMS, location, message)
            for host in hosts:
                seen.setdefault((host, path), (system.name, dataset.name))
                for folder in path.parents:
                    inside.setdefault((host, folder), (system.name, dataset.name, path))


def _links(estate: Estate, policy: PolicyParts) -> Iterator[Breach]:
    for position, link in enumerate(policy.links):
        for key, site in (("source", link.source), ("replica", link.replica)):
            if site not in estate.sites and estate.hosts_whole:
                near = did_you_mean(site, list(estate.sites))
                yield Breach(POLICY, ("links", position, key), f"no site is called {site}{near}")
