"""The witness over HTTP: POST /add-checkpoint. Small on purpose; TLS is the business of what stands in front of it."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orchestrator.evidence.witness import REQUEST_BYTES_MAX, Answer, Witness
from orchestrator.foundation.errors import OrchestratorError

READ_SECONDS_MAX = 15


def make_server(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """A server that answers until `shutdown`; port 0 takes a free one (`server_address` tells it)."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "skerry-witness"
        sys_version = ""
        timeout = READ_SECONDS_MAX

        def do_POST(self) -> None:
            answer = self._answer()
            body = answer.body.encode()
            self.send_response(answer.status)
            kind = "text/x.tlog.size" if answer.status == 409 else "text/plain; charset=utf-8"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _answer(self) -> Answer:
            if self.path != "/add-checkpoint":
                return Answer(404, "POST /add-checkpoint is all there is\n")
            length = self.headers.get("Content-Length", "")
            # Few digits first: a number of thousands of digits is an error to read.
            is_size = length.isascii() and length.isdigit() and len(length) <= len(str(REQUEST_BYTES_MAX))
            if not is_size or int(length) > REQUEST_BYTES_MAX:
                self.close_connection = True
                return Answer(413, f"at most {REQUEST_BYTES_MAX} bytes, and a Content-Length\n")
            try:
                return witness.add_checkpoint(self.rfile.read(int(length)))
            except (OrchestratorError, OSError) as error:
                return Answer(500, f"the witness can not answer: {type(error).__name__}\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """What was cosigned stands in the state; a log of requests is the front server's."""

    return ThreadingHTTPServer((host, port), Handler)
