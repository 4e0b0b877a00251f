"""Judges waves against the estate: who moves when, what hangs together, which windows hold. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.foundation.name_graph import in_order
from orchestrator.foundation.written_file import Finding, Location, did_you_mean
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import Name, SystemName
from orchestrator.model.wave import Freeze, GateName, Period, WaveGate, WaveLimits, WaveTerms
from orchestrator.planning.bound_groups import Bond, bonds_of, torn_bonds
from orchestrator.planning.compile import STAYING
from orchestrator.planning.wave_file import WaveFile, WrittenWave
from orchestrator.planning.windows import length_seconds, moment_of, overlap

_MANY = 5  # names in a message; more say nothing more


@dataclass(frozen=True)
class PlannedWave:
    """One wave: its members, what is needed first, and the terms that its plan will have."""

    name: Name
    outcome: str
    systems: tuple[SystemName, ...]
    terms: WaveTerms


@dataclass(frozen=True)
class WaveProgram:
    """All waves in their order. `warnings` are findings that stop nothing."""

    waves: tuple[PlannedWave, ...]
    warnings: tuple[Finding, ...] = ()

    @property
    def names(self) -> list[Name]:
        return [wave.name for wave in self.waves]

    def wave(self, name: Name) -> PlannedWave | None:
        return next((wave for wave in self.waves if wave.name == name), None)

    def before(self, name: Name) -> PlannedWave | None:
        """The wave before `name`; None for the first."""
        position = self.names.index(name)
        return self.waves[position - 1] if position else None


def judge_waves(file: WaveFile, inventory: Inventory, findings: list[Finding]) -> WaveProgram | None:
    """The waves of `file`; None, and findings with file and line, where they do not fit the estate or each other."""
    order = file.waves.order
    wave_of: dict[SystemName, str] = {}
    for position, wave in enumerate(order):
        findings.extend(_membership_problems(file, inventory, wave, position, wave_of))
    findings.extend(_naming_problems(file, inventory))
    findings.extend(_limit_problems(file, inventory))
    findings.extend(_people_problems(file, inventory))
    if findings:
        return None
    bonds = bonds_of(
        inventory,
        declared=[(bound.name, bound.systems) for bound in file.waves.bound],
        separable=frozenset(each.host for each in file.waves.separable),
    )
    findings.extend(_torn_problems(file, torn_bonds(bonds, wave_of), wave_of))
    for position, wave in enumerate(order):
        findings.extend(_window_problems(file, wave, position))
    if findings:
        return None
    return WaveProgram(
        waves=tuple(_planned(file, inventory, wave, position) for position, wave in enumerate(order)),
        warnings=tuple(_warnings(file, inventory, wave_of)),
    )


def _planned(file: WaveFile, inventory: Inventory, wave: WrittenWave, position: int) -> PlannedWave:
    members = frozenset(wave.systems)
    graph = {
        name: [needed.system for needed in inventory.systems[name].depends_on if needed.system in members]
        for name in wave.systems
    }
    return PlannedWave(
        name=wave.wave,
        outcome=wave.outcome,
        systems=tuple(in_order(graph)),
        terms=WaveTerms(
            position=position,
            before=file.waves.order[position - 1].wave if position else None,
            window=file.windows.get(wave.wave),
            freezes=tuple(_freezes_of(file, members)),
            soak_seconds=wave.soak,
            rollback_seconds=wave.rollback or 0.0,
            reserve_seconds=wave.reserve,
            limits=merged_limits(file.waves.limits, wave.limits),
            entry=_gates(file.gates, wave.entry),
            exit=_gates(file.gates, wave.exit),
            retire=_gates(file.gates, wave.retire),
        ),
    )


def _gates(known: Mapping[str, WaveGate], named: Iterable[GateName]) -> tuple[WaveGate, ...]:
    return tuple(known[gate_id] for gate_id in named)


def merged_limits(general: WaveLimits, own: WaveLimits) -> WaveLimits:
    """A wave's own figures where it has them, else those for all waves."""
    return WaveLimits(
        per_site=own.per_site or general.per_site,
        per_host=own.per_host or general.per_host,
        per_link=own.per_link or general.per_link,
        sites={**general.sites, **own.sites},
        hosts={**general.hosts, **own.hosts},
        links={**general.links, **own.links},
    )


