"""What a lab consists of, as values: sites with their networks, hosts, units and the files placed on them.

The lab's daemon runs on the system's bare Python, so this module imports the standard library and our errors alone.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.foundation.errors import LabError

# Each site is 10.<octet>.0.0/16; its router, which is the lab itself, answers at 10.<octet>.0.1.
SITE_OCTETS: dict[str, int] = {"onprem": 10, "dr": 20, "cloud": 30, "clients": 99}
CONTROLLER_SITE = "clients"
HOST_NAME_CHARACTERS_MAX = 63  # a DNS label, and below the kernel's 64 for host names
LOOPBACK_SSH_PORT = 2222

_HOST_NAME = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
_UNIT_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9@:_.-]{0,200}$")
_ADDRESS = re.compile(r"^10\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$")


@dataclass(frozen=True)
class PlacedFile:
    """A file of a host: content and permission bits. It belongs to root of the host."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Unit:
    """A service: its unit file's text, and the files it needs (path on the host → file).

    `name` is without `.service`. An enabled unit is started at every boot of the host, also at the first one.
    """

    name: str
    text: str
    files: Mapping[str, PlacedFile] = field(default_factory=dict)
    enabled: bool = False

    def __post_init__(self) -> None:
        if not _UNIT_NAME.match(self.name):
            raise LabError(f"{self.name!r} is no name for a unit: use letters, digits and @:_.-")


@dataclass(frozen=True)
class LabHost:
    """One host. `address` is the one it has in namespaces (10.x); on loopback it is found at 127.x, port 2222.

    Without `trusts_ca` nobody can log in until something within the host, such as user data, makes it trust somebody.
    """

    name: str
    site: str
    address: str
    port: int = 22
    services: tuple[Unit, ...] = ()
    trusts_ca: bool = True

    def __post_init__(self) -> None:
        if not _HOST_NAME.match(self.name) or len(self.name) > HOST_NAME_CHARACTERS_MAX:
            raise LabError(
                f"{self.name!r} is no name for a lab host: "
                f"small letters, digits and single dashes, {HOST_NAME_CHARACTERS_MAX} at most"
            )
        if self.site not in SITE_OCTETS:
            raise LabError(f"{self.name}: no site {self.site!r} in the lab; there are {', '.join(SITE_OCTETS)}")
        octets = _octets(self.name, self.address)
        if octets[1] != SITE_OCTETS[self.site]:
            raise LabError(f"{self.name}: {self.address} is not in site {self.site}, {network_of(self.site)}")
        if octets[2:] in ((0, 0), (0, 1), (255, 255)):
            raise LabError(f"{self.name}: {self.address} is taken by the site's router or network")
        if not 1 <= self.port <= 65535:
            raise LabError(f"{self.name}: {self.port} is no port")


def _octets(name: str, address: str) -> tuple[int, int, int, int]:
    match = _ADDRESS.match(address)
    if not match or any(int(octet) > 255 for octet in match.groups()):
        raise LabError(f"{name}: {address!r} is no address of the lab; it must be 10.<site>.x.y")
    return 10, int(match[1]), int(match[2]), int(match[3])


def network_of(site: str) -> str:
    """The site's network in CIDR form."""
    return f"10.{SITE_OCTETS[site]}.0.0/16"


def router_of(site: str) -> str:
    """Where the lab itself answers within a site."""
    return f"10.{SITE_OCTETS[site]}.0.1"


def loopback_address(address: str) -> str:
    """The address in 127/8 that stands for a 10.x address where the lab has no network of its own."""
    return "127" + address.removeprefix("10")


def address_in(kind: str, address: str) -> str:
    """`address` (10.x) as it is called in a lab of this kind."""
    return loopback_address(address) if kind == "loopback" else address


def host_as_json(host: LabHost) -> dict[str, Any]:
    """For the way to the daemon."""
    return {
        "name": host.name,
        "site": host.site,
        "address": host.address,
        "port": host.port,
        "trusts_ca": host.trusts_ca,
        "services": [
            {"name": unit.name, "text": unit.text, "files": files_as_json(unit.files), "enabled": unit.enabled}
            for unit in host.services
        ],
    }


def host_from_json(value: Mapping[str, Any]) -> LabHost:
    return LabHost(
        name=value["name"],
        site=value["site"],
        address=value["address"],
        port=value["port"],
        trusts_ca=value["trusts_ca"],
        services=tuple(
            Unit(unit["name"], unit["text"], files_from_json(unit["files"]), unit["enabled"])
            for unit in value["services"]
        ),
    )


def files_as_json(files: Mapping[str, PlacedFile]) -> dict[str, Any]:
    return {path: {"content": base64.b64encode(f.content).decode(), "mode": f.mode} for path, f in files.items()}


def files_from_json(value: Mapping[str, Any]) -> dict[str, PlacedFile]:
    return {path: PlacedFile(base64.b64decode(f["content"]), f["mode"]) for path, f in value.items()}


def placed(content: bytes) -> PlacedFile:
    """A file with the mode its content asks for: programs (`#!`) may be executed."""
    return PlacedFile(content, 0o755 if content.startswith(b"#!") else 0o644)
