"""What DR holds of a point, brought to the machine on which a bubble is to open it; and taken away again."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.contracts.bubbles import BubbleData
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.programs import root_user
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host

FOLDER = "/var/lib/skerry/drill-data"  # on the machine; what lies there is of drills alone
IN_BUBBLE = "/run/"  # places that a bubble makes for itself
SECONDS_MAX = 600.0
# Places that the machine has not: the bubble shows clones there. They are noted, to be taken away as they were made.
MAKE_PLACES = """
mkdir -p "$0" && for place; do
  [ -e "$place" ] || { mkdir -p "$place" && printf '%s\\n' "$place" >>"$0/places"; } || exit 1
done
"""
TAKE_AWAY = """
[ ! -e "$0/places" ] || while read -r place; do rmdir "$place" 2>/dev/null; done <"$0/places"
rm -rf "$0"; ! [ -e "$0" ]
"""


@dataclass(frozen=True)
class BroughtData:
    """What hosts at DR hold, on `host`, in a folder of drills alone."""

    drivers: Drivers
    host: Host

    def bring(self, held: Sequence[tuple[Host, Sequence[BubbleData]]]) -> list[list[BubbleData]]:
        """(who holds it, what), host to host; each as `host` has it then. What an earlier drill left goes first."""
        self.take_away()
        every = [each for _, data in held for each in data]
        self._run(MAKE_PLACES, *(at for each in every for _, at in each.places if not at.startswith(IN_BUBBLE)))
        return [[self._bring(holder, each) for each in data] for holder, data in held]

    def take_away(self) -> None:
        """Nothing of it is there when this returns; CommandFailed where that could not be."""
        self._run(TAKE_AWAY)

    def _bring(self, holder: Host, data: BubbleData) -> BubbleData:
        below = self.host.model_copy(update={"path_prefix": FOLDER})
        self.drivers.trees.copy(FileTree(name=data.name, path=data.held), holder, below)
        return data.model_copy(update={"held": below.path(data.held)})

    def _run(self, script: str, *places: str) -> None:
        words = ["sh", "-c", script, FOLDER, *places]
        self.drivers.transports(self.host).run(words, user=root_user(self.host), timeout_seconds=SECONDS_MAX)
