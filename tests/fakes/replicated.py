"""Replication of the fake world's one system: rounds, points and verifications, over a store in a file."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.engine.store import Store, open_store
from orchestrator.model.inventory import Inventory
from orchestrator.model.replication import ReplicationPolicy, Round
from orchestrator.model.retention import RetentionPolicy
from orchestrator.model.site import Side, Site
from orchestrator.operations.points import Points
from orchestrator.operations.replication import Override, Replication
from orchestrator.operations.verify import Verifier
from orchestrator.steps.handlers import handlers_over
from tests.fakes.drivers import HOSTS, SYSTEM, FakeWorld
from tests.fakes.plans import DIGEST


def an_inventory(policy: ReplicationPolicy | None = None) -> Inventory:
    return Inventory(
        sites={side.value: Site(name=side.value, side=side) for side in Side},
        hosts=HOSTS,
        systems={SYSTEM.name: SYSTEM},
        replication=policy or ReplicationPolicy(retention=RetentionPolicy(last=3, daily=0, weekly=0, monthly=0)),
        digest=DIGEST,
    )


class Replicated:
    """`events` is what was put on record, in order: (system, kind, data)."""

    def __init__(self, folder: Path, policy: ReplicationPolicy | None = None) -> None:
        self.world = FakeWorld()
        self.store: Store = open_store(f"sqlite:///{folder}/state.db", clock=self.world.clock)
        self.inventory = an_inventory(policy)
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.replication = Replication(
            self.inventory,
            self.world.drivers,
            handlers_over(self.world.drivers),
            self.store.runs,
            self.store.replication,
            self.record,
        )
        self.points = Points(
            self.inventory, self.world.drivers, self.store.runs, self.store.replication, self.record
        )
        self.verifier = Verifier(self.inventory, self.world.drivers, self.record)

    def record(self, system: str, kind: str, data: dict[str, Any]) -> None:
        self.world.interruption.place(f"{kind}:before")
        self.events.append((system, kind, data))
        self.world.interruption.place(f"{kind}:after")

    def round(self, **override: Any) -> Round:
        """A round, and a minute later."""
        done = self.replication.round(SYSTEM.name, by="ops", override=Override(**override) if override else None)
        self.pass_time(60)
        return done

    def pass_time(self, seconds: float) -> None:
        self.world.clock.pass_time(timedelta(seconds=seconds))

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.events]
