"""The way back, tried within a bubble: what was written there is carried into a second clone of the same point.

The second clone stands for the side that one goes back to. As in a failback services stop first, databases are shut
down cleanly and their log is carried, trees are copied; then both must give one digest.
"""

import time
from collections.abc import Iterator, Sequence

from orchestrator.contracts.bubbles import BubbleData, CarriedBack
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import DigestMismatch
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.system import System
from orchestrator.steps.places import services_in_start_order

FOLDER = "/run/skerry-way-back"  # in a bubble's own /run
COPY_SECONDS_MAX = 6 * 3600.0
TRACE = ".skerry-drill"  # a write that the point does not have


def second_clones(data: Sequence[BubbleData]) -> list[BubbleData]:
    """The same held data once more, beside what the services get; of images none: nobody writes into a volume from
    beside its machine, so what that wrote is not carried.
    """
    return [
        each.model_copy(update={"name": f"{each.name}-back", "places": (("", f"{FOLDER}/{each.name}"),)})
        for each in data
        if not each.image
    ]


def carry_back(drivers: Drivers, bubble: str, system: System, host: Host, inside: Transport) -> Iterator[CarriedBack]:
    """Dataset by dataset. DigestMismatch for one that is not the same once it is carried."""
    units = [each.name for each in reversed(services_in_start_order(system.services))]
    drivers.bubbles.stop(host, bubble, units)
    for dataset in system.datasets:
        folder = f"{FOLDER}/{dataset.name}"
        if isinstance(dataset, PostgresCluster):
            yield drivers.clusters_within.carry_back(dataset, inside, folder)
        if isinstance(dataset, FileTree):
            yield _carry_tree(drivers, dataset, host, inside, folder)


def _carry_tree(drivers: Drivers, tree: FileTree, host: Host, inside: Transport, folder: str) -> CarriedBack:
    inside.run(["touch", f"{host.path(tree.path)}/{TRACE}"])
    written = drivers.digest_within(tree, host, inside)
    started = time.monotonic()
    # Times are compared to the nanosecond: what was written within one second is not the same.
    words = ["rsync", "-aHAX", "--numeric-ids", "--modify-window=-1", "--delete", "--stats", "--no-human-readable"]
    done = inside.run([*words, f"{host.path(tree.path)}/", f"{folder}/"], timeout_seconds=COPY_SECONDS_MAX)
    found = drivers.digest_within(tree.model_copy(update={"path": folder}), host, inside)
    if found != written:
        raise DigestMismatch(
            f"{tree.name}: what was written on {host.name} is {written}, and {found} once it is carried back"
        )
    sent = [line.split(":")[1] for line in done.text.splitlines() if line.startswith("Total transferred file size")]
    return CarriedBack(
        dataset=tree.name,
        digest=written,
        bytes_carried=int(sent[0].split()[0]) if sent else 0,
        seconds=round(time.monotonic() - started, 3),
    )
