"""Reads an estate from a folder, so that it holds together or every reason why not is told with file and line.

    hosts.yml                       a plain Ansible inventory: sites are groups, machines are hosts
    group_vars/skerry/systems.yml   systems: datasets, services, placements, objectives
    group_vars/skerry/people.yml    people: who owns, approves, migrates
    group_vars/skerry/policy.yml    policy: residency, links, ssh_config, cloud
    group_vars/skerry/waves.yml     waves, read when they are planned: a calendar is no part of what hosts are
    group_vars/skerry/drills.yml    drills, read when somebody looks what is due
    group_vars/skerry/prices.yml    prices of the cloud, read when somebody asks what it costs

Ansible reads every file of a folder it is given as hosts, except below `group_vars`; and there it reads only what is
named after a group that exists. So our files stand where Ansible leaves them alone (a test asks ansible-inventory).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.foundation.canonical_json import digest_of
from orchestrator.foundation.errors import InventoryError
from orchestrator.foundation.limits import KIB
from orchestrator.foundation.written_file import Finding, WrittenFile, did_you_mean, digest_of_bytes, read_written_file
from orchestrator.foundation.written_model import judge
from orchestrator.inventory.hosts import Town, read_hosts
from orchestrator.inventory.rules import HOSTS, POLICY, SYSTEMS, Estate, PolicyParts, breaches
from orchestrator.inventory.secrets import expand_home
from orchestrator.model.bandwidth import BandwidthWindow
from orchestrator.model.frozen import Frozen
from orchestrator.model.inventory import BucketPlace, CloudSettings, Inventory, Link, Person, ResidencyRule
from orchestrator.model.names import Name
from orchestrator.model.replication import ReplicationPolicy
from orchestrator.model.system import System
from orchestrator.model.vault import VaultSettings

Reached = TypeVar("Reached", VaultSettings, BucketPlace)

HOSTS_FILE = "hosts.yml"
OWN_FOLDER = "group_vars/skerry"
_KEY_FILE_BYTES_MAX = 64 * KIB
_KEY_KINDS = ("ssh-ed25519", "ecdsa-sha2-", "ssh-rsa", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-")


class _Policy(Frozen):
    """The file policy.yml, below its key `policy`."""

    residency: dict[Name, tuple[str, ...]] = {}
    links: tuple[Link, ...] = ()
    bandwidth: tuple[BandwidthWindow, ...] = ()
    replication: ReplicationPolicy = ReplicationPolicy()
    concealed: tuple[str, ...] = ()
    ssh_config: str | None = None
    transfer_ca: str | None = None
    cloud: CloudSettings = CloudSettings()
    vault: VaultSettings | None = None
    buckets: dict[Name, BucketPlace] = {}


def load_inventory(folder: Path, *, home: Path, hosts_file: Path | None = None) -> Inventory:
    """The estate in `folder`. `hosts_file` replaces its hosts.yml, for the same estate at other addresses.

    `home` is what `${SKERRY_HOME}` stands for. Secrets are not resolved here. A key file of a person that is not there
    yet is a warning, since it matters only when that person approves.
    Raises InventoryError, whose message is all problems, each on a line `file:line: what`.
    """
    return _Loading(folder, home, hosts_file).inventory()


class _Loading:
    """One reading of one folder; collects findings on its way."""

    def __init__(self, folder: Path, home: Path, hosts_file: Path | None) -> None:
        self._folder = folder
        self._home = home
        self._hosts_file = hosts_file
        self._findings: list[Finding] = []
        self._warnings: list[Finding] = []
        self._written: dict[str, WrittenFile] = {}
        self._digests: dict[str, str] = {}

    def inventory(self) -> Inventory:
        if not self._folder.is_dir():
            raise InventoryError(
                f"{self._folder}:1: is not a folder",
                hint="Name the folder of an inventory: --inventory FOLDER, or SKERRY_INVENTORY.",
            )
        hosts = self._read(HOSTS_FILE, self._hosts_file)
        town = read_hosts(hosts, self._findings) if hosts is not None else Town()
        bodies = self._section("systems", required=True)
        systems = self._systems(bodies)
        people_bodies = self._section("people", required=True)
        people = self._people(people_bodies)
        policy = self._policy()
        rules = policy.residency.items() if policy is not None else ()
        residency = tuple(ResidencyRule(data_class=name, regions=where) for name, where in rules)
        self._check_names()
        estate = Estate(
            sites=town.sites,
            hosts=town.hosts,
            machines=town.machines,
            host_places=town.places,
            hosts_elsewhere=frozenset(town.elsewhere),
            hosts_whole=hosts is not None and not any(finding.file == hosts.name for finding in self._findings),
            systems=systems,
            systems_named=frozenset(bodies),
            people_named=frozenset(people_bodies),
            policy=PolicyParts(residency, policy.links, policy.cloud) if policy is not None else None,
        )
        self._check_together(estate)
        self._stop_on_findings()
        policy = policy or _Policy()
        return Inventory(
            sites=town.sites,
            hosts=town.hosts,
            machines=town.machines,
            systems=systems,
            people=people,
            residency=residency,
            links=policy.links,
            bandwidth=policy.bandwidth,
            replication=policy.replication,
            concealed=policy.concealed,
            ssh_config=self._expanded(policy.ssh_config),
            transfer_ca=self._expanded(policy.transfer_ca),
            cloud=policy.cloud.model_copy(
                update={
                    "endpoint": self._expanded(policy.cloud.endpoint),
                    "endpoint_at_hosts": self._expanded(policy.cloud.endpoint_at_hosts),
                    "credentials_file": self._expanded(policy.cloud.credentials_file),
                }
            ),
            vault=self._reached(policy.vault) if policy.vault is not None else None,
            buckets={name: self._reached(place) for name, place in policy.buckets.items()},
            digest=digest_of(self._digests),
            files=self._digests,
            warnings=tuple(str(warning) for warning in self._warnings),
        )

    def _read(self, name: str, instead: Path | None = None) -> WrittenFile | None:
        path = self._folder / name if instead is None else instead
        written = read_written_file(path, str(path), self._findings)
        if written is not None:
            self._written[name] = written
            self._digests[name] = written.digest
        return written

    def _section(self, name: str, *, required: bool) -> dict[str, Any]:
        """What stands below the one key of `<name>.yml`."""
        written = self._read(f"{OWN_FOLDER}/{name}.yml")
        if written is None:
            return {}
        data = written.data if isinstance(written.data, dict) else {}
        for key in data:
            if key != name:
                near = did_you_mean(key, [name])
                self._findings.append(written.finding((key,), f"unknown key {key!r}{near} (known: {name})"))
        section = data.get(name)
        if not isinstance(section, dict) or (required and not section):
            self._findings.append(written.finding((name,), f"must hold the key {name!r} with a mapping below it"))
            return {}
        return section

    def _systems(self, bodies: dict[str, Any]) -> dict[str, System]:
        systems: dict[str, System] = {}
        for name, body in bodies.items():
            system = self._named(System, "systems", "name", name, body)
            if system is not None:
                systems[name] = system
        return systems

    def _named(self, model: type[Any], section: str, key: str, name: str, body: Any) -> Any:
        """One entry of a mapping by name; the name is the key, and is not written a second time."""
        written = self._written[f"{OWN_FOLDER}/{section}.yml"]
        at = (section, name)
        if not isinstance(body, dict):
            self._findings.append(written.finding(at, f"{section}.{name} must be a mapping"))
            return None
        if key in body:
            self._findings.append(written.finding((*at, key), f"unknown key {key!r}: its name is {name!r} already"))
        return judge(model, {**body, key: name}, written, self._findings, at=at, implied=(key,))

    def _people(self, bodies: dict[str, Any]) -> dict[str, Person]:
        people: dict[str, Person] = {}
        for name, body in bodies.items():
            person: Person | None = self._named(Person, "people", "id", name, body)
            if person is not None:
                keys = [key for position, text in enumerate(person.keys) for key in self._keys(name, position, text)]
                people[name] = person.model_copy(update={"keys": tuple(keys)})
        self._check_keys_belong_to_one(people)
        return people

    def _keys(self, person: str, position: int, text: str) -> Iterable[str]:
        """The public keys that one entry stands for: itself, or the lines of the file it refers to."""
        written = self._written[f"{OWN_FOLDER}/people.yml"]
        at = ("people", person, "keys", position)
        lines = [text]
        if text.startswith("file:"):
            path = Path(expand_home(text.removeprefix("file:"), self._home))
            try:
                with path.open("rb") as stream:
                    content = stream.read(_KEY_FILE_BYTES_MAX)
            except OSError as error:
                message = f"the key of {person} cannot be read: {path}: {error.strerror or error}"
                self._warnings.append(written.finding(at, message))
                return
            self._digests[text] = digest_of_bytes(content)
            lines = content.decode(errors="replace").splitlines()
        for line in lines:
            key = line.strip()
            if not key or key.startswith("#"):
                continue
            if not key.startswith(_KEY_KINDS) or len(key.split()) < 2:
                message = f"people.{person}.keys[{position}]: is no OpenSSH public key (ssh-ed25519 AAAA…)"
                self._findings.append(written.finding(at, message))
                continue
            yield key

    def _check_keys_belong_to_one(self, people: dict[str, Person]) -> None:
        """One key with two names would be two persons' approval by one hand."""
        owner: dict[str, str] = {}
        for person in people.values():
            for key in person.keys:
                blob = key.split()[1]
                if owner.setdefault(blob, person.id) != person.id:
                    written = self._written[f"{OWN_FOLDER}/people.yml"]
                    message = f"the key of {person.id} is also that of {owner[blob]}; two persons cannot share one"
                    self._findings.append(written.finding(("people", person.id, "keys"), message))

    def _policy(self) -> _Policy | None:
        section = self._section("policy", required=False)
        written = self._written.get(f"{OWN_FOLDER}/policy.yml")
        return None if written is None else judge(_Policy, section, written, self._findings, at=("policy",))

    def _check_names(self) -> None:
        """A file that nobody reads was meant to say something."""
        known = ("systems.yml", "people.yml", "policy.yml", "waves.yml", "drills.yml", "prices.yml")
        own = self._folder / OWN_FOLDER
        for path in sorted(own.iterdir()) if own.is_dir() else ():
            if path.name not in known and not path.name.startswith("."):
                near = did_you_mean(path.name, list(known))
                self._findings.append(Finding(str(path), 1, f"is not read{near} (known: {', '.join(known)})"))

    def _check_together(self, estate: Estate) -> None:
        files = {HOSTS: HOSTS_FILE, SYSTEMS: f"{OWN_FOLDER}/systems.yml", POLICY: f"{OWN_FOLDER}/policy.yml"}
        for breach in breaches(estate):
            written = self._written.get(files[breach.file])
            if written is not None:
                location = ("policy", *breach.location) if breach.file == POLICY else breach.location
                self._findings.append(written.finding(location, breach.message))

    def _stop_on_findings(self) -> None:
        if self._findings:
            raise InventoryError("\n".join(str(finding) for finding in sorted(set(self._findings))))

    def _reached(self, place: Reached) -> Reached:
        """The same, with its endpoints where this home is."""
        places = {
            "endpoint": self._expanded(place.endpoint),
            "endpoint_at_hosts": self._expanded(place.endpoint_at_hosts),
        }
        return place.model_copy(update=places)

    def _expanded(self, text: str | None) -> str | None:
        return None if text is None else expand_home(text, self._home)
