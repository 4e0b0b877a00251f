"""What happens during a run, as one stream that evidence, console and dashboard watch."""

from typing import Any

from orchestrator.model.frozen import Frozen


class RunEvent(Frozen):
    """One thing that happened. `type` is `<noun>.<verb>`, such as step.started.

    Evidence keeps all of them; progress is not an event (see contracts.observer.Progress).
    """

    type: str
    run: str
    system: str = ""
    step: str = ""
    attempt: int = 0
    at: str  # RFC 3339 UTC, milliseconds
    data: dict[str, Any] = {}
