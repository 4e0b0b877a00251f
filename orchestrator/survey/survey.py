"""The survey: every host of an inventory asked at once what it is. Looks, and changes nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from orchestrator.contracts.transport import Transports
from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.foundation.errors import CommandFailed, HostError, HostUnreachable
from orchestrator.foundation.limits import COUNT_DATASET_SECONDS_MAX, SURVEY_HOSTS_PARALLEL_MAX
from orchestrator.model.facts import Facts, HostFacts
from orchestrator.model.host import Host
from orchestrator.model.inventory import Inventory
from orchestrator.survey.probes import datasets_of, facts_from, program, request_for

_NOT_FOUND = 127


def survey(
    inventory: Inventory,
    transports: Transports,
    clock: Clock,
    on_host: Callable[[HostFacts], None] | None = None,
) -> Facts:
    """Facts of every host. One that cannot be reached or asked is a fact too, with the reason.

    `on_host` is called from this thread, for each host as its answer comes.
    """
    taken_at = timestamp(clock.now())
    found: dict[str, HostFacts] = {}
    with ThreadPoolExecutor(SURVEY_HOSTS_PARALLEL_MAX, thread_name_prefix="survey") as pool:
        asked = [pool.submit(_ask, inventory, host, transports, clock) for host in inventory.hosts.values()]
        for answered in as_completed(asked):
            facts = answered.result()
            found[facts.host] = facts
            if on_host is not None:
                on_host(facts)
    hosts = {name: found[name] for name in sorted(found)}
    digest = digest_of({name: facts.model_dump(mode="json") for name, facts in hosts.items()})
    return Facts(hosts=hosts, taken_at=taken_at, digest=digest)


def _ask(inventory: Inventory, host: Host, transports: Transports, clock: Clock) -> HostFacts:
    datasets = datasets_of(inventory, host)
    try:
        asked_at = clock.now().timestamp()
        # As root: the data directory of a database opens to nobody else.
        answer = transports(host).run(
            ["python3", "-", request_for(host, datasets)],
            stdin=program("probe"),
            user="root" if host.become else None,
            timeout_seconds=60 + COUNT_DATASET_SECONDS_MAX * len(datasets),
            check=False,
        )
        answered_at = clock.now().timestamp()
        if answer.exit_code == _NOT_FOUND:
            return HostFacts(host=host.name, reachable=False, why_not=f"{host.name} has no python3")
        if answer.exit_code != 0:
            said = answer.stderr.decode(errors="replace").strip().splitlines()
            raise CommandFailed(f"{host.name}: the probe ended with {answer.exit_code}: {said[-1] if said else ''}")
        return facts_from(host, answer.stdout, asked_at=asked_at, answered_at=answered_at)
    except HostUnreachable as error:
        why_not = error.message
        if host.name in inventory.machines:
            why_not = f"nothing answers at {host.address}: the machine is down, or a plan has yet to make it"
        return HostFacts(host=host.name, reachable=False, why_not=why_not)
    except HostError as error:
        return HostFacts(host=host.name, reachable=False, why_not=error.message)
