"""Sites, hosts and machines from a plain Ansible inventory in YAML.

A group with the variable `skerry_side` is a site; its hosts, and those of groups below it, stand there. What Ansible
needs (`ansible_host`, `ansible_port`, `ansible_user`) is read as Ansible reads it; variables that begin with `skerry_`
are a closed set; all others, and hosts of no site, are Ansible's own business and left alone.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from orchestrator.foundation.written_file import Finding, Location, WrittenFile, did_you_mean
from orchestrator.foundation.written_model import judge
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import HostName, SiteName
from orchestrator.model.site import Side, Site
from orchestrator.model.system import MachineSpec

_SITE_VARIABLES = ["skerry_side", "skerry_region"]
_HOST_VARIABLES = ["skerry_path_prefix", "skerry_become", "skerry_sees_fronts", "skerry_machine"]
_GROUP_KEYS = ["hosts", "vars", "children"]


@dataclass
class Town:
    """What a hosts file names."""

    sites: dict[SiteName, Site] = field(default_factory=dict)
    hosts: dict[HostName, Host] = field(default_factory=dict)
    machines: dict[HostName, MachineSpec] = field(default_factory=dict)
    places: dict[HostName, Location] = field(default_factory=dict)  # where each host's site names it
    elsewhere: set[str] = field(default_factory=set)  # hosts of no site: Ansible's, not ours


class _HostVariables(Frozen):
    """The variables of one host that mean something to us, under their Ansible names."""

    ansible_host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.:_-]+$")  # no templates: nothing renders them
    ansible_port: int = Field(default=22, ge=1, le=65535)
    ansible_user: str = Field(default="root", pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")
    skerry_path_prefix: str = Field(default="", pattern=r"^(/[^\x00\n]*[^/\x00\n])?$")
    skerry_become: bool = True
    skerry_sees_fronts: bool = False
    skerry_machine: MachineSpec | None = None


class _SiteVariables(Frozen):
    skerry_side: Side
    skerry_region: str = ""


@dataclass(frozen=True)
class _Membership:
    """One place where a host stands in a group, with the variables in force there and where each is written."""

    host: str
    location: Location
    site: str | None
    variables: dict[str, tuple[Any, Location]]


def read_hosts(written: WrittenFile, findings: list[Finding]) -> Town:
    """The town of one hosts file; what is wrong goes to `findings`."""
    town = Town()
    if not isinstance(written.data, dict):
        findings.append(written.finding((), "must be a YAML mapping of groups, as Ansible reads it"))
        return town
    memberships: list[_Membership] = []
    for group, body in written.data.items():
        _walk(written, findings, town, memberships, str(group), body, (group,), None, {})
    for host in dict.fromkeys(membership.host for membership in memberships):
        _add_host(written, findings, town, [entry for entry in memberships if entry.host == host])
    if not town.sites and not findings:
        findings.append(written.finding((), "names no site: a group with the variable skerry_side is one"))
    return town


def _walk(
    written: WrittenFile,
    findings: list[Finding],
    town: Town,
    memberships: list[_Membership],
    group: str,
    body: Any,
    location: Location,
    site: str | None,
    inherited: dict[str, tuple[Any, Location]],
) -> None:
    body = {} if body is None else body
    if not isinstance(body, dict):
        findings.append(written.finding(location, f"group {group} must be a mapping of hosts, vars and children"))
        return
    for key in body:
        if key not in _GROUP_KEYS:
            near = did_you_mean(key, _GROUP_KEYS)
            findings.append(written.finding((*location, key), f"unknown key {key!r} in group {group}{near}"))
    parts = {key: _mapping(written, findings, body, key, location) for key in _GROUP_KEYS}
    own = {key: (value, (*location, "vars", key)) for key, value in parts["vars"].items()}
    _check_variables(written, findings, own, _SITE_VARIABLES + _HOST_VARIABLES)
    if "skerry_side" in own:
        site = _add_site(written, findings, town, group, own, site, location)
    variables = {**inherited, **own}
    for host, given in parts["hosts"].items():
        place = (*location, "hosts", host)
        if given is not None and not isinstance(given, dict):
            findings.append(written.finding(place, f"host {host} must be a mapping of variables, or empty"))
            continue
        of_host = {key: (value, (*place, key)) for key, value in (given or {}).items()}
        _check_variables(written, findings, of_host, _HOST_VARIABLES)
        memberships.append(_Membership(host, place, site, {**variables, **of_host}))
    for child, child_body in parts["children"].items():
        place = (*location, "children", child)
        _walk(written, findings, town, memberships, child, child_body, place, site, variables)


def _mapping(
    written: WrittenFile, findings: list[Finding], body: dict[str, Any], key: str, location: Location
) -> dict[str, Any]:
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        findings.append(written.finding((*location, key), f"{key} must be a mapping"))
        return {}
    return value


def _check_variables(
    written: WrittenFile, findings: list[Finding], variables: dict[str, tuple[Any, Location]], known: list[str]
) -> None:
    for name, (_, location) in variables.items():
        if name.startswith("skerry_") and name not in known:
            near = did_you_mean(name, known)
            message = f"unknown variable {name!r}{near} (known here: {', '.join(known)})"
            findings.append(written.finding(location, message))


def _add_site(
    written: WrittenFile,
    findings: list[Finding],
    town: Town,
    group: str,
    own: dict[str, tuple[Any, Location]],
    outer: str | None,
    location: Location,
) -> str:
    if outer is not None:
        findings.append(written.finding(location, f"site {group} stands within site {outer}; a host has one site"))
    data = {key: value for key, (value, _) in own.items() if key in _SITE_VARIABLES}
    variables = judge(_SiteVariables, data, written, findings, at=(*location, "vars"))
    if variables is None:
        return group
    wanted = {"name": group, "side": variables.skerry_side, "region": variables.skerry_region}
    site = judge(Site, wanted, written, findings, at=location)
    if site is not None:
        town.sites[group] = site
    return group


def _add_host(written: WrittenFile, findings: list[Finding], town: Town, entries: list[_Membership]) -> None:
    """One host from all the groups that name it; variables written at the host win over those of its groups."""
    name, place = entries[0].host, entries[0].location
    if "[" in name:
        findings.append(written.finding(place, f"host range {name!r} is not read here; write each host by its name"))
        return
    sites = sorted({entry.site for entry in entries if entry.site is not None})
    if len(sites) > 1:
        findings.append(written.finding(place, f"host {name} stands at two sites: {', '.join(sites)}"))
        return
    if not sites:
        town.elsewhere.add(name)
        return
    of_groups: dict[str, tuple[Any, Location]] = {}
    of_host: dict[str, tuple[Any, Location]] = {}
    for entry in entries:
        for key, (value, location) in entry.variables.items():
            (of_host if location[: len(entry.location)] == entry.location else of_groups)[key] = (value, location)
    variables = {**of_groups, **of_host}
    known = {key: variables[key] for key in _HostVariables.model_fields if key in variables}
    judged = _judge_variables(written, findings, known, place)
    if judged is None:
        return
    wanted = {
        "name": name,
        "site": sites[0],
        "address": judged.ansible_host or name,
        "port": judged.ansible_port,
        "user": judged.ansible_user,
        "path_prefix": judged.skerry_path_prefix,
        "become": judged.skerry_become,
        "sees_fronts": judged.skerry_sees_fronts,
    }
    host = judge(Host, wanted, written, findings, at=place)
    if host is None:
        return
    town.hosts[name] = host
    town.places[name] = next(entry.location for entry in entries if entry.site is not None)
    if judged.skerry_machine is not None:
        town.machines[name] = judged.skerry_machine


def _judge_variables(
    written: WrittenFile, findings: list[Finding], variables: dict[str, tuple[Any, Location]], place: Location
) -> _HostVariables | None:
    """All variables as one model, each problem at the line where its variable is written."""
    for key, (value, location) in variables.items():
        before = len(findings)
        judge(_HostVariables, {key: value}, written, findings, at=location[:-1])
        if len(findings) > before:
            return None
    return judge(_HostVariables, {key: value for key, (value, _) in variables.items()}, written, findings, at=place)
