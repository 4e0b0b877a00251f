"""Datasets as they are within a bubble: the same programs as anywhere, by the bubble's transport."""

from collections.abc import Callable

from orchestrator.contracts.bubbles import CarriedBack, DigestWithin
from orchestrator.contracts.transport import Transport
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.names import Digest
from orchestrator.movers.postgres.clones import carry_back
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.digest import cluster_digest
from orchestrator.movers.postgres.login import log_in
from orchestrator.movers.postgres.mover import PostgresMover
from orchestrator.movers.tree_digests import tree_digest


def digest_within(secrets: Callable[[str], str]) -> DigestWithin:
    def digest(dataset: FileTree | PostgresCluster, host: Host, inside: Transport) -> Digest:
        if isinstance(dataset, FileTree):
            return tree_digest(inside, host.path(dataset.path), dataset.name).digest
        return PostgresMover(lambda _: inside, secrets).digest(dataset, host).digest

    return digest


class PostgresWithin:
    """contracts.bubbles.ClustersWithin for PostgreSQL."""

    def __init__(self, secrets: Callable[[str], str]) -> None:
        self._secrets = secrets

    def sql(self, cluster: PostgresCluster, inside: Transport, statement: str) -> str:
        return ClusterHost(cluster, inside).sql_when_up(statement)

    def runs(self, cluster: PostgresCluster, inside: Transport) -> bool:
        return ClusterHost(cluster, inside).runs()

    def log_in(self, cluster: PostgresCluster, inside: Transport) -> None:
        log_in(ClusterHost(cluster, inside), self._secrets)

    def carry_back(self, cluster: PostgresCluster, inside: Transport, folder: str) -> CarriedBack:
        return carry_back(ClusterHost(cluster, inside), folder, digest_of=lambda each: cluster_digest(each).digest)
