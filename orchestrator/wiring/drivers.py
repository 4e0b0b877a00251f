"""The concrete drivers that handlers of steps act through."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from orchestrator.contracts.authority import AuthorityStore
from orchestrator.contracts.bandwidth import Allowance
from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.host_keys import HostKeyRing
from orchestrator.contracts.playbooks import Playbooks
from orchestrator.contracts.transport import Transports
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.places import skerry_home
from orchestrator.hosts.bubble_machines import HostBubbleMachines
from orchestrator.hosts.bubbles import HostBubbles
from orchestrator.hosts.certificates import CertifiedAccess
from orchestrator.hosts.ssh import SshTransports
from orchestrator.model.inventory import Inventory
from orchestrator.movers.block_volume import BlockVolumeMover, BlockVolumeSettings
from orchestrator.movers.btrfs_send import BtrfsSender
from orchestrator.movers.file_tree import FileTreeMover
from orchestrator.movers.limits import Turns
from orchestrator.movers.postgres.mover import PostgresMover
from orchestrator.movers.snapshot_send import SnapshotSendMover
from orchestrator.movers.zfs_send import ZfsSender
from orchestrator.planning.bandwidth import allowance_at
from orchestrator.snapshots.stores import HostPointStores
from orchestrator.survey.access import HostAccessLog
from orchestrator.targets.aws.console import AwsConsole
from orchestrator.targets.aws.images import AwsImages
from orchestrator.targets.aws.isolation import AwsIsolation
from orchestrator.targets.aws.machines import AwsMachines
from orchestrator.targets.aws.session import AwsSession, open_session
from orchestrator.targets.aws.things import AwsThings
from orchestrator.targets.aws.traffic import Route53Traffic
from orchestrator.targets.by_host import TargetByHost
from orchestrator.targets.fronts import FrontsByKind
from orchestrator.targets.haproxy import HaproxyTraffic
from orchestrator.targets.ssh_host import SshHosts
from orchestrator.wiring.bubbles import PostgresWithin, digest_within


def bind_drivers(
    inventory: Inventory,
    clock: Clock,
    *,
    transports: SshTransports,
    playbooks: Playbooks,
    prepared: Playbooks,
    secrets: Callable[[str], str],
    authority: AuthorityStore,
    catalogue: Catalogue,
    host_keys: HostKeyRing,
    at_end: ExitStack,
) -> Drivers:
    """The drivers of one estate. What they keep open is closed by `at_end`."""
    access = CertifiedAccess(transports, Path(inventory.transfer_ca or skerry_home() / "transfer_ca"))
    session = open_session(inventory, clock)
    points = HostPointStores(transports, clock)
    share_max = inventory.replication.shrink_share_max

    def bandwidth() -> Allowance:
        return allowance_at(inventory.bandwidth, clock.now())

    turns = Turns()
    databases = PostgresMover(transports, secrets, bandwidth=bandwidth, turns=turns)
    trees = FileTreeMover(transports, access, points, bandwidth=bandwidth, turns=turns)
    at_end.callback(trees.release_last)
    return Drivers(
        transports=transports,
        ready=transports,
        playbooks=playbooks,
        prepared=prepared,
        trees=SnapshotSendMover(
            transports,
            trees,
            {
                "btrfs": BtrfsSender(transports, access, bandwidth=bandwidth, turns=turns),
                "zfs": ZfsSender(transports, access, bandwidth=bandwidth, turns=turns),
            },
        ),
        volumes=BlockVolumeMover(
            transports,
            access,
            points,
            BlockVolumeSettings(shrink_share_max=share_max),
            bandwidth=bandwidth,
            turns=turns,
        ),
        databases=databases,
        database_digests=databases,
        **cloud_drivers(inventory, session, transports),
        bubbles=HostBubbles(transports),
        bubble_machines=HostBubbleMachines(transports),
        cloud_things=AwsThings(session),
        digest_within=digest_within(secrets),
        clusters_within=PostgresWithin(secrets),
        authority=authority,
        catalogue=catalogue,
        host_keys=host_keys,
        access_log=HostAccessLog(transports, clock),
        clock=clock,
        shrink_share_max=share_max,
    )


def cloud_drivers(inventory: Inventory, session: AwsSession, transports: Transports) -> dict[str, Any]:
    """The drivers that speak to the cloud, all by one session."""
    return {
        "target": TargetByHost(
            AwsMachines(session), SshHosts(transports), inventory.hosts.keys() - inventory.machines.keys()
        ),
        "images": AwsImages(session, transports, kms_key=inventory.cloud.kms_key or ""),
        "isolation": AwsIsolation(session),
        "machine_console": AwsConsole(session),
        "front": FrontsByKind(Route53Traffic(session), HaproxyTraffic(transports, inventory.hosts)),
    }
