"""A machine that is reached by SSH."""

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import HostName, SiteName


class Host(Frozen):
    """One machine as the inventory names it.

    `path_prefix` is put before every path of the host: empty on a machine of its own, the host's folder where several
    lab hosts share one file system.
    """

    name: HostName
    site: SiteName
    address: str
    port: int = 22
    user: str = "root"
    path_prefix: str = ""
    become: bool = True  # False where the login user may do all it needs (a lab without a second user id)

    def path(self, wanted: str) -> str:
        """`wanted` as it is called on this host."""
        return self.path_prefix + wanted
