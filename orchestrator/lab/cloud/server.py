"""The cloud as a process: builds the gateway, replays what was, serves on every socket it is given.

`python -m orchestrator.lab.cloud.server FOLDER [--town FOLDER]`: listening sockets come in SKERRY_LAB_SOCKETS
(descriptor numbers, separated by commas). FOLDER is laid out by `launch`.
"""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from werkzeug.serving import make_server

from orchestrator.lab.cloud.access import Access
from orchestrator.lab.cloud.answers import Answer
from orchestrator.lab.cloud.faults import Faults
from orchestrator.lab.cloud.gateway import Gateway
from orchestrator.lab.cloud.images import Images
from orchestrator.lab.cloud.issued_keys import IssuedKeys, StrictSts
from orchestrator.lab.cloud.journal import Journal
from orchestrator.lab.cloud.machines import ImaginaryMachines, Machines, Reconciler, TownMachines
from orchestrator.lab.cloud.request_handler import CloudRequestHandler
from orchestrator.lab.cloud.strict.ebs import StrictEbs
from orchestrator.lab.cloud.strict.ec2 import StrictEc2
from orchestrator.lab.cloud.strict.freshness import Freshness
from orchestrator.lab.cloud.strict.kms import StrictKms
from orchestrator.lab.cloud.strict.route53 import StrictRoute53
from orchestrator.lab.cloud.strict.s3 import StrictS3
from orchestrator.lab.town import open_town

SOCKETS_VARIABLE = "SKERRY_LAB_SOCKETS"
PARENT_VARIABLE = "SKERRY_LAB_PARENT"
PARENT_LOOK_SECONDS = 0.5


class Cloud:
    """Everything behind the sockets."""

    def __init__(self, folder: Path, machines: Machines, *, region: str) -> None:
        self._images = Images(folder / "images")
        self._region = region
        route53 = StrictRoute53(folder / "zones.json")
        freshness = Freshness()
        ebs = StrictEbs(folder / "ebs", freshness)
        issued = IssuedKeys(folder / "issued_keys.json")
        # The strict EC2 layer needs the reconciler, which needs the gateway's lock: the lock is made first.
        lock = threading.RLock()
        self.reconciler = Reconciler(machines, self._images, lock, ebs.disk_of)
        self.gateway = Gateway(
            {
                "ec2": StrictEc2(self.reconciler, self.reconciler.changed, freshness),
                "route53": route53,
                "kms": StrictKms(),
                "ebs": ebs,
                "s3": StrictS3(),
                "sts": StrictSts(issued),
            },
            journal=Journal(folder / "journal"),
            faults=Faults(),
            check_access=Access(folder / "keys.json", issued).check,
            control={
                "/_lab/images": self._register_images,
                "/_lab/keys": issued.end_all,
                "/_lab/tokens": ebs.end_tokens,
                "/_lab/pending": ebs.give_up_pending,
                "/_lab/freshness": freshness.control,
            },
            lock=lock,
        )
        self._images.register(region)

        def settle() -> None:
            ebs.settle_all()
            self.reconciler.settle()

        replayed = self.gateway.replay(settle)
        freshness.begin()
        route53.publish_now()
        self.reconciler.start()
        print(f"the cloud is up; {replayed} calls replayed", flush=True)

    def _register_images(self, method: str, body: bytes) -> Answer:
        with self.gateway.lock:
            self._images.register(self._region)
        return Answer(200, {"Content-Type": "application/json"}, b"{}")


def serve(sockets: Sequence[socket.socket], gateway: Gateway) -> None:
    """Serve on all of them, each in its thread; returns at once."""
    for listener in sockets:
        host, port = listener.getsockname()[:2]
        server = make_server(
            host, port, gateway, threaded=True, request_handler=CloudRequestHandler, fd=listener.fileno()
        )
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        print(f"serving on {host}:{port}", flush=True)


def inherited_sockets() -> list[socket.socket]:
    numbers = [int(number) for number in os.environ.get(SOCKETS_VARIABLE, "").split(",") if number]
    return [socket.socket(fileno=number) for number in numbers]


def _end_with_parent(stop: threading.Event) -> None:
    """Whoever started us may be killed without a word; a cloud nobody holds must not stay."""
    parent = int(os.environ.get(PARENT_VARIABLE, "0"))
    while parent and not stop.wait(PARENT_LOOK_SECONDS):
        if os.getppid() != parent:
            stop.set()


def _end_on_surprise(arguments: threading.ExceptHookArgs) -> None:
    """A cloud that has lost a thread would only wait; it ends instead, in full view."""
    traceback.print_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    sys.stderr.flush()
    os._exit(70)


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="cloud")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--town", type=Path)
    parser.add_argument("--region", default="us-east-1")
    chosen = parser.parse_args(words)
    threading.excepthook = _end_on_surprise
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    machines: Machines = TownMachines(open_town(chosen.town)) if chosen.town else ImaginaryMachines()
    cloud = Cloud(chosen.folder, machines, region=chosen.region)
    serve(inherited_sockets(), cloud.gateway)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_end_with_parent, args=[stop], daemon=True).start()
    stop.wait()
    # Threads of open connections are daemons: what was journalled is durable, the rest was never acknowledged.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
