"""Preflight: everything that can be known to be missing is found before the first byte is copied."""

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.errors import HostError, MissingTool, NoSpace, OrchestratorError
from orchestrator.model.action import Preflight, SeizeAuthority
from orchestrator.model.host import Host
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.steps.asked import asked
from orchestrator.steps.authority import OneSide
from orchestrator.steps.places import clusters, hosts_at, trees
from orchestrator.steps.refusals import refusal
from orchestrator.steps.still_data import still_data
from orchestrator.steps.whereabouts import refuse_elsewhere

# Asked in one go over one connection; the host needs Python alone for this.
_QUESTION = """
import json, os, shutil, sys
asked = json.load(sys.stdin)
answer = {"tools": {}, "free": {}}
places = ":".join(("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"))
for tool in asked["tools"]:
    answer["tools"][tool] = shutil.which(tool, path=places) or ""
for path in asked["paths"]:
    place = path
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    held = os.statvfs(place)
    answer["free"][path] = held.f_bavail * held.f_frsize
print(json.dumps(answer))
"""


def look_at(drivers: Drivers, deed: Deed, host: Host) -> dict[str, dict[str, Any]]:
    """`tools` (name → path) and `bytes_free` (path → bytes) of what the deed's system needs there. MissingTool."""
    tools = ["rsync", "python3"] if any(True for _ in trees(deed)) else ["python3"]
    tools += [f"{cluster.binaries}/postgres" for cluster in clusters(deed)]
    # A device is as large as it is: planning compared it with the source's.
    paths = [host.path(item.path) for item in still_data(deed) if not item.path.startswith("/dev/")]
    paths += [host.path(cluster.data_directory) for cluster in clusters(deed)]
    answer = drivers.transports(host).run(
        ["python3", "-c", _QUESTION], stdin=json.dumps({"tools": tools, "paths": paths}).encode()
    )
    found = json.loads(answer.stdout)
    missing = [tool for tool, place in found["tools"].items() if not place]
    if missing:
        raise MissingTool(
            f"{host.name} lacks {', '.join(missing)}",
            hint=f"Install what is missing on {host.name}, then run the same command again. Nothing was touched.",
        )
    return {"tools": found["tools"], "bytes_free": found["free"]}


@dataclass(frozen=True)
class PreflightHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # looking again costs nothing

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, Preflight)
        refuse_elsewhere(self.drivers, deed)
        self._refuse_while_it_serves(deed)
        refused: list[OrchestratorError] = []
        observed: dict[str, object] = {}
        for side in action.sides:
            for host in hosts_at(deed, side):
                progress(Progress(text=f"looking at {host.name}"))
                try:
                    observed[host.name] = self._look(deed, host, side)
                except HostError as error:
                    refused.append(error)
                except NoSpace as error:
                    refused.append(error)
        if refused:
            first = refusal(refused[0])
            return Outcome.failed(
                "; ".join(error.message for error in refused),
                error=first.error,
                hint=first.hint,
                retryable=all(error.retryable for error in refused),
                hosts=observed,
            )
        return Outcome.done(f"{len(observed)} hosts are ready", hosts=observed)

    def _refuse_while_it_serves(self, deed: Deed) -> None:
        """Where the plan takes a side for lost: AuthorityError when that side answers and its services run."""
        for step in deed.system_plan.steps:
            if isinstance(step.action, SeizeAuthority):
                with contextlib.suppress(HostError):
                    OneSide(self.drivers, deed, step.action.from_side).services_stopped()

    def _look(self, deed: Deed, host: Host, side: Side) -> dict[str, object]:
        found = look_at(self.drivers, deed, host)
        if side is Side.DR:
            self._enough_space(deed, host, found["bytes_free"])
        return dict(found)

    def _enough_space(self, deed: Deed, host: Host, free: dict[str, int]) -> None:
        needed = deed.system_plan.bytes_expected
        for path, bytes_free in free.items():
            held = self.drivers.transports(host).run(["test", "-e", path], check=False).exit_code == 0
            # What a replica holds already need not fit a second time.
            if not held and bytes_free < needed:
                raise NoSpace(f"{host.name}: {path} has {bytes_free} bytes free, {needed} are needed")
