"""Digests of datasets within a bubble: the same programs as anywhere, by the bubble's transport."""

from collections.abc import Callable

from orchestrator.contracts.bubbles import DigestWithin
from orchestrator.contracts.transport import Transport
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.names import Digest
from orchestrator.movers.postgres.mover import PostgresMover
from orchestrator.movers.tree_digests import tree_digest


def digest_within(secrets: Callable[[str], str]) -> DigestWithin:
    def digest(dataset: FileTree | PostgresCluster, host: Host, inside: Transport) -> Digest:
        if isinstance(dataset, FileTree):
            return tree_digest(inside, host.path(dataset.path), dataset.name).digest
        return PostgresMover(lambda _: inside, secrets).digest(dataset, host).digest

    return digest
