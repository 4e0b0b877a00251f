"""A source, a DR site and a cloud in memory, or in one fsynced file, that obey what the real ones obey.

Clients write whenever anything happens. The world refuses what real hosts refuse (starting a fenced service, promoting
a standby that lacks writes) and writes down what must never be: two sides that could take writes, a write that was
acknowledged and is gone.
"""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.foundation.atomic_file import replace_file

SIDES = ("source", "dr", "cloud")
WRITES_PER_MOMENT = 2


class Refused(Exception):
    """What a host, a database or a store says no to."""


class SimulatedSystem:
    """One system over three sides. `state` is all there is, and is JSON."""

    def __init__(self, name: str, state: dict[str, Any]) -> None:
        self.name = name
        self.state = state

    @staticmethod
    def new() -> dict[str, Any]:
        def side(kind: str, *, serves: bool) -> dict[str, Any]:
            return {"services": serves, "fenced": False, "database": kind, "open": serves, "writes": []}

        return {
            "sides": {
                "source": side("primary", serves=True),
                "dr": side("missing", serves=False),
                "cloud": side("missing", serves=False),
            },
            "authority": {"number": 1, "side": "source", "by": ""},
            "front": "source",
            "acknowledged": [],
            "violations": [],
            "deeds": [],
            "dead": "",  # a side that nobody reaches
            "word": False,  # a person said that it is down
            "loss_accepted": False,
        }

    @staticmethod
    def before(runbook: str) -> dict[str, Any]:
        """The state in which a shipped runbook finds a system."""
        state = SimulatedSystem.new()
        sides = state["sides"]
        if runbook == "migrate":
            return state
        sides["dr"].update(database="standby", open=True)
        sides["cloud"].update(database="standby", open=True, fenced=True)
        if runbook in ("failback", "rollback"):
            sides["source"].update(services=False, fenced=True, database="standby")
            sides["cloud"].update(services=True, fenced=False, database="primary")
            state.update(authority={"number": 2, "side": "cloud", "by": "moved"}, front="cloud")
        if runbook == "failover":
            sides["source"].update(services=False)
            state.update(dead="source", word=True)
        return state

    def side(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.state["sides"][name]
        return found

    def takes_writes(self, name: str) -> bool:
        side = self.side(name)
        return bool(side["services"] and not side["fenced"] and side["database"] == "primary" and side["open"])

    def clients_write(self) -> None:
        """Clients use the front's name; what is acknowledged must never be lost."""
        for _ in range(WRITES_PER_MOMENT):
            name = self.state["front"]
            if self.takes_writes(name):
                write = len(self.state["acknowledged"])
                self.side(name)["writes"].append(write)
                self.state["acknowledged"].append(write)

    def look_for_violations(self) -> None:
        writers = [name for name in SIDES if self.takes_writes(name)]
        if len(writers) > 1:
            self.violate(f"two sides take writes: {writers}")
        for name in writers:
            if self.state["authority"]["side"] != name:
                self.violate(f"{name} takes writes without authority")

    def violate(self, what: str) -> None:
        if what not in self.state["violations"]:
            self.state["violations"].append(what)

    # ---- what can be done to it

    def replicate(self, source: str, replica: str) -> None:
        if self.side(replica)["database"] == "primary" and self.side(replica)["open"]:
            raise Refused(f"{replica} is a primary, not a replica of {source}")
        if self.side(source)["database"] == "missing":
            raise Refused(f"{source} holds nothing yet")
        self.side(replica).update(writes=list(self.side(source)["writes"]), database="standby", open=True)

    def follow(self, chain: list[str]) -> None:
        if chain[0] not in ("dr", self.state["authority"]["side"]):
            raise Refused(f"nothing follows {chain[0]}: authority is at {self.state['authority']['side']}")
        for upstream, replica in itertools.pairwise(chain):
            self.reach(upstream)
            self.reach(replica)
            side, above = self.side(replica), self.side(upstream)
            if side["database"] == "primary" and side["open"]:
                raise Refused(f"{replica} takes writes and is made no replica of {upstream}")
            if above["database"] == "missing":
                raise Refused(f"{upstream} holds nothing yet")
            held = side["writes"]
            if held != above["writes"][: len(held)] and not self.state["loss_accepted"]:
                raise Refused(f"{replica} holds writes that {upstream} never received")
            side.update(writes=list(above["writes"]), database="standby", open=True)

    def only_at(self, name: str, beside: str) -> int:
        """How many writes are at one side and not at the other."""
        return len(set(self.side(name)["writes"]) - set(self.side(beside)["writes"]))

    def reach(self, name: str) -> None:
        if name == self.state["dead"]:
            raise Refused(f"{name} cannot be reached")

    def playbook(self, playbook: str, name: str) -> None:
        self.reach(name)
        side = self.side(name)
        if playbook in ("drain", "stop"):
            side["services"] = False
        elif playbook == "fence":
            side.update(services=False, fenced=True)
        elif playbook == "unfence":
            if self.state["authority"]["side"] != name:
                raise Refused(f"{name} may not be unfenced: authority is at {self.state['authority']['side']}")
            side["fenced"] = False
        elif playbook == "start":
            if side["fenced"]:
                raise Refused(f"{name} is fenced")
            if side["database"] != "primary" or not side["open"]:
                raise Refused(f"{name}: the database takes no writes, the service does not start")
            side["services"] = True

    def digests_equal(self, names: list[str]) -> bool:
        return len({json.dumps(self.side(name)["writes"]) for name in names}) == 1

    def move_authority(self, from_side: str, to_side: str, key: str) -> dict[str, Any]:
        authority = self.state["authority"]
        if authority["side"] != to_side:
            if authority["side"] != from_side:
                raise Refused(f"authority is at {authority['side']}, not at {from_side}")
            if self.side(from_side)["services"]:
                raise Refused(f"{from_side} still serves")
            if self.side(from_side)["database"] == "primary":
                self.side(from_side)["open"] = False
            authority.update(number=authority["number"] + 1, side=to_side, by=key)
        return {"number": authority["number"], "side": to_side}

    def seize_authority(self, from_side: str, to_side: str, key: str) -> dict[str, Any]:
        if self.state["dead"] != from_side:
            return self.move_authority(from_side, to_side, key)
        authority = self.state["authority"]
        if authority["side"] != to_side:
            if not self.state["word"]:
                raise Refused(f"nobody said that {from_side} is down")
            authority.update(number=authority["number"] + 1, side=to_side, by=key)
        return {"number": authority["number"], "side": to_side}

    def promote_alone(self, name: str) -> None:
        if self.state["authority"]["side"] != name:
            raise Refused(f"{name} may not write")
        self.side(name).update(database="primary", open=True)

    def promote(self, name: str, old: str) -> None:
        if self.state["authority"]["side"] != name:
            raise Refused(f"{name} may not write")
        side = self.side(name)
        if side["database"] == "standby":
            if self.side(old)["database"] == "primary" and self.side(old)["open"]:
                self.side(old)["open"] = False
            if len(side["writes"]) < len(self.side(old)["writes"]):
                raise Refused(f"{name} lacks writes of {old}")
            side["database"] = "primary"
        side["open"] = True

    def carry_back(self, from_side: str, to_side: str) -> None:
        if self.state["authority"]["side"] != from_side:
            raise Refused(f"authority is not at {from_side}")
        if self.side(from_side)["services"]:
            raise Refused(f"{from_side} still serves")
        if self.side(from_side)["database"] == "primary":
            writes = list(self.side(from_side)["writes"])
            self.side(to_side).update(writes=writes, database="standby", open=True)
            self.side("dr").update(writes=writes, database="standby", open=True)

    def serves(self, name: str, *, through_front: bool) -> bool:
        return self.takes_writes(name) and (not through_front or self.state["front"] == name)

    def lost(self) -> list[int]:
        """Acknowledged writes that the side with authority does not hold."""
        held = set(self.side(self.state["authority"]["side"])["writes"])
        return [write for write in self.state["acknowledged"] if write not in held]


class SimulatedSite:
    """Systems, made when first looked at. With a `path`, every change is durable when `changing` ends."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._systems: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            self._systems = json.loads(path.read_text())

    @contextmanager
    def changing(self, system: str) -> Iterator[SimulatedSystem]:
        """One change of one system: clients write before and after it, and what must never be is looked for."""
        with self._lock:
            found = self.system(system)
            found.clients_write()
            yield found
            found.look_for_violations()
            found.clients_write()
            if self._path is not None:
                replace_file(self._path, json.dumps(self._systems).encode())

    def system(self, name: str) -> SimulatedSystem:
        with self._lock:
            return SimulatedSystem(name, self._systems.setdefault(name, SimulatedSystem.new()))

    def place(self, name: str, state: dict[str, Any]) -> None:
        """The system is as `state` says, before anything happens."""
        with self._lock:
            self._systems[name] = state

    def deeds(self, system: str) -> list[str]:
        """Keys of the deeds that took effect, in order."""
        return list(self.system(system).state["deeds"])

    def violations(self) -> list[str]:
        """All that must never be, over all systems."""
        found = []
        for name in sorted(self._systems):
            system = self.system(name)
            found += [f"{name}: {what}" for what in system.state["violations"]]
            found += [f"{name}: acknowledged write {write} is lost" for write in system.lost()]
        return found
