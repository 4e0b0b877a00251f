"""Deeds act in the cloud in the role of their verb, assumed for their run: AWS's own records tell run from run."""

from dataclasses import dataclass, replace
from functools import lru_cache

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit, Handler
from orchestrator.contracts.progress import ProgressSink
from orchestrator.contracts.transport import Transports
from orchestrator.model.inventory import CloudRole, Inventory
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.steps.handlers import handlers_over
from orchestrator.targets.aws.session import open_session
from orchestrator.wiring.drivers import cloud_drivers

_DRILL: dict[str, CloudRole] = dict.fromkeys(("start_test_machine", "end_test_machine", "drill_at_cloud"), "drill")
ROLES: dict[str, CloudRole] = {"seed_image": "replicator", **_DRILL}
KEPT_MAX = 32  # of a worker that serves many runs, the sessions used last


class RoleHandlers:
    """contracts.handler.Handlers over drivers whose cloud is reached in a role of the estate."""

    def __init__(self, drivers: Drivers, inventory: Inventory, transports: Transports) -> None:
        session = open_session(inventory, drivers.clock)

        @lru_cache(KEPT_MAX)
        def in_role(part: CloudRole, run: str) -> Drivers:
            return replace(drivers, **cloud_drivers(inventory, session.acting(part, run), transports))

        self._in_role = in_role

    def __call__(self, verb: str) -> Handler:
        return _RoleHandler(self, verb)

    def of_run(self, verb: str, run: str) -> Handler:
        return handlers_over(self._in_role(ROLES.get(verb, "cutover"), run))(verb)


@dataclass(frozen=True)
class _RoleHandler:
    handlers: RoleHandlers
    verb: str

    def probe(self, deed: Deed) -> Probe:
        return self.handlers.of_run(self.verb, deed.run).probe(deed)

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        return self.handlers.of_run(self.verb, deed.run).act(deed, progress, emit)
