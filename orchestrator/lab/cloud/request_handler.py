"""How requests are read from the wire: moto's handling of odd header names, without a log line per request."""

from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler


class CloudRequestHandler(MotoRequestHandler):
    """Quiet, and with small answers sent at once."""

    disable_nagle_algorithm = True

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Calls are remembered by the gateway (`/_lab/calls`)."""
