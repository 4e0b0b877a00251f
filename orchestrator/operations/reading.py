"""Reading: what is stored of runs and plans, as the documents that --json prints, at once, however much there is.

Nothing here imports the nouns, an engine or a vendor before it is needed: that alone would take longer than reading.
"""

import errno
import os
from typing import Any

from orchestrator.contracts.reading import StateReader
from orchestrator.engine.plain_reader import PlainReader, bring_up_to_date
from orchestrator.foundation.database_name import named_database
from orchestrator.foundation.errors import UsageError
from orchestrator.foundation.places import state_database


def open_reader() -> StateReader:
    """The stored state: of the shared database, or of this home. A store of an older skerry is brought up to date."""
    if named_database():
        from orchestrator.engine.server_reader import ServerReader  # noqa: PLC0415 SQLAlchemy, only where it is needed
        from orchestrator.wiring.state import state_url  # noqa: PLC0415 likewise

        return ServerReader(state_url())
    place = state_database()
    if place.parent.exists() and not place.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place.parent))
    reader = PlainReader(place)
    if not reader.is_current:
        bring_up_to_date(place)
    return reader


def run_documents(*, limit: int) -> list[dict[str, Any]]:
    """The newest runs, newest first, as RunStatus without steps."""
    return open_reader().runs(limit=limit)


def run_document(named: str) -> dict[str, Any]:
    """The run whose id is, or begins with, `named`, as RunStatus. Raises UsageError for none or several."""
    reader = open_reader()
    found = reader.run_ids(named) if named else []
    if len(found) > 1 and named not in found:
        raise UsageError(f"more than one run begins with {named}", hint="Give more of the id: skerry runs list")
    return reader.run(found[0] if found and named not in found else named)


def dated_run_document(named: str) -> dict[str, Any]:
    """The same, with `due` of each system: what it has to have passed by when, or null."""
    from orchestrator.operations.deadlines import with_deadlines  # noqa: PLC0415 only where it is shown

    run = run_document(named)
    return with_deadlines(run, lambda: open_reader().plan_of(run["run"]))


def plan_summaries(*, limit: int) -> list[dict[str, Any]]:
    """The newest plans, newest first, each in a few words."""
    return open_reader().plans(limit=limit)
