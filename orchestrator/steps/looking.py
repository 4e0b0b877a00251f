"""A look at one host: whether it answers, has the programs that a system needs, and how much room."""

import json
from typing import Any

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.foundation.errors import MissingTool
from orchestrator.model.host import Host
from orchestrator.steps.places import clusters, trees
from orchestrator.steps.still_data import still_data

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
