"""Laws of contracts.bubble_machines.BubbleMachines."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from orchestrator.contracts.bubble_machines import BubbleMachine, BubbleMachines
from orchestrator.foundation.errors import DataError
from orchestrator.model.host import Host

UP_SECONDS_MAX = 120.0


@dataclass
class Ground:
    """A bubble `bubble` is open on `host`, with the image of `machine`; it says `words` once it is up."""

    machines: BubbleMachines
    host: Host
    bubble: str
    machine: BubbleMachine
    unfit: BubbleMachine  # nothing starts from its image
    words: str
    greeting_port: int
    close: Callable[[], object]

    def boot(self) -> None:
        self.machines.boot(self.host, self.bubble, self.machine)

    def up(self) -> str:
        """Booted, and its console once it has said what it says."""
        self.boot()
        deadline = time.monotonic() + UP_SECONDS_MAX
        while self.words not in (seen := self.machines.look(self.host, self.bubble, self.machine.name)).console:
            assert time.monotonic() < deadline, seen
            assert seen.ended == "", seen
            time.sleep(0.2)
        return seen.console


class BubbleMachinesLaws:
    """Inherit, and provide the fixture `ground`."""

    def test_a_machine_comes_up_and_shows_its_screen(self, ground: Ground) -> None:
        assert ground.words in ground.up()
        picture = ground.machines.picture(ground.host, ground.bubble, ground.machine.name)
        assert picture.media_type == "image/png"
        assert picture.content.startswith(b"\x89PNG\r\n\x1a\n")
        assert ground.machines.greeting(ground.host, ground.bubble, ground.greeting_port).startswith("welcome")
        assert ground.machines.greeting(ground.host, ground.bubble, 9) == ""

    def test_a_machine_that_runs_is_not_started_again(self, ground: Ground) -> None:
        ground.boot()
        with pytest.raises(DataError, match="runs already"):
            ground.boot()

    def test_what_nothing_starts_from_is_refused(self, ground: Ground) -> None:
        with pytest.raises(DataError, match="no machine starts from it"):
            ground.machines.boot(ground.host, ground.bubble, ground.unfit)

    def test_a_machine_that_was_never_started_shows_nothing(self, ground: Ground) -> None:
        for ask in (ground.machines.look, ground.machines.picture):
            with pytest.raises(DataError, match="no machine was started"):
                ask(ground.host, ground.bubble, ground.machine.name)

    def test_a_machine_ends_with_its_bubble(self, ground: Ground) -> None:
        ground.up()
        ground.close()
        with pytest.raises(DataError):
            ground.machines.look(ground.host, ground.bubble, ground.machine.name)
