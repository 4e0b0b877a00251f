"""Keeps sessions with a PostgreSQL cluster open on its host, and asks over them what clients wait for.

Joined with postgres_digest.py and answering.py, sent to hosts and run by their own Python (3.9 or newer): standard
library only, and psql. A session that stands costs no start of psql and none of a server process, and has read the
catalog. Between two questions it holds no transaction, so nothing waits for it; and where nobody asks for long, no
session either.

Usage: python3 - REQUEST, a JSON object {data, binaries, databases, digests, idle_seconds, seconds}. One that `digests`
answers {do: digest} as postgres_digest does; any other answers {do: say, statement} with {said}, the rows of a
statement in the first database, fields split by `|`. Sessions that ended are opened anew by the next question; the one
that found them so is answered with {failed}.
"""

from __future__ import annotations

import json
import os
import sys
import time

from orchestrator.movers.host_programs.answering import Asked, say, stay
from orchestrator.movers.host_programs.postgres_digest import Session, SessionFailed, digest_over, read_catalog

MYPY = False  # true for the type checker alone
if MYPY:
    from collections.abc import Callable
    from typing import Any


class Sessions:
    """One with each database."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.open: list[Session] = []
        self.asked_at = time.monotonic()

    def stand(self) -> list[Session]:
        if not self.open:
            separator = "\t" if self.request["digests"] else "|"
            # Noted one by one: where one fails, those that were opened before it are closed.
            for name in sorted(self.request["databases"]):
                self.open.append(Session(self.request, name, separator))
                if self.request["digests"]:
                    read_catalog(self.open[-1])
        self.asked_at = time.monotonic()
        return self.open

    def rest(self) -> None:
        if time.monotonic() > self.asked_at + self.request["idle_seconds"]:
            self.close()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            if question["do"] == "say":
                return {"said": self.stand()[0].ask(question["statement"] + "\n;").strip()}
            answer = digest_over(self.request, self.stand())
            for session in self.open:
                session.ask("rollback;")
            return answer
        except SessionFailed as error:
            self.close()
            return {"failed": str(error)}
        except FileNotFoundError as error:
            self.close()
            return {"failed": not_there(error)}

    def close(self) -> None:
        sessions, self.open = self.open, []
        for session in sessions:
            session.close()


def not_there(error: FileNotFoundError) -> str:
    return "%s: %s" % (error.filename, os.strerror(error.errno or 0))


def main() -> None:
    request = json.loads(sys.argv[1])
    sessions = Sessions(request)

    def prepare(_folder: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        sessions.stand()
        return sessions.answer

    def asked_of(asked: Asked) -> None:
        asked.idle = sessions.rest

    try:
        stay(prepare, asked_of, request["seconds"])
    except SessionFailed as error:
        say("failed", {"why": str(error)})
    except FileNotFoundError as error:
        say("failed", {"why": not_there(error)})
    finally:
        sessions.close()


if __name__ == "__main__":
    main()
