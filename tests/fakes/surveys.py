"""Facts as a survey of healthy hosts would find them, for planning without hosts."""

from orchestrator.foundation.canonical_json import digest_of
from orchestrator.model.dataset import Dataset, PostgresCluster
from orchestrator.model.facts import DatasetFacts, Facts, HostFacts
from orchestrator.model.inventory import Inventory
from orchestrator.model.site import Side

GIB = 1024**3
TOOLS = {"rsync": "3.2.7", "postgres": "15.14", "systemctl": "252", "sshd": "9.2", "sudo": "1.9"}


def dataset_found(dataset: Dataset, side: Side, bytes_used: int) -> DatasetFacts:
    is_database = isinstance(dataset, PostgresCluster)
    return DatasetFacts(
        exists=side is Side.SOURCE,
        bytes_used=bytes_used if side is Side.SOURCE else 0,
        file_system="ext4",
        bytes_free=100 * GIB,
        version="150014" if is_database else "",
    )


def healthy(inventory: Inventory, *, bytes_used: int = GIB) -> Facts:
    """Source and DR answer and have what they need; machines of the cloud do not exist yet."""
    hosts: dict[str, HostFacts] = {}
    held: dict[str, dict[str, DatasetFacts]] = {name: {} for name in inventory.hosts}
    for system in inventory.systems.values():
        for dataset in system.datasets:
            for side in Side:
                held[system.host_of(side, dataset.name)][dataset.name] = dataset_found(dataset, side, bytes_used)
    for host in inventory.hosts.values():
        if host.name in inventory.machines:
            hosts[host.name] = HostFacts(host=host.name, reachable=False, why_not="no route to host")
            continue
        hosts[host.name] = HostFacts(
            host=host.name, reachable=True, architecture="x86_64", cpus=2, tools=TOOLS, datasets=held[host.name]
        )
    return with_hosts(hosts)


def with_hosts(hosts: dict[str, HostFacts]) -> Facts:
    digest = digest_of({name: host.model_dump(mode="json") for name, host in hosts.items()})
    return Facts(hosts=hosts, taken_at="2026-11-21T22:00:00.000Z", digest=digest)


def changed(facts: Facts, host: str, **values: object) -> Facts:
    """The same facts, but for one host."""
    return with_hosts({**facts.hosts, host: facts.hosts[host].model_copy(update=values)})


def dataset_changed(facts: Facts, host: str, dataset: str, **values: object) -> Facts:
    """The same facts, but for one dataset on one host."""
    held = facts.hosts[host].datasets
    return changed(facts, host, datasets={**held, dataset: held[dataset].model_copy(update=values)})
