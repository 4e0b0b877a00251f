"""A desk for waves whose hosts are the simulated site: engine, ledger, approvals and gates are the product's own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.contracts.engine import RunStatus, Worker
from orchestrator.engine.worker import WorkerSettings, open_worker, refuse_second_worker
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.places import engine_database, state_database
from orchestrator.foundation.written_file import Finding
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.site import Side
from orchestrator.operations.wave_state import Whereabouts
from orchestrator.operations.wave_status import WaveDesk
from orchestrator.operations.waves import EstateWaves, plan_wave
from orchestrator.planning.gates import judge_gate
from orchestrator.planning.wave_file import parse_wave_file
from orchestrator.planning.waves import judge_waves
from orchestrator.planning.windows import facts_of_terms
from tests.fakes.handlers import Faults, SimulatedHandlers
from tests.fakes.large_estate import an_estate
from tests.fakes.simulated_site import SimulatedSite
from tests.fakes.surveys import healthy

RUNBOOK = Path(__file__).resolve().parents[2] / "runbooks" / "migrate.yml"


class ShiftedClock(SystemClock):
    """The machine's clock, but for `ahead`."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class InterruptedWorker:
    """A worker whose operator presses Ctrl-C once, when the run has come to where it was ordered."""

    def __init__(self, worker: Worker, when: Callable[[RunStatus], bool]) -> None:
        self._worker, self._when, self._pressed = worker, when, False
        self.start, self.stop = worker.start, worker.stop

    def serve(self) -> None:
        raise AssertionError("only the command worker serves")

    def await_finished(self, run: str, *, timeout_seconds: float | None = None) -> RunStatus:
        status = self._worker.await_finished(run, timeout_seconds=min(timeout_seconds or 0.02, 0.02))
        if not self._pressed and self._when(status):
            self._pressed = True
            raise KeyboardInterrupt
        return status


@dataclass
class SimulatedWaveDesk(WaveDesk):
    site: SimulatedSite = field(default_factory=SimulatedSite)
    interrupted_when: Callable[[RunStatus], bool] = lambda _status: False  # Ctrl-C, once
    faults: Faults = field(default_factory=Faults)

    @contextmanager
    def worker(self, dead_seconds: float | None = None, *, steps_aside: bool = False) -> Iterator[Worker]:
        refuse_second_worker(f"sqlite:///{state_database()}")
        with self.recorder() as recorder:
            worker = open_worker(
                f"sqlite:///{state_database()}",
                f"sqlite:///{engine_database()}",
                SimulatedHandlers(self.site, self.faults),
                recorder,
                self.observers,
                self.clock,
                judge_gate=judge_gate,
                known_of=lambda plan: facts_of_terms(plan.terms),
                settings=WorkerSettings(poll_seconds=0.02),
            )
            yield InterruptedWorker(worker, self.interrupted_when)

    def whereabouts(self, planned: SystemPlan) -> Whereabouts:
        system = self.site.system(planned.system.name)
        authority, front = system.state["authority"], system.state["front"]
        address = self.inventory.hosts[planned.system.host_of(Side(front))].address
        return Whereabouts(side=authority["side"], number=authority["number"], front=address)


def an_estate_with_keys(count: int, keys: Path) -> Inventory:
    """The estate of `an_estate` in groups of one, at addresses of their own; its persons have keys in `keys`."""
    estate = an_estate(count, group=1)
    apart = {name: system.model_copy(update={"depends_on": ()}) for name, system in estate.systems.items()}
    hosts = {
        name: host.model_copy(update={"address": f"192.0.2.{number}"})
        for number, (name, host) in enumerate(estate.hosts.items(), start=1)
    }
    people = {}
    for name, person in estate.people.items():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
        people[name] = person.model_copy(update={"keys": ((keys / f"{name}.pub").read_text().strip(),)})
    return estate.model_copy(update={"systems": apart, "hosts": hosts, "people": people})


def waves_of(text: str, estate: Inventory) -> EstateWaves:
    findings: list[Finding] = []
    file = parse_wave_file(text.encode(), "waves.yml", findings)
    program = judge_waves(file, estate, findings) if file is not None else None
    assert file is not None, findings
    assert program is not None, findings
    return EstateWaves(file, program)


def approved_plan(desk: WaveDesk, waves: EstateWaves, wave: str, keys: Path) -> Plan:
    """The plan of `wave`, made by ben and approved by ana."""
    facts = healthy(desk.inventory)
    plan = plan_wave(desk, waves, wave, runbook_file=RUNBOOK, author="ben", facts=facts, inputs={"watch": "0s"})
    desk.approve(plan, person="ana", role="system-owner", key_file=str(keys / "ana"))
    return plan


def wave_desk_fixtures(systems: int):
    """The fixtures `keys`, `estate` and `desk` of a test file, to be bound to these names in it."""

    @pytest.fixture(scope="module")
    def keys(tmp_path_factory):
        return tmp_path_factory.mktemp("keys")

    @pytest.fixture(scope="module")
    def estate(keys):
        return an_estate_with_keys(systems, keys)

    @pytest.fixture
    def desk(estate, tmp_path, monkeypatch):
        monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
        found = SimulatedWaveDesk(estate, clock=ShiftedClock())
        yield found
        found.close()

    return keys, estate, desk
