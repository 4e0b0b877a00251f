"""In what order cells are tried where all of them take days: whoever stops has seen a fair sample."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from tests.crash.matrix_cells import Case

STRIDE = 9  # columns from one runbook to the next: that is another trouble, and the other way


def spread(cells: Sequence[Case]) -> list[Case]:
    """The same cells, and always in the same order.

    No trouble of a runbook in one way comes a second time before every other one came once. Meanwhile runbooks take
    turns, each with another trouble. Which step comes first is as by lot.
    """
    runbooks = list(dict.fromkeys(case.runbook for case in cells))
    columns = list(dict.fromkeys(case.column for case in cells))
    seen: Counter[tuple[str, str]] = Counter()
    places: dict[Case, tuple[int, int, int]] = {}
    for case in sorted(cells, key=lambda case: sha256(str(case).encode()).digest()):
        runbook = runbooks.index(case.runbook)
        turn = (columns.index(case.column) - runbook * STRIDE) % len(columns)
        places[case] = (seen[case.runbook, case.column], turn, runbook)
        seen[case.runbook, case.column] += 1
    return sorted(cells, key=places.__getitem__)
