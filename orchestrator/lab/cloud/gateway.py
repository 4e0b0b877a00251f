"""The way of a call through the cloud: faults, credentials, the strict layer, moto, the journal.

Calls that change state go one at a time, so that each can be replayed under its own number; reads go together with
nobody but the changing call. Bodies are read before anything is locked.
"""

import io
import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Flask
from moto.ec2.models import ec2_backends
from moto.moto_api._internal import mock_random
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import EnvironBuilder

from orchestrator.foundation.errors import LabError
from orchestrator.lab.cloud import faults as trouble
from orchestrator.lab.cloud.answers import Answer, AwsError, refusal
from orchestrator.lab.cloud.call import ACCOUNT, AwsCall, read_call, with_body
from orchestrator.lab.cloud.faults import Faults
from orchestrator.lab.cloud.journal import Entry, Journal
from orchestrator.lab.cloud.strict.layer import Lenient, StrictService

BODY_BYTES_MAX = 5 * 1024 * 1024 * 1024  # S3's largest single PUT
CALLS_REMEMBERED = 100_000
HEADERS_REPLAYED = ("content-type", "authorization", "content-encoding", "content-md5", "host")


class Gateway:
    """The WSGI application of the cloud."""

    def __init__(
        self,
        services: Mapping[str, StrictService],
        *,
        journal: Journal | None,
        faults: Faults,
        check_access: Callable[[AwsCall], None],
        control: Mapping[str, Callable[[str, bytes], Answer]],
        lock: threading.RLock,
    ) -> None:
        self._services = services
        self._journal = journal
        self._faults = faults
        self._check_access = check_access
        self._control: dict[str, Callable[[str, bytes], Answer]] = {
            "/_lab/faults": faults.control,
            "/_lab/calls": self._show_calls,
            "/_lab/health": lambda method, body: Answer(200, {"Content-Type": "application/json"}, b'{"up": true}'),
            **control,
        }
        self._moto = DomainDispatcherApplication(_moto_application)
        self.lock = lock  # guards moto, the strict services and the number of the next changing call
        self._number = 0
        self._calls: deque[dict[str, Any]] = deque(maxlen=CALLS_REMEMBERED)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = _read_body(environ)
        control = self._control.get(str(environ.get("PATH_INFO")))
        if control is not None:
            answer = control(str(environ["REQUEST_METHOD"]), body)
        else:
            answer = self._answer(environ, read_call(environ, body))
        if answer.connection_lost:
            _break_connection(environ)
        status = f"{answer.status} {'OK' if answer.good else 'Error'}"
        start_response(status, list(answer.headers.items()))
        return [answer.body]

    def replay(self, settle: Callable[[], None]) -> int:
        """Run the journal through the strict layer and moto; returns how many calls there were.

        `settle` ends what is under way: calls came when what was asked before them was done.
        """
        count = 0
        for entry in self._journal.entries() if self._journal else ():
            builder = EnvironBuilder(
                path=entry.path,
                query_string=entry.query,
                method=entry.method,
                headers=list(entry.headers.items()),
                data=entry.body,
            )
            environ = builder.get_environ()
            environ["RAW_URI"] = entry.path
            call = read_call(environ, entry.body)
            with self.lock:
                self._warm(environ, call)
                mock_random.seed(entry.number)
                answer = self._serve(environ, call, entry.kept)
                settle()
                self._number = max(self._number, entry.number)
            if not answer.good:
                said = answer.body.decode(errors="replace")
                raise LabError(f"replay of call {entry.number}, {call.service}.{call.action}: {answer.status}: {said}")
            count += 1
        mock_random.seed()
        return count

    def _warm(self, environ: dict[str, Any], call: AwsCall) -> None:
        """Let moto make what it makes at the first touch of a service or region: a seeded call must not."""
        self._moto.get_application(with_body(environ, call.body))
        if call.service in ("ec2", "ebs"):
            _ = ec2_backends[ACCOUNT][call.region]

    def _answer(self, environ: dict[str, Any], call: AwsCall) -> Answer:
        rule = self._faults.draw(call)
        try:
            early = trouble.before(rule, call) if rule else None
            if early is None:
                self._check_access(call)
                answer = self._serve_kept(environ, call)
                answer = trouble.after(rule, answer) if rule else answer
            else:
                answer = early
        except AwsError as error:
            answer = refusal(call.service, error)
        self._calls.append(
            {
                "service": call.service,
                "action": call.action,
                "region": call.region,
                "access_key": call.access_key,
                "status": 0 if answer.connection_lost else answer.status,
            }
        )
        return answer

    def _serve_kept(self, environ: dict[str, Any], call: AwsCall) -> Answer:
        """Serve, and journal what changed something."""
        service = self._services.get(call.service, _LENIENT)
        service.received(call)
        if service.stands_alone(call):
            return self._serve(environ, call, None)
        if not call.changes:
            with self.lock:
                return self._serve(environ, call, None)
        body_file = self._journal.keep_body(call) if self._journal else ""
        with self.lock:
            self._number += 1
            self._warm(environ, call)
            mock_random.seed(self._number)
            answer = self._serve(environ, call, None)
            mock_random.seed()
            if answer.good and self._journal:
                self._journal.append(_entry(self._number, environ, call, service.kept(call, answer)), body_file)
        if self._journal:
            self._journal.sync()  # the next call need not wait for the disk
        return answer

    def _serve(self, environ: dict[str, Any], call: AwsCall, kept: dict[str, Any] | None) -> Answer:
        service = self._services.get(call.service, _LENIENT)
        answer = service.before(call)
        if answer is None:
            answer = self._ask_moto(environ, call)
            if answer.good:
                if kept:
                    service.restore(call, answer, kept)
                answer = service.after(call, answer)
        return answer

    def _ask_moto(self, environ: dict[str, Any], call: AwsCall) -> Answer:
        gathered: list[Any] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
            gathered[:] = [int(status[:3]), headers]
            return lambda data: None

        chunks = self._moto(with_body(environ, call.body), start_response)
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        if gathered[0] == 500 and body.lstrip()[:9].lower() in (b"<!doctype", b"<html lan"):
            print(f"moto broke on {call.service}.{call.action}; its log is above", file=sys.stderr)
            raise AwsError("InternalError", "An internal error has occurred.", 500)
        headers = {name: value for name, value in gathered[1] if name.lower() not in ("connection", "server", "date")}
        return Answer(gathered[0], headers, body)

    def _show_calls(self, method: str, body: bytes) -> Answer:
        if method == "DELETE":
            self._calls.clear()
        text = json.dumps({"calls": list(self._calls)})
        return Answer(200, {"Content-Type": "application/json"}, text.encode())


_LENIENT = Lenient()


def _moto_application(service: Any) -> Flask:
    """Moto's application of one service, which answers 500 where it would raise."""
    application = create_backend_app(service)
    application.debug = False
    application.config["PROPAGATE_EXCEPTIONS"] = False
    return application


def _entry(number: int, environ: dict[str, Any], call: AwsCall, kept: dict[str, Any]) -> Entry:
    headers = {
        name: value
        for name, value in call.headers.items()
        if name.startswith(("x-amz", "if-")) or name in HEADERS_REPLAYED
    }
    headers.pop("x-amz-security-token", None)
    return Entry(number, call.method, call.path, str(environ.get("QUERY_STRING", "")), headers, call.body, kept)


def _read_body(environ: dict[str, Any]) -> bytes:
    stream: io.BufferedIOBase = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        return stream.read()
    length = str(environ.get("CONTENT_LENGTH") or "0")
    if not length.isdigit() or int(length) > BODY_BYTES_MAX:
        return b""
    return stream.read(int(length))


def _break_connection(environ: dict[str, Any]) -> None:
    """End the TCP connection under the answer, as a lost link does."""
    connection = environ.get("werkzeug.socket")
    if connection is not None:
        connection.shutdown(2)
