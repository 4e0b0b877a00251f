"""Runbook + inventory + facts → Plan, or every reason why not. Pure: the same input gives the same plan and digest."""

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.foundation.errors import PlanningError
from orchestrator.foundation.name_graph import in_order
from orchestrator.foundation.written_file import did_you_mean
from orchestrator.model.action import Check, DrillInBubble, SeizeAuthority, Watch
from orchestrator.model.dataset import BlockVolume, FileTree, PostgresCluster
from orchestrator.model.facts import Facts
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import Digest, HostName, Name, SystemName, is_name
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.runbook import Runbook
from orchestrator.model.site import Side
from orchestrator.model.step import Step
from orchestrator.model.system import System
from orchestrator.model.wave import WaveTerms
from orchestrator.planning.feasibility import Estimate, dataset_facts, estimate
from orchestrator.planning.objectives import deadline_within_soak, unmet_objectives, unmet_window
from orchestrator.planning.windows import within_window

STAYING = ("retire", "retain", "repurchase")  # strategies that move nothing
SPACE_RESERVE = 1.1  # a replica needs its source's bytes, and a tenth to work in
NAMES_SHOWN_MAX = 5  # in a message; more say nothing more
POSTGRES_MAJOR = 10_000  # server_version_num counts the major version in ten thousands


def compile_plan(
    runbook: Runbook,
    inventory: Inventory,
    facts: Facts,
    *,
    systems: Sequence[SystemName],
    wave: Name,
    author: Name,
    closure: Mapping[str, Digest],
    terms: WaveTerms | None = None,
) -> Plan:
    """The plan that moves `systems` by `runbook`. `closure` names every file that decides what runs, with its digest.

    `terms` are those of a wave of waves.yml; where it has a window, service is interrupted only within it.

    Raises PlanningError, whose message is all reasons, one a line: nothing may be touched when one of them holds.
    """
    problems = list(_who_and_what(inventory, systems, wave, author))
    if runbook.kind == "part":
        problems.append(f"runbook {runbook.id} is a part, to be included by others, and no plan of its own")
    if not problems:
        chosen = [inventory.systems[name] for name in dict.fromkeys(systems)]
        members, lost = frozenset(systems), lost_sides(runbook)
        expected = {system.name: estimate(system, inventory, facts) for system in chosen}
        for system in chosen:
            problems.extend(_system_problems(runbook, inventory, facts, system, members, lost))
            problems.extend(unmet_objectives(system, expected[system.name]))
            problems.extend(unmet_window(system, expected[system.name], terms))
        problems.extend(_space_problems(chosen, facts))
        problems.extend(deadline_within_soak(runbook.steps, terms))
    if problems:
        raise PlanningError("\n".join(problems))
    steps = within_window(runbook.steps) if terms is not None and terms.window is not None else runbook.steps
    used = dict.fromkeys(host for system in chosen for host in _hosts_of(system))
    used |= dict.fromkeys(host.name for host in inventory.hosts.values() if host.sees_fronts)
    return Plan(
        wave=wave,
        author=author,
        runbook=runbook.id,
        runbook_version=runbook.version,
        runbook_digest=runbook.digest,
        scope=runbook.scope,
        inventory_digest=inventory.digest,
        facts_digest=facts.digest,
        closure=dict(closure),
        hosts={name: inventory.hosts[name] for name in used},
        machines={name: inventory.machines[name] for name in used if name in inventory.machines},
        systems=tuple(_system_plan(steps, system, expected[system.name]) for system in _in_dependency_order(chosen)),
        terms=terms,
    )


def _system_plan(steps: tuple[Step, ...], system: System, expected: Estimate) -> SystemPlan:
    return SystemPlan(
        system=system,
        steps=steps,
        bytes_expected=expected.bytes_expected,
        copy_seconds_expected=round(expected.copy_seconds or 0.0, 1),
        approval=system.approval,
    )


def _in_dependency_order(systems: Sequence[System]) -> list[System]:
    by_name = {system.name: system for system in systems}
    graph = {system.name: [needed.system for needed in system.depends_on] for system in systems}
    return [by_name[name] for name in in_order(graph)]


