"""One line below what scrolls by: what is under way, how much of it, how fast, how long to go. On a terminal alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from orchestrator.cli.live import progress_text
from orchestrator.cli.unhurried import unhurried_output
from orchestrator.contracts.progress import Progress


@contextmanager
def under_way(screen: Console, *, shown: bool) -> Iterator[Callable[[str, Progress], None]]:
    """Gives what takes (of what, how far it is); the line goes afterwards. In a pipe, or unasked, nothing is said.

    What is printed while inside waits for no reader: what is under way must not stand still for one.
    """
    with unhurried_output(as_json=not shown):
        if not (shown and screen.is_terminal):
            yield lambda name, progress: None
            return
        with screen.status("looking at the hosts") as status:
            yield lambda name, progress: status.update(Text(f"{name}  {progress_text(progress)}".strip()))
