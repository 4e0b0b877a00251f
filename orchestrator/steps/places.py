"""Where the datasets and services of a deed's system are, side by side."""

from collections.abc import Iterator, Sequence

from orchestrator.contracts.handler import Deed
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.site import Side
from orchestrator.model.system import HttpCheck, Service


def host_at(deed: Deed, side: Side, dataset: str | None = None) -> Host:
    """The host of `dataset`, or of the services, at `side`."""
    return deed.plan.hosts[deed.system_plan.system.host_of(side, dataset)]


def hosts_at(deed: Deed, side: Side) -> Sequence[Host]:
    """Every host that the system uses at `side`, the services' host first."""
    return [deed.plan.hosts[name] for name in deed.system_plan.system.hosts_of(side)]


def trees(deed: Deed) -> Iterator[FileTree]:
    for dataset in deed.system_plan.system.datasets:
        if isinstance(dataset, FileTree):
            yield dataset


def clusters(deed: Deed) -> Iterator[PostgresCluster]:
    for dataset in deed.system_plan.system.datasets:
        if isinstance(dataset, PostgresCluster):
            yield dataset


def services_in_start_order(services: Sequence[Service]) -> list[Service]:
    """Each service after those it depends on; written order otherwise."""
    by_name = {service.name: service for service in services}
    ordered: list[Service] = []

    def place(service: Service) -> None:
        if service in ordered:
            return
        for name in service.depends_on:
            if name in by_name:
                place(by_name[name])
        ordered.append(service)

    for service in services:
        place(service)
    return ordered


def checks_of(deed: Deed, levels: Sequence[str]) -> list[HttpCheck]:
    return [check for check in deed.system_plan.system.checks if check.level in levels]
