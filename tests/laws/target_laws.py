"""The laws of contracts.target.Target: those of every target, and those of one that makes machines.

Inherit, and give the fixtures named in the class.
"""

import secrets
from collections.abc import Callable

import pytest

from orchestrator.contracts.target import Ability, Machine, Target
from orchestrator.foundation.errors import TargetError, TargetForbidden, TargetLacks
from orchestrator.model.host import Host
from orchestrator.model.system import MachineSpec

HOST = Host(name="cloud-a", site="cloud", address="10.30.1.50")
OTHER = Host(name="cloud-b", site="cloud", address="10.30.1.51")
SPEC = MachineSpec(image="plain", subnet="cloud-hosts", security_group="cloud-hosts")
TAGS = {"skerry:system": "filing", "skerry:run": "run-1", "skerry:host": "cloud-a"}


class TargetLaws:
    """Fixtures: `target`, without machines of ours; `foreign`, a function that gives the id of a machine that is not
    ours, with the given Name and address; `state_of`, what a machine is in without asking the target.
    """

    host = HOST
    other = OTHER
    spec: MachineSpec | None = SPEC

    @pytest.fixture(autouse=True)
    def _own_key(self) -> None:
        self.run = secrets.token_hex(8)  # a provider remembers keys longer than one test

    def made(self, target: Target, *, step: str = "provision") -> Machine:
        return target.ensure(self.host, self.spec, key=f"{self.run}/{step}", tags=TAGS)

    def test_a_machine_is_running_at_the_planned_address(self, target: Target) -> None:
        machine = self.made(target)
        assert machine.state == "running"
        assert machine.private_address == self.host.address

    def test_what_it_does_not_declare_it_refuses_and_changes_nothing(
        self, target: Target, state_of: Callable[[str], str]
    ) -> None:
        deeds: dict[Ability, list[Callable[[str], object]]] = {
            Ability.MAKE: [lambda _: target.ensure(self.host, SPEC, key=self.run, tags=TAGS), target.terminate],
            Ability.POWER: [target.stop, target.start],
        }
        machine = self.made(target)
        for ability in set(Ability) - target.abilities(self.host):
            for deed in deeds[ability]:
                with pytest.raises(TargetLacks, match=r"cloud-a"):
                    deed(machine.id)
        assert state_of(machine.id) == "running"
        assert target.find(self.host) == machine

    def test_asking_twice_with_one_key_makes_one_machine(self, target: Target) -> None:
        assert self.made(target).id == self.made(target).id

    def test_a_later_run_finds_the_machine_of_the_earlier_one(self, target: Target) -> None:
        assert self.made(target).id == self.made(target, step="provision-again").id

    def test_find_sees_what_ensure_made_and_nothing_else(self, target: Target) -> None:
        assert target.find(self.host) is None
        machine = self.made(target)
        found = target.find(self.host)
        assert found is not None
        assert (found.id, found.host_keys) == (machine.id, machine.host_keys)
        assert target.find(self.other) is None

    def test_tags_say_whose_it_is(self, target: Target) -> None:
        tags = self.made(target).tags
        assert {name: tags[name] for name in TAGS} == TAGS

    def test_a_foreign_machine_of_our_name_is_not_found(
        self, target: Target, foreign: Callable[[str, str], str]
    ) -> None:
        foreign(self.host.name, "10.30.1.60")
        assert target.find(self.host) is None

    def test_a_foreign_machine_is_never_touched(
        self, target: Target, foreign: Callable[[str, str], str], state_of: Callable[[str], str]
    ) -> None:
        machine = foreign(self.host.name, "10.30.1.60")
        for deed in (target.stop, target.start, target.terminate):
            with pytest.raises((TargetForbidden, TargetLacks), match=machine):
                deed(machine)
        assert state_of(machine) == "running"

    def test_the_machine_of_another_system_is_refused(self, target: Target) -> None:
        self.made(target)
        with pytest.raises(TargetForbidden, match="belongs to filing"):
            target.ensure(self.host, self.spec, key=f"{self.run}/x", tags={**TAGS, "skerry:system": "archive"})


class MachineMakerLaws(TargetLaws):
    """Of a target that declares every ability."""

    def test_it_declares_all(self, target: Target) -> None:
        assert target.abilities(self.host) == frozenset(Ability)

    def test_a_machine_that_is_made_has_host_keys(self, target: Target) -> None:
        assert [key.split()[0] for key in self.made(target).host_keys] == ["ssh-ed25519"]

    def test_an_address_that_a_foreign_machine_holds_is_refused(
        self, target: Target, foreign: Callable[[str, str], str], state_of: Callable[[str], str]
    ) -> None:
        machine = foreign("somebody", self.host.address)
        with pytest.raises(TargetError, match=r"10\.30\.1\.50"):
            self.made(target)
        assert state_of(machine) == "running"

    def test_stop_and_start_reach_their_state_and_may_be_repeated(
        self, target: Target, state_of: Callable[[str], str]
    ) -> None:
        machine = self.made(target)
        for deed, state in ((target.stop, "stopped"), (target.start, "running")):
            deed(machine.id)
            assert state_of(machine.id) == state
            deed(machine.id)
            assert state_of(machine.id) == state

    def test_ensure_starts_a_machine_that_was_stopped(self, target: Target) -> None:
        machine = self.made(target)
        target.stop(machine.id)
        again = self.made(target)
        assert (again.id, again.state) == (machine.id, "running")

    def test_terminate_may_be_repeated_and_frees_the_address(self, target: Target) -> None:
        machine = self.made(target)
        target.terminate(machine.id)
        target.terminate(machine.id)
        assert target.find(self.host) is None
        assert self.made(target, step="provision-again").id != machine.id

    def test_a_missing_machine_is_terminated_already(self, target: Target) -> None:
        target.terminate("i-0123456789abcdef0")

    def test_an_unknown_image_is_an_error_of_the_target(self, target: Target) -> None:
        with pytest.raises(TargetError, match="no-such-image"):
            target.ensure(self.host, SPEC.model_copy(update={"image": "no-such-image"}), key="k", tags=TAGS)
