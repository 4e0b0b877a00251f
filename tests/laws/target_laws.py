"""The laws of contracts.target.Target. Inherit, and give the fixtures named in the class."""

import secrets
from collections.abc import Callable

import pytest

from orchestrator.contracts.target import Machine, Target
from orchestrator.foundation.errors import TargetError, TargetForbidden
from orchestrator.model.host import Host
from orchestrator.model.system import MachineSpec

HOST = Host(name="cloud-a", site="cloud", address="10.30.1.50")
OTHER = Host(name="cloud-b", site="cloud", address="10.30.1.51")
SPEC = MachineSpec(image="plain", subnet="cloud-hosts", security_group="cloud-hosts")
TAGS = {"skerry:system": "filing", "skerry:run": "run-1", "skerry:host": "cloud-a"}


class TargetLaws:
    """Fixtures: `target`, without machines of ours; `foreign`, a function that starts a machine that is not ours, with
    the given Name and address, and returns its id; `state_of`, the provider's own word on a machine.
    """

    @pytest.fixture(autouse=True)
    def _own_key(self) -> None:
        self.run = secrets.token_hex(8)  # a provider remembers keys longer than one test

    def made(self, target: Target, *, step: str = "provision") -> Machine:
        return target.ensure(HOST, SPEC, key=f"{self.run}/{step}", tags=TAGS)

    def test_a_machine_is_running_at_the_planned_address_with_its_host_keys(self, target: Target) -> None:
        machine = self.made(target)
        assert machine.state == "running"
        assert machine.private_address == HOST.address
        assert [key.split()[0] for key in machine.host_keys] == ["ssh-ed25519"]

    def test_asking_twice_with_one_key_makes_one_machine(self, target: Target) -> None:
        assert self.made(target).id == self.made(target).id

    def test_a_later_run_finds_the_machine_of_the_earlier_one(self, target: Target) -> None:
        assert self.made(target).id == self.made(target, step="provision-again").id

    def test_find_sees_what_ensure_made_and_nothing_else(self, target: Target) -> None:
        assert target.find(HOST) is None
        machine = self.made(target)
        found = target.find(HOST)
        assert found is not None
        assert (found.id, found.host_keys) == (machine.id, machine.host_keys)
        assert target.find(OTHER) is None

    def test_tags_say_whose_it_is(self, target: Target) -> None:
        tags = self.made(target).tags
        assert {name: tags[name] for name in TAGS} == TAGS

    def test_a_foreign_machine_of_our_name_is_not_found(
        self, target: Target, foreign: Callable[[str, str], str]
    ) -> None:
        foreign(HOST.name, "10.30.1.60")
        assert target.find(HOST) is None

    def test_a_foreign_machine_is_never_touched(
        self, target: Target, foreign: Callable[[str, str], str], state_of: Callable[[str], str]
    ) -> None:
        machine = foreign(HOST.name, "10.30.1.60")
        for deed in (target.stop, target.start, target.terminate):
            with pytest.raises(TargetForbidden, match=machine):
                deed(machine)
        assert state_of(machine) == "running"

    def test_an_address_that_a_foreign_machine_holds_is_refused(
        self, target: Target, foreign: Callable[[str, str], str], state_of: Callable[[str], str]
    ) -> None:
        machine = foreign("somebody", HOST.address)
        with pytest.raises(TargetError, match=r"10\.30\.1\.50"):
            self.made(target)
        assert state_of(machine) == "running"

    def test_the_machine_of_another_system_is_refused(self, target: Target) -> None:
        self.made(target)
        with pytest.raises(TargetForbidden, match="belongs to filing"):
            target.ensure(HOST, SPEC, key=f"{self.run}/x", tags={**TAGS, "skerry:system": "archive"})

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
        assert target.find(HOST) is None
        assert self.made(target, step="provision-again").id != machine.id

    def test_a_missing_machine_is_terminated_already(self, target: Target) -> None:
        target.terminate("i-0123456789abcdef0")

    def test_an_unknown_image_is_an_error_of_the_target(self, target: Target) -> None:
        with pytest.raises(TargetError, match="no-such-image"):
            target.ensure(HOST, SPEC.model_copy(update={"image": "no-such-image"}), key="k", tags=TAGS)
