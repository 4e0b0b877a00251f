"""How much of a link transfers may take at this moment."""

from collections.abc import Callable

from orchestrator.model.frozen import Frozen


class Allowance(Frozen):
    """What holds now: `None` bytes per second is no limit. `seconds_left`: until another allowance holds; None: never.

    The limit is for all transfers together, so limited ones take turns. One that crosses the moment at which the
    allowance changes is stopped there and resumed under the new one.
    """

    bytes_per_second: int | None = None
    seconds_left: float | None = None


Bandwidth = Callable[[], Allowance]


def unlimited() -> Allowance:
    """Whatever the link can carry, at all times."""
    return Allowance()


def within(allowance: Allowance, bytes_per_second_max: int | None) -> Allowance:
    """What the hour allows, and never more than that."""
    limits = [limit for limit in (allowance.bytes_per_second, bytes_per_second_max) if limit is not None]
    return allowance.model_copy(update={"bytes_per_second": min(limits, default=None)})
