"""Before clients lose the side that serves them: the side that they would go home to answers, and is fit."""

from orchestrator.contracts.databases import Role
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.foundation.errors import DataError, HostError, OrchestratorError
from orchestrator.model.host import Host
from orchestrator.model.site import Side
from orchestrator.steps.looking import look_at
from orchestrator.steps.places import clusters, host_at, hosts_at
from orchestrator.steps.readiness import in_parallel
from orchestrator.steps.words import word_of


def refuse_unfit_home(drivers: Drivers, deed: Deed, home: Side) -> None:
    """Raise what is in the way of going home, as long as clients are sent elsewhere.

    What was written is carried home by way of DR, so DR is looked at too, unless a person gave it up. Where clients are
    sent home already there is nothing that they could lose.
    """
    front = drivers.front.current(deed.system_plan.system.front)
    if front is None or front.address == host_at(deed, home).address:
        return
    authority = drivers.authority.read(deed.system_plan.system.name)
    given_up = word_of(drivers, deed, "loss_accepted", authority.side, authority.number)
    over_dr = authority.side is not home and given_up is None
    hosts = [*hosts_at(deed, home), *(hosts_at(deed, Side.DR) if over_dr else [])]
    for problem in in_parallel(lambda host: _problem(drivers, deed, host), hosts):
        if problem is not None:
            raise type(problem)(
                f"clients are left where they are, for {home.value} is not ready for them: {problem.message}",
                hint=problem.hint
                or f"Bring {home.value} and DR up, then ask for the way back again: skerry rollback {deed.run}",
            ) from problem
    for cluster in clusters(deed):
        host = host_at(deed, home, cluster.name)
        if drivers.databases.role(cluster, host) is Role.MISSING:
            raise DataError(f"clients are left where they are, for {cluster.name} is missing on {host.name}")


def _problem(drivers: Drivers, deed: Deed, host: Host) -> OrchestratorError | None:
    try:
        look_at(drivers, deed, host)
    except HostError as error:
        return error
    return None
