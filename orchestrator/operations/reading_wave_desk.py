"""The reading desk of waves: apart, for what waves need takes longer to import than a plan takes to show."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.operations.reading_desk import ReadingDesk
from orchestrator.operations.wave_status import WaveDesk
from orchestrator.wiring.workshop import open_workshop


class ReadingWaveDesk(ReadingDesk, WaveDesk):
    """Shows waves, and changes nothing."""


@contextmanager
def open_reading_wave_desk(folder: Path) -> Iterator[ReadingWaveDesk]:
    """The reading desk of the inventory in `folder`, for its waves."""
    with open_workshop(folder, kind=ReadingWaveDesk) as desk:
        yield desk
