"""Trouble at any place: every call of a fake is two places, one before it took effect and one after."""

import threading
from collections.abc import Callable
from typing import Any

from tests.fakes.handlers import SimulatedCrash
from tests.fakes.points import FakePoints
from tests.fakes.transport import FakeTransport


class Interruption:
    """Counts places from the last `arm` on. At the ordered one the process dies, and stays dead until armed again;
    or, where an error was ordered, that one call raises it and life goes on.
    """

    def __init__(self) -> None:
        self.places = 0
        self.on_place: Callable[[str], None] = lambda _name: None
        # The call that was about to be made at the last place: what was sent before a process died may yet arrive.
        self.call: tuple[str, Callable[[], Any]] = ("", lambda: None)
        self._at = 0
        self._error: Exception | None = None
        self._dead = False
        self._one_at_a_time = threading.RLock()

    def arm(self, at: int = 0, error: Exception | None = None) -> None:
        """Order trouble at place `at`, counted from now; 0 orders none."""
        self.places, self._at, self._error, self._dead = 0, at, error, False

    def place(self, name: str) -> None:
        with self._one_at_a_time:
            if self._dead:
                raise SimulatedCrash
            self.places += 1
            if self.places == self._at:
                if self._error is not None:
                    raise self._error
                self._dead = True
                raise SimulatedCrash
            self.on_place(name)


class Interrupted:
    """A fake whose every call may be where trouble comes."""

    def __init__(self, inner: Any, interruption: Interruption) -> None:
        self._inner = inner
        self._interruption = interruption

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._watched(name, found) if callable(found) else found

    def __call__(self, *arguments: Any) -> Any:
        return self._wrapped(self._inner(*arguments))

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            self._interruption.call = (name, lambda: call(*arguments, **named))
            self._interruption.place(f"{name}:before")
            value = call(*arguments, **named)
            self._interruption.place(f"{name}:after")
            return self._wrapped(value)

        return watched

    def _wrapped(self, value: Any) -> Any:
        """Stores and transports that a fake hands out may be interrupted as well."""
        if isinstance(value, FakePoints | FakeTransport):
            return Interrupted(value, self._interruption)
        return value
