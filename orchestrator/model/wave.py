"""Waves: groups of systems that move together, in an order, within windows, and what a wave's plan promises of them."""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Digest, HostName, Name, Seconds, SiteName, SystemName
from orchestrator.model.step import Criterion, Gate

LinkName = Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")]  # source site/replica site
GateName = Literal["G0", "G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8"]
Count = Annotated[int, Field(ge=0, le=100_000)]


class Period(Frozen):
    """From `start` to just before `end`, RFC 3339 UTC. `time_zone` is the one people meant."""

    start: str
    end: str
    time_zone: str = "UTC"


class Freeze(Frozen):
    """A time in which nothing is changed, for `systems`, or for all where none is named."""

    name: Name
    period: Period
    because: str
    systems: tuple[SystemName, ...] = ()


class WaveLimits(Frozen):
    """How many systems may be under way at once at one site, host or link. 0: as many as there are.

    What is named in `sites`, `hosts` or `links` has a limit of its own.
    """

    per_site: Count = 0
    per_host: Count = 0
    per_link: Count = 0
    sites: dict[SiteName, Count] = {}
    hosts: dict[HostName, Count] = {}
    links: dict[LinkName, Count] = {}


class WaveGate(Frozen):
    """A gate before a wave begins, or after its soak: what must be observed, and who decides.

    A criterion's `step` names what it is observed by: `said` (whoever decides says the value), `plan`, `window`,
    `drill`, `previous`, `members`, `soak`, `scope`, `release` or `replica`.
    """

    id: GateName
    title: str = ""
    persons_min: int = Field(default=1, ge=1, le=9)
    roles: tuple[Name, ...] = ("system-owner",)
    valid_for: Seconds = 7 * 86400.0
    criteria: tuple[Criterion, ...] = ()

    @property
    def as_gate(self) -> Gate:
        return Gate(id=self.id, title=self.title, criteria=self.criteria)


class WaveTerms(Frozen):
    """What a wave's plan is bound to beside its steps. Part of the plan's digest: whoever approves it approves this.

    `rollback_seconds` is the time that a way back takes at worst, `reserve_seconds` what is kept beside it: nothing
    is interrupted, and no client is sent anywhere, once less than both is left of the window.
    """

    position: int  # in the order of waves, from 0
    before: Name | None = None  # the wave that must have passed its soak
    window: Period | None = None
    freezes: tuple[Freeze, ...] = ()  # those that concern its systems and have not ended when it was planned
    soak_seconds: float = 0.0
    rollback_seconds: float = 0.0
    reserve_seconds: float = 0.0
    limits: WaveLimits = WaveLimits()
    entry: tuple[WaveGate, ...] = ()
    exit: tuple[WaveGate, ...] = ()
    retire: tuple[WaveGate, ...] = ()  # before the old side is given up

    @property
    def gates(self) -> tuple[WaveGate, ...]:
        """All that persons decide at, in their order."""
        return (*self.entry, *self.exit, *self.retire)

    def gate(self, gate_id: str) -> WaveGate | None:
        return next((gate for gate in self.gates if gate.id == gate_id), None)


class GateWord(Frozen):
    """A person's decision at a gate of one plan's wave, with the values that it was taken on."""

    plan: Digest
    wave: Name
    gate: GateName
    person: Name
    role: Name
    decision: Literal["go", "no_go"]
    said: dict[str, str | int | float | bool] = {}  # what the person observed, by the criterion's key
    comment: str = ""
    at: str
    expires_at: str
    nonce: str


class Waiver(Frozen):
    """A person's word that a member, or the soak of the whole wave (no `system`), is gone without. It is no pass."""

    plan: Digest
    wave: Name
    system: SystemName | None = None
    person: Name
    role: Name
    because: str
    at: str
    expires_at: str
    nonce: str


class SkippedGate(Frozen):
    """A gate that a person went round. It never counts as passed."""

    plan: Digest
    wave: Name
    gate: GateName
    person: Name
    because: str
    at: str


class SignedWaveWord(Frozen):
    """A gate word or a waiver in its signed envelope."""

    word: GateWord | Waiver
    envelope: str
    key_fingerprint: str
