"""All that handlers may touch, bound once in wiring."""

from dataclasses import dataclass

from orchestrator.contracts.access_log import AccessLog
from orchestrator.contracts.authority import AuthorityStore
from orchestrator.contracts.bubble_machines import BubbleMachines
from orchestrator.contracts.bubbles import Bubbles, ClustersWithin, DigestWithin
from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.cloud_things import CloudThings
from orchestrator.contracts.databases import DatabaseDigests, Databases
from orchestrator.contracts.host_keys import HostKeyRing
from orchestrator.contracts.images import CloudImages
from orchestrator.contracts.isolation import Isolation
from orchestrator.contracts.machine_console import MachineConsole
from orchestrator.contracts.playbooks import Playbooks
from orchestrator.contracts.ready_hosts import ReadyHosts
from orchestrator.contracts.target import Front, Target
from orchestrator.contracts.transport import Transports
from orchestrator.contracts.trees import TreeMover
from orchestrator.contracts.volumes import VolumeMover
from orchestrator.foundation.clock import Clock
from orchestrator.model.system import HaproxyFront, Route53Front


@dataclass(frozen=True)
class Drivers:
    """The world as handlers see it; tests bind `tests/fakes/` instead."""

    transports: Transports
    ready: ReadyHosts
    playbooks: Playbooks
    prepared: Playbooks  # the same deeds by programs of ours, for when clients wait
    trees: TreeMover
    volumes: VolumeMover
    databases: Databases
    database_digests: DatabaseDigests
    target: Target
    images: CloudImages
    isolation: Isolation
    machine_console: MachineConsole
    bubbles: Bubbles
    bubble_machines: BubbleMachines
    cloud_things: CloudThings
    digest_within: DigestWithin
    clusters_within: ClustersWithin
    front: Front[HaproxyFront | Route53Front]
    authority: AuthorityStore
    catalogue: Catalogue
    host_keys: HostKeyRing
    access_log: AccessLog
    clock: Clock
    shrink_share_max: float = 0.5  # of what a replica holds, what one copy may take away
