"""The crash matrix as text: a table for each runbook, and the document of what was tried on hosts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean

from tests.crash.matrix_cells import NO_CELLS, Case
from tests.crash.matrix_kept import Tried

HEAD = """# The crash matrix on hosts

Written by `make crash-matrix REAL=1 DOCUMENT=docs/crash_matrix.md`; do not edit. A cell is one boundary of a shipped
runbook × a trouble × {go on, roll back}, on a lab with real SSH, real databases and clients at work. It passes when the
run ended in a state that is allowed, exactly one side has authority and serves, no acknowledged write is lost, and the
evidence verifies. The same cells are tried on the simulated site in every `make test`.

A fault of a host or a site is one of the lab's. A kill is SIGKILL. Where the worker's disk is full, the system takes no
further byte of a file from it (a limit of the process). A deed out of time is told so, whether it was done or not.

The runbooks are those that are shipped, but what failed is tried again after a second. Clients file four times a
second. What came of each cell is kept in `.crash-matrix/on_hosts.jsonl`; the command, given again, tries what has not
passed yet, and `ANEW=1` begins anew. `CELLS="failback cutover:drain"` tries some, `LABS=4` on four labs at once.
"""


def table_of(runbook: str, outcomes: Mapping[Case, str]) -> str:
    """Of those cells that are its own; a cell that was not tried is a dash."""
    rows: dict[str, dict[str, str]] = {}
    for case, problem in outcomes.items():
        if case.runbook == runbook:
            rows.setdefault(case.name, {})[case.column] = "FAIL" if problem else "ok"
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    width = max((len(name) for name in rows), default=0)
    return "\n".join(
        [
            runbook,
            *(f"  {number:>2}  {column}" for number, column in enumerate(columns, 1)),
            " " * width + "".join(f"{number:>5}" for number in range(1, len(columns) + 1)),
            *(
                name.ljust(width) + "".join(f"{row.get(column, '-'):>5}" for column in columns)
                for name, row in rows.items()
            ),
        ]
    )


def document_of(listed: Sequence[Case], known: Mapping[str, Tried]) -> str:
    """All that is known of the cells that are listed: counts, failures, tables, and how long all of it takes."""
    tried = {case: known[str(case)] for case in listed if str(case) in known}
    failed = [f"* {case}: {found.problem}" for case, found in tried.items() if found.problem]
    commits = Counter(found.commit for found in tried.values())
    seconds = mean(found.seconds for found in tried.values()) if tried else 0.0
    said = [
        f"{len(tried)} of {len(listed)} cells were tried, {len(failed)} failed.",
        f"Commits, with cells: {', '.join(f'{commit} ({count})' for commit, count in commits.items())}.",
        f"A cell took {seconds:.0f} s in the mean; all of them take {seconds * len(listed) / 3600:.0f} h on one lab.",
    ]
    left_out = ["No cells, by their nature:", "\n".join(f"* {each}: {why}" for each, why in NO_CELLS.items())]
    tables = [
        f"```text\n{table_of(runbook, {case: found.problem for case, found in tried.items()})}\n```"
        for runbook in sorted({case.runbook for case in tried})
    ]
    failures = ["What failed:", "\n".join(failed)] if failed else []
    return "\n\n".join([HEAD.rstrip(), "\n".join(said), *left_out, *failures, *tables]) + "\n"
