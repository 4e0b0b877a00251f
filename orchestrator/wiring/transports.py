"""The way to hosts, and the programs of ours that run there while clients wait, from whichever room.

Hosts that stand ready have read them. Joining one from its parts takes tenths of a second the first time, and a host
some hundredths to compile it: both before the drain, and not after it.
"""

from pathlib import Path

from orchestrator.foundation.places import shipped_folder, skerry_home
from orchestrator.hosts.prepared import shipped_programs
from orchestrator.hosts.ssh import SshTransports, open_transports
from orchestrator.model.inventory import Inventory


def bind_transports(inventory: Inventory, learned_keys: Path) -> SshTransports:
    config = Path(inventory.ssh_config) if inventory.ssh_config else None
    run = skerry_home() / "run"
    return open_transports(config, run, learned_keys, quick_programs=programs_while_clients_wait)


def programs_while_clients_wait() -> tuple[Path, ...]:
    # What is needed only once hosts stand ready is brought in then: a command that reads must not wait for it.
    from orchestrator.movers.postgres.cluster_host import IN_ORDER_PROGRAM
    from orchestrator.movers.postgres.digest import PROGRAM as DIGEST_PROGRAM
    from orchestrator.movers.postgres.switching import STOP_PROGRAM
    from orchestrator.steps.authority import STOPPED_PROGRAM

    deeds = sorted(set(shipped_programs(shipped_folder("playbooks")).values()))
    return (*deeds, STOPPED_PROGRAM, STOP_PROGRAM, DIGEST_PROGRAM, IN_ORDER_PROGRAM)
