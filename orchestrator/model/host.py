"""A machine that is reached by SSH."""

from typing import ClassVar

from orchestrator.model.frozen import Grown
from orchestrator.model.names import HostName, SiteName


class Host(Grown):
    """One machine as the inventory names it.

    `path_prefix` is put before every path of the host: empty on a machine of its own, the host's folder where several
    lab hosts share one file system.
    """

    later: ClassVar[tuple[str, ...]] = ("sees_fronts",)
    name: HostName
    site: SiteName
    address: str
    port: int = 22
    user: str = "root"
    path_prefix: str = ""
    become: bool = True  # False where the login user may do all it needs (a lab without a second user id)
    sees_fronts: bool = False  # its resolver and its network are those of clients, so it can look as they do

    def path(self, wanted: str) -> str:
        """`wanted` as it is called on this host."""
        return self.path_prefix + wanted
