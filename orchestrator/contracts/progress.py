"""How far a long deed has come."""

from collections.abc import Callable

from orchestrator.model.frozen import Frozen


class Progress(Frozen):
    """A moment of a transfer, for people; never evidence."""

    dataset: str = ""
    text: str = ""
    bytes_done: int = 0
    bytes_total: int = 0  # 0: not known
    bytes_per_second: float = 0.0


ProgressSink = Callable[[Progress], None]
