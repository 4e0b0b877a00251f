"""What a machine shows while it starts: watched until it is up or given up, and told with console and screen."""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.contracts.bubble_machines import MachineSeen, Picture
from orchestrator.contracts.observer import Attachment
from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import DataError
from orchestrator.foundation.printable import printable
from orchestrator.model.frozen import Frozen
from orchestrator.model.machine_boot import MachineBoot
from orchestrator.model.names import DatasetName

LINES_TOLD = 5
# After these nothing more comes: waiting for the time to be over would only hide them.
DEAD_ENDS = re.compile(
    r"Kernel panic - not syncing|No bootable device|grub rescue>|ALERT!.* does not exist|[Ee]mergency (mode|shell)"
)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][0-9A-B]|\x1b[=>cM78]")


class MachineShown(Frozen):
    """What a machine showed. Digests are those of its console's end and of the picture, as both are kept."""

    dataset: DatasetName
    firmware: str
    accelerator: str
    up: bool
    seconds: float  # until it was up, or was given up
    wrong: tuple[str, ...] = ()
    last_lines: tuple[str, ...] = ()
    console: str = ""
    picture: str = ""  # "" where it had ended before one could be taken


class Watched(Frozen):
    """A machine at the moment at which it was up, or given up. `wrong` says why it does not count as up."""

    seen: MachineSeen
    wrong: tuple[str, ...]
    seconds: float


def watched(
    clock: Clock,
    boot: MachineBoot,
    look: Callable[[], MachineSeen],
    serves: Callable[[], Iterator[str]],
    *,
    every_seconds: float,
) -> Watched:
    """Look until its console says what it is to say, and `serves` finds nothing wrong any more; or no more can come."""
    begun = clock.monotonic_seconds()
    while True:
        seen = look()
        wrong = [f"it has ended: {seen.ended}"] if seen.ended else []
        if not re.search(boot.console, seen.console):
            wrong.append(f"its console does not say {boot.console!r}")
        wrong = wrong or list(serves())  # one that is on its way serves nobody yet
        seconds = clock.monotonic_seconds() - begun
        if not wrong or seen.ended or DEAD_ENDS.search(seen.console) or seconds > boot.up_within:
            return Watched(seen=seen, wrong=tuple(wrong), seconds=round(seconds, 3))
        clock.sleep(every_seconds)


def shown_of(
    dataset: DatasetName, firmware: str, accelerator: str, found: Watched, picture: Picture | None
) -> tuple[MachineShown, dict[str, Any]]:
    """What it showed; and the event that tells of it, with console and picture to be kept beside the log."""
    console = found.seen.console.encode()
    shown = MachineShown(
        dataset=dataset,
        firmware=firmware,
        accelerator=accelerator,
        up=not found.wrong,
        seconds=found.seconds,
        wrong=found.wrong,
        last_lines=last_lines(found.seen.console),
        console=_digest(console),
        picture=_digest(picture.content) if picture else "",
    )
    attached: dict[str, Any] = {"console": Attachment(content=console, media_type="text/plain")}
    if picture is not None:
        attached["picture"] = Attachment(content=picture.content, media_type=picture.media_type)
    return shown, {**shown.model_dump(mode="json"), **attached}


def last_lines(console: str) -> tuple[str, ...]:
    """The end of what a machine printed, without what a terminal would obey."""
    plain = ESCAPES.sub("", console).replace("\r", "\n")
    return tuple(printable(line.rstrip()) for line in plain.split("\n") if line.strip())[-LINES_TOLD:]


def complain_of(shown: MachineShown) -> None:
    """DataError for a machine that is not up, with what it said last."""
    if not shown.up:
        said = " / ".join(shown.last_lines) or "nothing"
        raise DataError(
            f"{shown.dataset}: the machine was not up after {shown.seconds:.0f} s: {'; '.join(shown.wrong)}; "
            f"its console said last: {said}"
        )


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