def _who_and_what(inventory: Inventory, systems: Sequence[SystemName], wave: Name, author: Name) -> Iterator[str]:
    if not is_name(wave):
        yield f"the wave cannot be called {wave!r}: small letters and digits, with single dashes between"
    if author not in inventory.people:
        near = did_you_mean(author, list(inventory.people))
        yield f"nobody in people.yml is called {author}, so nobody would answer for this plan{near}"
    if not systems:
        yield "no system was named"
    for name in systems:
        if name not in inventory.systems:
            near = did_you_mean(name, list(inventory.systems))
            yield f"no system is called {name}{near} (there are: {', '.join(inventory.systems)})"


def _system_problems(
    runbook: Runbook,
    inventory: Inventory,
    facts: Facts,
    system: System,
    wave_members: frozenset[SystemName],
    lost: frozenset[Side],
) -> Iterator[str]:
    if system.strategy in STAYING:
        yield f"system {system.name}: its strategy is {system.strategy}, so there is nothing to move"
    for dependency in system.depends_on:
        if dependency.kind == "hard" and dependency.system not in wave_members:
            yield f"system {system.name} depends hard on {dependency.system}: both move in one plan, or neither"
    yield from _host_problems(inventory, facts, system, lost)
    yield from _dataset_problems(facts, system)
    yield from _check_problems(runbook, system)
    yield from _bubble_problems(runbook, system)


def _bubble_problems(runbook: Runbook, system: System) -> Iterator[str]:
    sides = {step.action.side for step in runbook.steps if isinstance(step.action, DrillInBubble)}
    for side in sorted(sides | {Side.DR}) if sides else ():
        if len(names := system.hosts_of(side)) > 1:
            yield (
                f"system {system.name} lies on {', '.join(sorted(names))} at {side.told}, and a bubble is on one "
                "host: let its replicas lie on one, make a system of what lies on each, or drill its machines at the "
                "cloud"
            )
    if volumes := [each.name for each in system.datasets if isinstance(each, BlockVolume) and Side.CLOUD in sides]:
        yield (
            f"system {system.name}: {', '.join(volumes)} cannot be in a bubble at the cloud: let a machine there start "
            "from it (image: dataset:NAME), or drill it at DR"
        )


def _hosts_of(system: System) -> list[HostName]:
    return list(dict.fromkeys(name for side in Side for name in system.hosts_of(side)))


def lost_sides(runbook: Runbook) -> frozenset[Side]:
    """The sides that the runbook takes for lost: nobody is asked to reach their hosts."""
    actions = [step.action for step in runbook.steps]
    return frozenset(action.from_side for action in actions if isinstance(action, SeizeAuthority))


def _host_problems(inventory: Inventory, facts: Facts, system: System, lost: frozenset[Side]) -> Iterator[str]:
    wanted = {system.host_of(side, item.name) for side in Side if side not in lost for item in system.datasets}
    wanted |= {system.host_of(side) for side in Side if side not in lost}
    for name in _hosts_of(system):
        found = facts.hosts.get(name)
        if name not in wanted and (found is None or not found.reachable):
            continue
        if name in inventory.machines and (found is None or not found.reachable):
            continue  # it is made by the plan
        if found is None:
            yield f"host {name} was not surveyed; ask it first: skerry survey"
        elif not found.reachable:
            yield f"host {name} cannot be reached: {found.why_not or 'no reason given'}"
        else:
            for tool in _tools_needed(system, name):
                if found.tools.get(tool) == "":
                    yield f"host {name} lacks {tool}; install it there, then: skerry survey"


def _tools_needed(system: System, host: HostName) -> list[str]:
    held = [item for side in Side for item in system.datasets if system.host_of(side, item.name) == host]
    tools = ["rsync"] if any(isinstance(item, FileTree) for item in held) else []
    if any(isinstance(item, PostgresCluster) for item in held):
        tools.append("postgres")
    if system.services and any(system.host_of(side) == host for side in Side):
        tools.append("systemctl")
    return tools


