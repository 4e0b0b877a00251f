"""The adapter to the durable engine, DBOS, and the only module that knows it.

The engine keeps which system runs there are, who carries each, and sees to it that a run whose worker died is carried
again. What happened within a run (turns, steps, requests, what people see) is ours: the engine's own records may be
lost without loss. Its sharp edges, and how each is blunted, stand in docs/adr/0001-engine.md.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID

from orchestrator.engine.actor import Turns, run_system
from orchestrator.engine.database import postgres_url
from orchestrator.engine.reducer import Reducer
from orchestrator.foundation.errors import EngineUnavailable, OrchestratorError

# A run is taken up again only by an engine of the same version: raised only when old runs cannot be read any more.
APPLICATION_VERSION = "skerry-runs/1"
SYSTEM_RUN = "skerry.system_run.v1"
QUEUE = "systems"
# A system that waits for a person keeps its place; this bounds memory, not the load on sites.
SYSTEMS_MAX = 5000
QUEUE_POLL_SECONDS = 0.25
TAKEN_UP_POLL_SECONDS = 0.5  # each look costs an idle worker half a percent of a core
QUEUE_THREADS = "queue-worker-"  # how the library names them
QUEUE_THREADS_SECONDS_MAX = 5.0

# Gives the reducer and the live turns of one system's run, for as long as it is carried here.
OpenTurns = Callable[[str, str], AbstractAsyncContextManager[tuple[Reducer, Turns]]]


class DurableEngine:
    """Carries system runs durably. One per process, for the library keeps one instance per process.

    Fails with EngineUnavailable.
    """

    present: ClassVar["DurableEngine | None"] = None

    def __init__(
        self, url: str, *, executor: str, open_turns: OpenTurns, halt: Callable[[BaseException], None]
    ) -> None:
        self._url = url
        self._executor = executor
        self._open_turns = open_turns
        self._halt = halt
        self._library: DBOS | None = None

    def launch(self) -> None:
        """Begin, and take up again what this executor left behind."""
        if DurableEngine.present is not None:
            raise EngineUnavailable("this process carries an engine already", hint="Use one worker per process.")
        DurableEngine.present = self
        _quiet_its_logger()
        config = DBOSConfig(
            name="skerry",
            system_database_url=_with_driver(self._url),
            application_version=APPLICATION_VERSION,
            executor_id=self._executor,
            serializer=DBOSPortableJSONSerializer(),
            log_level="ERROR",
            # We await no notifications; the interval only says how soon the thread sees that it should end.
            notification_listener_polling_interval_sec=0.2,
        )
        if self._url.startswith("sqlite"):
            config["system_database_engine"] = _sqlite_engine(self._url)
        try:
            self._launch(config)
            if DBOS.retrieve_queue(QUEUE) is None:
                # The library looks for new queues once a second, but takes up those it finds at launch at once.
                self._register_queue()
                self._end_library()
                if "system_database_engine" in config:
                    config["system_database_engine"] = _sqlite_engine(self._url)
                self._launch(config)
            self._register_queue()
        except Exception as error:
            DurableEngine.present = None
            raise EngineUnavailable(f"the durable engine does not start: {error}") from error

    def _launch(self, config: DBOSConfig) -> None:
        library = self._library = DBOS(config=config)
        # Runs that are taken up again pass through this queue, which it looks into once a second otherwise.
        library._registry.get_internal_queue()._polling_interval_sec = TAKEN_UP_POLL_SECONDS  # noqa: SLF001
        DBOS.launch()

    def _register_queue(self) -> None:
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=SYSTEMS_MAX,
            polling_interval_sec=QUEUE_POLL_SECONDS,
            on_conflict="always_update",
        )

    def enqueue(self, run: str, system: str) -> None:
        """Hand a system's run to the engine; twice is once."""
        with _engine_errors(), SetWorkflowID(f"{run}:{system}"):
            DBOS.enqueue_workflow(QUEUE, _system_run, run, system)

    def owners_of_pending(self) -> set[str]:
        """Executors that own runs under way."""
        with _engine_errors():
            pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        return {str(found.executor_id) for found in pending}

    def take_over(self, executor: str) -> int:
        """Take up the runs of an executor that is dead; how many. Harmless when two do it at once."""
        with _engine_errors():
            # Not public; its contract is held by tests, and the library's version is pinned.
            return len(DBOS._recover_pending_workflows([executor]))  # noqa: SLF001

    def stop(self) -> None:
        """End. Runs under way stay pending, for whoever launches next."""
        if DurableEngine.present is not self:
            return
        DurableEngine.present = None
        self._end_library()

    def _end_library(self) -> None:
        """The threads that look into its queues end first: it would close the event loop that they hand work to."""
        if self._library is not None:
            for event in self._library.background_thread_stop_events:
                event.set()
        # One that is just being started counts too, and cannot be joined yet.
        deadline = time.monotonic() + QUEUE_THREADS_SECONDS_MAX
        while any(thread.name.startswith(QUEUE_THREADS) for thread in threading.enumerate()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        self._library = None
        DBOS.destroy()

    async def carry(self, run: str, system: str) -> str:
        try:
            async with self._open_turns(run, system) as (reducer, turns):
                state = await run_system(reducer, turns)
        # What breaks here is no failed step, and must not end the run in the engine's books: halt and leave it pending.
        except Exception as error:
            halted = error if isinstance(error, OrchestratorError) else EngineUnavailable(f"run {run}: {error!r}")
            halted.__cause__ = error if halted is not error else error.__cause__
            self._halt(halted)
            await asyncio.Event().wait()
            raise
        return state.status


@DBOS.workflow(name=SYSTEM_RUN, max_recovery_attempts=None)
async def _system_run(run: str, system: str) -> str:
    engine = DurableEngine.present
    if engine is None:
        await asyncio.Event().wait()  # the worker is stopping; this task is about to be cancelled
        raise EngineUnavailable("no engine")
    return await engine.carry(run, system)


@contextmanager
def _engine_errors() -> Iterator[None]:
    """Let no error of the library or its database past this module."""
    try:
        yield
    except OrchestratorError:
        raise
    except Exception as error:
        raise EngineUnavailable(f"the durable engine: {error}") from error


def _sqlite_engine(url: str) -> sa.Engine:
    path = sa.make_url(url).database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        connection.execute("pragma busy_timeout=30000")
        connection.execute("pragma foreign_keys=on")
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        if sqlite3.sqlite_version_info < (3, 42):
            # The library asks unixepoch('subsec') on Python 3.12 and later, which older SQLite answers with NULL.
            connection.create_function("unixepoch", -1, lambda *_: round(time.time(), 3))

    return engine


def _with_driver(url: str) -> str:
    named = sa.make_url(url) if url.startswith("sqlite") else postgres_url(url)
    return named.render_as_string(hide_password=False)


class _Forward(logging.Handler):
    """Its errors, in our log."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger("orchestrator.engine").error("durable engine: %s", record.getMessage())


def _quiet_its_logger() -> None:
    logger = logging.getLogger("dbos")
    logger.propagate = False
    logger.handlers = [_Forward(level=logging.ERROR)]
