"""Preflight: everything that can be known to be missing is found before the first byte is copied."""

import contextlib
from dataclasses import dataclass

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.foundation.errors import HostError, NoSpace, OrchestratorError
from orchestrator.model.action import Preflight, SeizeAuthority
from orchestrator.model.host import Host
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.steps.asked import asked
from orchestrator.steps.authority import OneSide
from orchestrator.steps.homecoming import refuse_unfit_home
from orchestrator.steps.looking import look_at
from orchestrator.steps.places import hosts_at
from orchestrator.steps.refusals import refusal
from orchestrator.steps.whereabouts import refuse_elsewhere


@dataclass(frozen=True)
class PreflightHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # looking again costs nothing

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, Preflight)
        if action.home is not None:
            refuse_unfit_home(self.drivers, deed, action.home)
            return Outcome.done(f"{action.home.value} can be gone back to")
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