def _freezes_of(file: WaveFile, members: frozenset[SystemName]) -> Iterator[Freeze]:
    for freeze in file.freezes:
        if not freeze.systems or members & set(freeze.systems):
            yield freeze


def refuse_past(file_name: str, line: int, wave: PlannedWave, now: datetime) -> list[Finding]:
    """A window that is over, or too short for what is left of it, as findings at `line`: nothing is planned for it."""
    window = wave.terms.window
    if window is None:
        return []
    if moment_of(window.end) <= now:
        return [Finding(file_name, line, f"the window of wave {wave.name} was over at {window.end}; give it another")]
    needed = timedelta(seconds=wave.terms.rollback_seconds + wave.terms.reserve_seconds)
    if moment_of(window.start) <= now and moment_of(window.end) - now < needed:
        left = (moment_of(window.end) - now).total_seconds()
        message = f"{left:.0f}s are left of the window of wave {wave.name}, less than its rollback and reserve"
        return [Finding(file_name, line, message)]
    return []


# ---- who moves when


def _membership_problems(
    file: WaveFile, inventory: Inventory, wave: WrittenWave, position: int, wave_of: dict[SystemName, str]
) -> Iterator[Finding]:
    names = [each.wave for each in file.waves.order]
    if names.index(wave.wave) != position:
        yield file.finding(("order", position, "wave"), f"wave {wave.wave} is there twice")
        return
    for index, name in enumerate(wave.systems):
        at: Location = ("order", position, "systems", index)
        system = inventory.systems.get(name)
        if system is None:
            yield file.finding(at, f"no system is called {name}{did_you_mean(name, list(inventory.systems))}")
        elif name in wave_of:
            yield file.finding(at, f"system {name} is in wave {wave_of[name]} already")
        elif system.strategy in STAYING:
            yield file.finding(at, f"system {name} does not move: its strategy is {system.strategy}")
        wave_of.setdefault(name, wave.wave)


def _naming_problems(file: WaveFile, inventory: Inventory) -> Iterator[Finding]:
    listed: list[tuple[Location, tuple[SystemName, ...]]] = [
        *((("bound", number, "systems"), bound.systems) for number, bound in enumerate(file.waves.bound)),
        *((("freezes", number, "systems"), freeze.systems) for number, freeze in enumerate(file.waves.freezes)),
    ]
    for at, names in listed:
        for index, name in enumerate(names):
            if name not in inventory.systems:
                near = did_you_mean(name, list(inventory.systems))
                yield file.finding((*at, index), f"no system is called {name}{near}")
    for number, each in enumerate(file.waves.separable):
        if each.host not in inventory.hosts:
            near = did_you_mean(each.host, list(inventory.hosts))
            yield file.finding(("separable", number, "host"), f"no host is called {each.host}{near}")


def _limit_problems(file: WaveFile, inventory: Inventory) -> Iterator[Finding]:
    places: list[tuple[Location, WaveLimits]] = [(("limits",), file.waves.limits)]
    places += [(("order", number, "limits"), wave.limits) for number, wave in enumerate(file.waves.order)]
    for at, limits in places:
        for kind, named, known in (
            ("site", limits.sites, list(inventory.sites)),
            ("host", limits.hosts, list(inventory.hosts)),
        ):
            for name in named:
                if name not in known:
                    where = (*at, f"{kind}s", name)
                    yield file.finding(where, f"no {kind} is called {name}{did_you_mean(name, known)}")
        for link in limits.links:
            for end in link.split("/"):
                if end not in inventory.sites:
                    near = did_you_mean(end, list(inventory.sites))
                    message = f"no site is called {end}{near} (a link is SOURCE/REPLICA)"
                    yield file.finding((*at, "links", link), message)


def _people_problems(file: WaveFile, inventory: Inventory) -> Iterator[Finding]:
    """A gate that asks for more people than there are could never open."""
    for gate_id, gate in file.gates.items():
        able = [person for person in inventory.people.values() if set(gate.roles) & set(person.roles)]
        held = {role for person in able for role in person.roles}
        at: Location = ("gates", gate_id, "roles")
        for role in gate.roles:
            if role not in held:
                near = did_you_mean(role, sorted({each for one in inventory.people.values() for each in one.roles}))
                yield file.finding(at, f"gate {gate_id} could never open: nobody in people.yml is {role}{near}")
        if len(able) < gate.persons_min:
            message = f"gate {gate_id} could never open: it asks for {gate.persons_min} persons, {len(able)} are able"
            yield file.finding(at, message)


