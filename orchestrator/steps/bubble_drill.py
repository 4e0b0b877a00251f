"""A drill in a bubble: a recovery point that DR holds, started where production is not reached, and checked.

Production is looked at before and after. The bubble is proved isolated before anything is started in it, and taken away
at the end, whatever came of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from orchestrator.contracts.bubbles import (
    BubbleCluster,
    BubbleData,
    ForbiddenTarget,
)
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.clock import timestamp
from orchestrator.foundation.errors import DataError, DigestMismatch, GateClosed, OrchestratorError
from orchestrator.model.drill import InjectName
from orchestrator.model.host import Host
from orchestrator.model.names import HostName, Name, SystemName
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.site import Side
from orchestrator.model.system import BubbleRules, System
from orchestrator.steps.bubble_elsewhere import BroughtData
from orchestrator.steps.bubble_looks import Looks, differences
from orchestrator.steps.bubble_replication import Streams
from orchestrator.steps.bubble_result import BubbleDrill, DrilledSystem
from orchestrator.steps.bubble_system import CheckSeen, SystemWithin
from orchestrator.steps.bubble_way_back import carry_back, second_clones
from orchestrator.steps.drill_checks import look_within
from orchestrator.steps.drill_measures import (
    Spent,
    choose_points,
    is_named,
    missed,
    trend_of,
    verdicts_of,
    verdicts_of_service,
)
from orchestrator.steps.injects import Inject, Record
from orchestrator.steps.machine_shown import complain_of

Held = tuple[list[BubbleData], list[BubbleCluster]]
CUT_OFF = "cut off in its bubble"
HEALTHY_SECONDS_MAX = 120.0
TREND_TOLD = 12  # earlier drills that stand beside a result


@dataclass(frozen=True)
class BubbleDriller:
    """Drills systems, with the hosts of their estate, in bubbles at DR; or `at` the cloud, on machines that stand."""

    systems: Mapping[SystemName, System]
    hosts: Mapping[HostName, Host]
    drivers: Drivers
    record: Record
    healthy_seconds_max: float = HEALTHY_SECONDS_MAX
    progress: ProgressSink = lambda progress: None
    at: Literal[Side.DR, Side.CLOUD] = Side.DR

    def drill(
        self,
        name: SystemName,
        *,
        bubble: str,
        by: Name,
        point: str = "latest",
        older_than_seconds: float = 0.0,
        inject: InjectName | None = None,
        way_back: bool = True,
    ) -> BubbleDrill:
        """Run it to its end. What came of it is on record, whatever it is; only refusals before any deed raise.

        What the system depends on is started before it, where its replica lies on the same host. With an `inject`
        something is wrong within the bubble, and the drill passes when that is found and named.
        """
        begun, main = self.drivers.clock.now(), self.systems[name]
        wrong = Inject(inject, main)
        host = self._host(main, self.at)
        needed, elsewhere = self._needed(main, host)
        rules = rules_of([*needed, main], by)
        chosen = choose_points(self.drivers, main, needed, point, older_than_seconds=older_than_seconds)
        injects = [*(Inject(None, each) for each in needed), wrong]
        spent = Spent(self.drivers.clock)
        withins = [self._placed(each, chosen, host, bubble, spent) for each in injects]
        held = [within.held() for within in withins]
        drill = BubbleDrill(
            id=bubble,
            system=main.name,
            at=self.at,
            by=by,
            host=host.name,
            point=chosen[main.name].id,
            point_at=chosen[main.name].at,
            point_named=is_named(point, older_than_seconds),
            begun_at=timestamp(begun),
            erased_by=timestamp(begun + timedelta(seconds=rules.erased_after)),
            may_enter=rules.may_enter,
            without_systems=tuple(elsewhere),
        )
        self.record(main.name, "drill.begun", drill.model_dump(mode="json"))
        looks = Looks(self.hosts, self.drivers, wrong)
        systems = [within.system for within in withins]
        streams = Streams(systems, self.hosts, self.drivers)
        with spent.on("looks"):
            before, _ = looks.production(systems)
            streams.begin()
        drill = self._within(drill, withins, held, looks, streams, rules.erased_after, way_back=way_back)
        behind = [] if drill.cut_off else [*streams.after(), *self._changed(drill, withins)]
        after, unseen = looks.production(systems)
        drill = self._concluded(drill, wrong, tuple(differences(before, after)), unseen, behind)
        told = {
            "replication": tuple(streams.seen),
            "trend": tuple(trend_of(self.drivers.catalogue, main.name, at=self.at, limit=TREND_TOLD)),
        }
        drill = drill.model_copy(update=told)
        if not drill.cut_off:
            wrong.keep(self.drivers.catalogue, self.record, drill.id, at=drill.begun_at, found=drill.found)
        drill.keep(self.drivers.catalogue, lambda kind, data: self.record(main.name, kind, data))
        return drill

    def _concluded(
        self,
        drill: BubbleDrill,
        wrong: Inject,
        changed: tuple[str, ...],
        unseen: Sequence[str],
        behind: Sequence[str],
    ) -> BubbleDrill:
        """Whether it passed: by what was wrong within, and what was seen around it."""
        recovered = bool(drill.operational_at)
        found, reasons = wrong.judge(drill.why_not, unseen, isolated=drill.isolated, recovered=recovered)
        why = [*reasons, *behind]
        if changed:
            why.append(f"production changed meanwhile: {'; '.join(changed)}")
        if drill.left.any:
            why.append(f"the bubble left something behind: {drill.left.model_dump(mode='json')}")
        told = {"production_changed": changed, "inject": wrong.name, "found": found, "why_not": tuple(why)}
        return drill.model_copy(update=told)

    def _placed(
        self, inject: Inject, chosen: Mapping[SystemName, RecoveryPoint], host: Host, bubble: str, spent: Spent
    ) -> SystemWithin:
        system = inject.system
        point = chosen[system.name]
        holder = self._host(system, Side.DR)
        return SystemWithin(self.drivers, system, point, holder, host, bubble, inject, self.healthy_seconds_max, spent)

    def _within(
        self,
        drill: BubbleDrill,
        withins: Sequence[SystemWithin],
        held: Sequence[Held],
        looks: Looks,
        streams: Streams,
        seconds_max: float,
        *,
        way_back: bool,
    ) -> BubbleDrill:
        """Open, prove, start, check, go back; then close, whatever happened."""
        main, bubbles = withins[-1], self.drivers.bubbles
        host, inject, spent = main.host, main.inject, main.spent
        seen: dict[str, Any] = {"why_not": ()}
        try:
            if self.at is not Side.DR:
                held = self._brought(withins, held)
            self._say(f"opening a bubble on {host.name}")
            units = [unit for within in withins for unit in within.units]
            data = [each for of_system, _ in held[:-1] for each in of_system]
            given = distinct([*data, *inject.given(held[-1][0])])
            back = second_clones(held[-1][0]) if way_back and inject.name is None else []
            with spent.on("clone"):
                seen["clones"] = tuple(bubbles.open(host, drill.id, [*given, *back], units, seconds_max=seconds_max))
            with spent.on("isolation"):
                self._prove(drill, host, seen, looks.forbidden([within.system for within in withins]))
            inside = bubbles.transport(host, drill.id)
            inject.act(host, inside)
            look_within(inside, main.system, host, inject.clock(self.drivers.clock))
            for within, (_, clusters) in zip(withins, held, strict=True):
                self._say(f"starting {within.system.name} in the bubble")
                self._machines(drill, within, seen)
                seen["started"] = (*seen.get("started", ()), *within.start(inside, clusters))
                self._say(f"asking the checks of {within.system.name}")
                with spent.on("checks"):
                    self._checked(drill, within, seen, within.check(inside))
            if len(withins) > 1:
                self._judge_service(drill, withins, seen)
            seen["why_not"] += tuple(streams.during())
            if back and "operational_at" in seen:  # also where an objective was missed
                self._say("carrying back what was written in the bubble")
                with spent.on("back"):
                    seen["carried_back"] = tuple(carry_back(self.drivers, drill.id, main.system, host, inside))
        except OrchestratorError as error:
            seen["why_not"] += (error.message,)
        except KeyboardInterrupt:
            seen |= {"cut_off": True, "why_not": (*seen["why_not"], CUT_OFF)}
        finally:
            with spent.on("close"):
                try:
                    seen |= self._closed(drill, host, seen["why_not"])
                except KeyboardInterrupt:  # once more: it would stay for as long as its lease lasts
                    seen |= {"cut_off": True, "why_not": (*seen["why_not"], CUT_OFF)}
                    seen |= self._closed(drill, host, seen["why_not"])
            seen["seconds"] = spent.seconds
        return drill.model_copy(update=seen)

    def _brought(self, withins: Sequence[SystemWithin], held: Sequence[Held]) -> list[Held]:
        """What is held at DR, as the bubble's own host has it then."""
        host = withins[-1].host
        self._say(f"bringing what DR holds to {host.name}")
        with withins[-1].spent.on("bring"):
            given = [(within.holder, data) for within, (data, _) in zip(withins, held, strict=True)]
            brought = BroughtData(self.drivers, host).bring(given)
        return [(data, clusters) for data, (_, clusters) in zip(brought, held, strict=True)]

    def _machines(self, drill: BubbleDrill, within: SystemWithin, seen: dict[str, Any]) -> None:
        """Start the machines of one system; each is on record, up or not."""
        within.machines.compare(within.proved())
        for shown, told in within.machines.start():
            seen["machines"] = (*seen.get("machines", ()), shown)
            self.record(within.system.name, "machine.seen", {"drill": drill.id, **told})
            complain_of(shown)

    def _changed(self, drill: BubbleDrill, withins: Sequence[SystemWithin]) -> Iterator[str]:
        """Images that are not what they were before machines were started from them."""
        for within in withins if drill.machines else ():
            try:
                within.machines.compare(within.proved())
            except DigestMismatch as error:
                yield f"{error.message}: a drill must not change what is held"

    def _prove(self, drill: BubbleDrill, host: Host, seen: dict[str, Any], targets: Sequence[ForbiddenTarget]) -> None:
        self._say("trying to reach production from the bubble")
        isolation = self.drivers.bubbles.prove(host, drill.id, targets)
        seen |= {"attempts": isolation.attempts, "isolated": isolation.isolated}
        self.record(drill.system, "bubble.proved", {"drill": drill.id, **isolation.model_dump(mode="json")})
        if not isolation.isolated:
            reached = [f"{each.attempt} {each.target}" for each in isolation.attempts if each.reached]
            raise GateClosed(f"the bubble is not isolated, so nothing was started in it: {', '.join(reached)}")

    def _checked(
        self, drill: BubbleDrill, within: SystemWithin, seen: dict[str, Any], checks: Sequence[CheckSeen]
    ) -> None:
        """Note what the checks of one system saw; once all passed, its measures against its objectives."""
        now, point = self.drivers.clock.now(), within.point
        wrong = [f"{each.name}: {'; '.join(each.wrong)}" for each in checks if not each.passed]
        found: dict[str, Any] = {"checks": tuple(checks)}
        if not wrong:
            verdicts = verdicts_of(within.system, begun_at=drill.begun_at, point_at=point.at, now=now)
            found |= {"operational_at": timestamp(now), "verdicts": verdicts}
            wrong = missed(verdicts, but="RPO" if drill.point_named else "")
        prefix = ""
        if within.system.name == drill.system:
            seen |= found
        else:
            prefix = f"{within.system.name}: "
            done = DrilledSystem(system=within.system.name, point=point.id, point_at=point.at, **found)
            seen["with_systems"] = (*seen.get("with_systems", ()), done)
        seen["why_not"] += tuple(f"{prefix}{each}" for each in wrong)

    def _judge_service(self, drill: BubbleDrill, withins: Sequence[SystemWithin], seen: dict[str, Any]) -> None:
        """All of them as one service, once each is back."""
        if "operational_at" in seen and all(each.operational_at for each in seen["with_systems"]):
            held = [(within.system, within.point) for within in withins]
            now = self.drivers.clock.now()
            seen["service"] = verdicts_of_service(withins[-1].system, held, begun_at=drill.begun_at, now=now)
            but = "RPO" if drill.point_named else ""
            seen["why_not"] += tuple(missed(seen["service"], "the service: ", but=but))

    def _closed(self, drill: BubbleDrill, host: Host, why: tuple[str, ...]) -> dict[str, Any]:
        """What closing it left. A clean-up that fails is told, and fails the drill."""
        self._say(f"closing the bubble on {host.name}")
        try:
            left = self.drivers.bubbles.close(host, drill.id)
            if self.at is not Side.DR:
                BroughtData(self.drivers, host).take_away()
        except OrchestratorError as error:
            return {"why_not": (*why, f"the clean-up failed: {error.message}")}
        return {"left": left, "erased_at": timestamp(self.drivers.clock.now())}

    def _host(self, system: System, side: Side) -> Host:
        """The one host at `side` that has all of it."""
        names = system.hosts_of(side)
        if len(names) > 1:
            raise DataError(
                f"{system.name} lies on several hosts at {side.told} ({', '.join(names)}), and a bubble is on one",
                hint="Nothing was opened. Let its replicas lie on one host, or make a system of what lies on each.",
            )
        return self.hosts[names.pop()]

    def _needed(self, main: System, host: Host) -> tuple[list[System], list[SystemName]]:
        """What `main` depends on, hard, in the order in which it starts; and what of it lies on other hosts."""
        needed: list[System] = []
        elsewhere: list[SystemName] = []

        def place(system: System) -> None:
            for dependency in system.depends_on:
                other = self.systems.get(dependency.system)
                if dependency.kind != "hard" or other in (None, main, *needed) or dependency.system in elsewhere:
                    continue
                if other is None or other.hosts_of(self.at) != [host.name]:
                    elsewhere.append(dependency.system)
                    continue
                place(other)
                needed.append(other)

        place(main)
        return needed, elsewhere

    def _say(self, text: str) -> None:
        self.progress(Progress(text=text))


def rules_of(systems: Sequence[System], by: Name) -> BubbleRules:
    """What holds for a bubble of all of them together; GateClosed for somebody who may not enter."""
    for system in systems:
        if system.bubble.may_enter and by not in system.bubble.may_enter:
            raise GateClosed(
                f"{by} may not enter a bubble of {system.name}, which holds {', '.join(system.data_classes)}",
                hint=f"Those who may: {', '.join(system.bubble.may_enter)}.",
            )
    entering = [set(system.bubble.may_enter) for system in systems if system.bubble.may_enter]
    return BubbleRules(
        may_enter=tuple(sorted(set.intersection(*entering))) if entering else (),
        erased_after=min(system.bubble.erased_after for system in systems),
    )


def distinct(data: Sequence[BubbleData]) -> list[BubbleData]:
    """Datasets of several systems may have one name; within a bubble each has its own."""
    names: set[str] = set()
    found = []
    for each in data:
        name = each.name
        while name in names:
            name += "-too"
        names.add(name)
        found.append(each.model_copy(update={"name": name}))
    return found
