"""Programs that stand ready on hosts, by what they are for.

They are kept in this process alone and end with it. What is missing, broken or out of its depth is said by None, and
whoever asks goes the long way, which is always right and only slower.
"""

import threading
from collections.abc import Callable
from typing import Any

from orchestrator.contracts.kept_program import KeptProgram
from orchestrator.foundation.errors import HostError

Key = tuple[str, ...]


class KeptPrograms:
    """Safe for many threads; a program answers one question at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._programs: dict[Key, KeptProgram] = {}

    def begin(self, key: Key, make: Callable[[], KeptProgram]) -> str:
        """Have a program stand ready for `key`, the one that does or a new one; why not, where none does."""
        with self._lock:
            present = self._programs.get(key)
        if present is not None and present.alive:
            return ""
        self._drop(key)
        try:
            program = make()
        except HostError as error:
            return error.message
        with self._lock:
            self._programs[key] = program
        return ""

    def ask(self, key: Key, question: dict[str, Any], *, timeout_seconds: float) -> dict[str, Any] | None:
        with self._lock:
            program = self._programs.get(key)
        if program is None:
            return None
        try:
            return program.ask(question, timeout_seconds=timeout_seconds)
        except HostError:
            # It is gone, or nobody knows what it is at: it is not asked again, and the long way finds out.
            self._drop(key)
            return None

    def end(self, chosen: Callable[[Key], bool]) -> None:
        with self._lock:
            ended = [self._programs.pop(key) for key in [key for key in self._programs if chosen(key)]]
        for program in ended:
            program.close()

    def _drop(self, key: Key) -> None:
        self.end(lambda each: each == key)