# ---- what hangs together


def _torn_problems(file: WaveFile, torn: Iterable[Bond], wave_of: Mapping[SystemName, str]) -> Iterator[Finding]:
    places = {
        name: ("order", position, "systems", index)
        for position, wave in enumerate(file.waves.order)
        for index, name in enumerate(wave.systems)
    }
    for bond in torn:
        late, other = (bond.other, bond.one) if bond.other in wave_of else (bond.one, bond.other)
        there = f"is in wave {wave_of[other]}" if other in wave_of else "is in no wave"
        at: Location = places[late] if bond.declared is None else ("bound", bond.declared)
        remedy = "put both into one wave"
        if "both are on host" in bond.why:
            remedy += ", or name the host below separable with the reason"
        yield file.finding(
            at, f"system {late} (wave {wave_of[late]}) moves with {other}, which {there}: {bond.why}; {remedy}"
        )


def _warnings(file: WaveFile, inventory: Inventory, wave_of: Mapping[SystemName, str]) -> Iterator[Finding]:
    """A soft dependency survives a WAN link; that one end moves first is worth knowing, and no more."""
    position_of = {wave.wave: number for number, wave in enumerate(file.waves.order)}
    for position, wave in enumerate(file.waves.order):
        for index, name in enumerate(wave.systems):
            for needed in inventory.systems[name].depends_on:
                there = wave_of.get(needed.system)
                if there is not None and position_of[there] > position:
                    message = f"{name} moves in {wave.wave}, before {needed.system} (wave {there}), on which it depends"
                    yield file.finding(("order", position, "systems", index), message)
    left = [
        system.name
        for system in inventory.systems.values()
        if system.name not in wave_of and system.strategy not in STAYING
    ]
    if left:
        shown = ", ".join(left[:_MANY]) + (f" and {len(left) - _MANY} more" if len(left) > _MANY else "")
        yield file.finding(("order",), f"{len(left)} systems that move are in no wave: {shown}")


# ---- windows


def _window_problems(file: WaveFile, wave: WrittenWave, position: int) -> Iterator[Finding]:
    window = file.windows.get(wave.wave)
    if window is None:
        return
    at: Location = ("order", position, "window")
    members = set(wave.systems)
    for freeze in file.freezes:
        concerned = not freeze.systems or members & set(freeze.systems)
        if concerned and overlap(window, freeze.period):
            whom = f" of {', '.join(sorted(members & set(freeze.systems))[:_MANY])}" if freeze.systems else ""
            message = (
                f"the window of wave {wave.wave} ({window.start} to {window.end}) overlaps the freeze "
                f"{freeze.name}{whom} ({freeze.period.start} to {freeze.period.end}: {freeze.because}); move the window"
            )
            yield file.finding(at, message)
    if wave.rollback is None:
        message = f"wave {wave.wave} has a window; say how long its way back takes at worst (rollback: 30m)"
        yield file.finding(at, message)
    elif wave.rollback + wave.reserve >= length_seconds(window):
        message = (
            f"the window of wave {wave.wave} is {length_seconds(window):.0f}s long; its rollback "
            f"({wave.rollback:g}s) and reserve ({wave.reserve:g}s) leave no time to cut over"
        )
        yield file.finding(at, message)
    if position:
        yield from _sequence_problems(file, file.waves.order[position - 1], wave, window, at)


def _sequence_problems(
    file: WaveFile, earlier: WrittenWave, wave: WrittenWave, window: Period, at: Location
) -> Iterator[Finding]:
    """A window that is over before the wave before it could have passed its soak."""
    first = file.windows.get(earlier.wave)
    if first is None:
        return
    soaked = moment_of(first.start) + timedelta(seconds=earlier.soak)
    if moment_of(window.end) <= soaked:
        message = (
            f"the window of wave {wave.wave} is over before wave {earlier.wave} can have passed its soak "
            f"(not before {soaked:%Y-%m-%dT%H:%M}Z)"
        )
        yield file.finding(at, message)
