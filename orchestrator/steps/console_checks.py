"""A system's checks where nothing leads to its machine: it asks itself at its first boot, and its console tells.

Cloud-init prints on the console what user data prints, so neither a door into the drill's network nor a key is needed.
"""

import json
import shlex
from collections.abc import Iterator

from orchestrator.foundation.places import shipped_folder
from orchestrator.model.host import Host
from orchestrator.model.system import System
from orchestrator.steps.bubble_system import CheckSeen, checks_seen

ADDRESS = "@ADDRESS@"  # the machine takes whatever address it is given, and puts it in itself
BEGIN, END = "skerry-checks<", ">skerry-checks"
ASK_AGAIN_SECONDS = 2
# Told whenever the answer is another, so the last one is what holds.
SCRIPT = """
# Nothing leads to this machine of a drill: what its services answer is told on its console.
program={program}
set -- $(hostname -I)
request=$(printf %s {request} | sed "s/{address}/${{1:-127.0.0.1}}/g")
told= passed= until=$(($(date +%s) + {seconds}))
while [ -z "$passed" ] && [ "$(date +%s)" -lt $until ]
do
    [ -z "$told" ] || sleep {again}
    said=$(python3 -c "$program" "$request" 2>/dev/null) && passed=yes
    [ "$said" = "$told" ] || printf "%s\\n" "{begin}$said{end}"
    told=$said
done
"""


def asking_script(system: System, host: Host, *, seconds_max: float) -> str:
    """What the machine runs last in its first boot; "" for a system that has no checks."""
    if not system.checks:
        return ""
    request = {"system": system.name, "checks": [check.asked_at(ADDRESS, host.site) for check in system.checks]}
    return SCRIPT.format(
        program=shlex.quote((shipped_folder("playbooks") / "files" / "checks.py").read_text()),
        request=shlex.quote(json.dumps(request)),
        address=ADDRESS,
        seconds=int(seconds_max),
        again=ASK_AGAIN_SECONDS,
        begin=BEGIN,
        end=END,
    )


def told_checks(console: str) -> list[CheckSeen]:
    """What was told last; nothing before anything was told whole, or where what stands there is not ours."""
    said = console.rpartition(END)[0].rpartition(BEGIN)[2]
    try:
        return checks_seen(json.loads(said)["report"])
    except (ValueError, KeyError, TypeError):
        return []


def wrong_checks(console: str) -> Iterator[str]:
    """Why the machine does not serve yet, by what its console tells."""
    seen = told_checks(console)
    if not seen:
        yield "its console tells of no check (cloud-init of its image runs them)"
    for each in seen:
        if not each.passed:
            yield f"{each.name}: {'; '.join(each.wrong)}"