def _dataset_problems(facts: Facts, system: System) -> Iterator[str]:
    for dataset in system.datasets:
        source = system.host_of(Side.SOURCE, dataset.name)
        here = dataset_facts(facts, source, dataset.name)
        if here is None:
            continue  # the host is already complained of
        path = dataset.data_directory if isinstance(dataset, PostgresCluster) else dataset.path
        if not here.exists:
            yield f"dataset {dataset.name} of {system.name}: {path} does not exist on {source}"
        if isinstance(dataset, PostgresCluster):
            yield from _postgres_problems(facts, system, dataset)
        if isinstance(dataset, BlockVolume) and dataset.is_device:
            yield from _device_problems(facts, system, dataset, here.bytes_used)


def _device_problems(facts: Facts, system: System, volume: BlockVolume, bytes_needed: int) -> Iterator[str]:
    """A device cannot be made by a copy, and does not grow."""
    for side in (Side.DR, Side.CLOUD):
        replica = system.host_of(side, volume.name)
        there = dataset_facts(facts, replica, volume.name)
        if there is None:
            continue
        if not there.exists:
            yield f"dataset {volume.name} of {system.name}: {replica} has no device {volume.path}"
        elif there.bytes_used < bytes_needed:
            yield (
                f"dataset {volume.name} of {system.name}: {volume.path} has {there.bytes_used} bytes on {replica}, "
                f"{bytes_needed} are needed"
            )


def _postgres_problems(facts: Facts, system: System, cluster: PostgresCluster) -> Iterator[str]:
    """A physical replica needs the same major version and the same processor architecture."""
    source = system.host_of(Side.SOURCE, cluster.name)
    here = dataset_facts(facts, source, cluster.name)
    for side in (Side.DR, Side.CLOUD):
        replica = system.host_of(side, cluster.name)
        there = dataset_facts(facts, replica, cluster.name)
        if here is None or there is None:
            continue
        versions = _major(here.version), _major(there.version)
        if None not in versions and versions[0] != versions[1]:
            yield (
                f"dataset {cluster.name} of {system.name}: PostgreSQL {versions[0]} on {source}, "
                f"{versions[1]} on {replica}; a physical replica needs the same major version"
            )
        architectures = facts.hosts[source].architecture, facts.hosts[replica].architecture
        if all(architectures) and architectures[0] != architectures[1]:
            yield (
                f"dataset {cluster.name} of {system.name}: {architectures[0]} on {source}, {architectures[1]} on "
                f"{replica}; a physical replica needs the same architecture"
            )


def _major(version: str) -> int | None:
    return int(version) // POSTGRES_MAJOR if version.isdigit() else None


def _space_problems(systems: Sequence[System], facts: Facts) -> Iterator[str]:
    """All that the wave brings to one file system must fit into it together.

    Facts do not name file systems apart; two of one host with the same type and the same free bytes are taken as one.
    """
    needed: dict[tuple[HostName, str, int], int] = {}
    named: dict[tuple[HostName, str, int], list[str]] = {}
    for system in systems:
        for side in (Side.DR, Side.CLOUD):
            for dataset in system.datasets:
                here = dataset_facts(facts, system.host_of(Side.SOURCE, dataset.name), dataset.name)
                replica = system.host_of(side, dataset.name)
                there = dataset_facts(facts, replica, dataset.name)
                if here is None or there is None or not there.file_system:
                    continue
                if isinstance(dataset, BlockVolume) and dataset.is_device:
                    continue
                held = there.bytes_used if there.exists else 0
                key = replica, there.file_system, there.bytes_free
                needed[key] = needed.get(key, 0) + max(0, int(here.bytes_used * SPACE_RESERVE) - held)
                named.setdefault(key, []).append(f"{system.name}/{dataset.name}")
    for key, bytes_needed in needed.items():
        host, _, bytes_free = key
        if bytes_needed > bytes_free:
            shown, more = named[key][:NAMES_SHOWN_MAX], len(named[key]) - NAMES_SHOWN_MAX
            datasets = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
            yield f"host {host} has {bytes_free} bytes free, {bytes_needed} are needed for {datasets}"


def _check_problems(runbook: Runbook, system: System) -> Iterator[str]:
    """A step that asks for checks nobody wrote would have nothing to judge."""
    levels = {check.level for check in system.checks}
    for step in runbook.steps:
        if isinstance(step.action, Check | Watch) and not levels & set(step.action.levels):
            asked = " or ".join(step.action.levels)
            yield f"step {step.id} asks for {asked} checks, but system {system.name} has none"
