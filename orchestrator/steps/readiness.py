"""For when clients wait: deeds beside each other, and hosts that stand ready for them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from orchestrator.contracts.databases import SERVER_USER
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.contracts.programs import root_user
from orchestrator.model.site import Side
from orchestrator.steps.places import clusters, host_at, hosts_at

Item = TypeVar("Item")
Value = TypeVar("Value")

PARALLEL_MAX = 8  # a tree and a database, at three sides


def in_parallel(work: Callable[[Item], Value], items: Sequence[Item]) -> list[Value]:
    """`work` over `items`, a few at a time; the first error is raised after all have ended."""
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(len(items), PARALLEL_MAX)) as pool:
        futures = [pool.submit(work, item) for item in items]
    return [future.result() for future in futures]


def stand_ready(drivers: Drivers, deed: Deed, *sides: Side) -> None:
    """What is asked of these hosts and their databases soon, clients wait for."""
    hosts = {host.name: host for side in sides for host in hosts_at(deed, side)}
    server_users = [SERVER_USER] if any(clusters(deed)) else []
    in_parallel(
        lambda host: drivers.ready.stand_ready(host, [None, root_user(host), *server_users]), list(hosts.values())
    )
    databases = [(cluster, host_at(deed, side, cluster.name)) for cluster in clusters(deed) for side in sides]
    in_parallel(lambda pair: drivers.databases.stand_ready(*pair), databases)
