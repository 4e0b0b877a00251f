"""The faults a lab can have: what each is called, what it needs, and how words become one.

A fault is a condition that lasts until it is healed. Putting the same fault twice leaves one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.foundation.errors import LabError, UsageError
from orchestrator.lab.blueprint import SITE_OCTETS


@dataclass(frozen=True)
class FaultKind:
    """One row of the table below. `arguments` follow the fault's name; `amount` is the unit of a number after them."""

    arguments: tuple[str, ...]
    meaning: str
    amount: str = ""
    amount_default: float | None = None  # None: the amount must be given
    on_loopback: bool = False


FAULT_KINDS: dict[str, FaultKind] = {
    "partition": FaultKind(("site", "site"), "the two sites do not reach each other; the controller reaches both"),
    "loss": FaultKind(("site", "site"), "packets between the two sites are lost", "permille"),
    "rate": FaultKind(("site", "site"), "the line between the two sites is slow", "megabit per second"),
    "site-rate": FaultKind(("site",), "everything into and out of a site is slow", "megabit per second"),
    "latency": FaultKind(("site",), "packets into and out of a site are late", "milliseconds each way"),
    "cut-cable": FaultKind(("host",), "the host's network cable is pulled"),
    "power-off": FaultKind(("host",), "the host's power is cut", on_loopback=True),
    "freeze": FaultKind(("host",), "every process of the host stands still", on_loopback=True),
    "disk-full": FaultKind(("host", "path"), "the file system at the path has no free byte", "mebibyte left free", 0),
    "read-only": FaultKind(("host", "path"), "the file system at the path takes no writes"),
    "no-ssh": FaultKind(("host",), "the host's SSH service is not running", on_loopback=True),
    "stop-unit": FaultKind(("host", "unit"), "the processes of a unit stand still (SIGSTOP)", on_loopback=True),
}


@dataclass(frozen=True)
class Fault:
    """One fault. `where` follows the kind's arguments; pairs of sites mean the same in either order."""

    kind: str
    where: tuple[str, ...]
    amount: float = 0.0

    def __post_init__(self) -> None:
        known = FAULT_KINDS.get(self.kind)
        if known is None:
            raise UsageError(f"no fault is called {self.kind!r}; there are {', '.join(FAULT_KINDS)}")
        if len(self.where) != len(known.arguments):
            raise UsageError(f"{self.kind} needs {' '.join(known.arguments).upper()}, not {' '.join(self.where)!r}")
        for name, value in zip(known.arguments, self.where, strict=True):
            if name == "site" and value not in SITE_OCTETS:
                raise UsageError(f"{self.kind}: no site {value!r} in the lab; there are {', '.join(SITE_OCTETS)}")
            if name == "path" and not value.startswith("/"):
                raise UsageError(f"{self.kind}: {value!r} must be an absolute path")
        if known.arguments == ("site", "site"):
            if self.where[0] == self.where[1]:
                raise UsageError(f"{self.kind} needs two different sites")
            object.__setattr__(self, "where", tuple(sorted(self.where)))
        if self.amount < 0 or (known.amount and known.amount_default is None and self.amount == 0):
            raise UsageError(f"{self.kind} needs an amount above 0, in {known.amount}")

    @property
    def name(self) -> str:
        """What the fault is called in status and when it is healed; without the amount, which may be put anew."""
        return " ".join((self.kind, *self.where))

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "where": list(self.where), "amount": self.amount}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Fault":
        return Fault(value["kind"], tuple(value["where"]), value["amount"])


def parse_fault(words: Sequence[str]) -> Fault:
    """A fault from words as an operator types them: `partition onprem dr`, `loss onprem dr 20`, `freeze dr-a`."""
    if not words or words[0] not in FAULT_KINDS:
        raise UsageError(f"name a fault: {', '.join(FAULT_KINDS)}")
    known = FAULT_KINDS[words[0]]
    count = len(known.arguments)
    where, rest = tuple(words[1 : 1 + count]), words[1 + count :]
    if not rest:
        return Fault(words[0], where, known.amount_default or 0.0)
    if len(rest) > 1 or not known.amount:
        raise UsageError(f"{words[0]} takes no {rest[-1]!r}")
    try:
        return Fault(words[0], where, float(rest[0]))
    except ValueError:
        raise UsageError(f"{words[0]}: {rest[0]!r} is no number ({known.amount})") from None


def must_be_possible(fault: Fault, kind: str) -> None:
    """Raise LabError where a lab of this kind cannot have the fault."""
    if kind == "loopback" and not FAULT_KINDS[fault.kind].on_loopback:
        possible = ", ".join(name for name, row in FAULT_KINDS.items() if row.on_loopback)
        raise LabError(
            f"a loopback lab has no network and no file systems of its own, so it cannot have {fault.kind!r}",
            hint=f"Possible here: {possible}. The others need a machine that allows user namespaces.",
        )
