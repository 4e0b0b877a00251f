"""The estate as a person wrote it, after loading: sites, hosts, systems, people, policy."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from orchestrator.model.bandwidth import BandwidthWindow
from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host
from orchestrator.model.names import Digest, HostName, Name, SecretReference, SiteName, SystemName
from orchestrator.model.replication import ReplicationPolicy
from orchestrator.model.site import Side, Site
from orchestrator.model.system import MachineSpec, System
from orchestrator.model.vault import VaultSettings


class Person(Frozen):
    """Somebody who approves, signs or executes, with the SSH keys that are theirs."""

    id: Name
    name: str = ""
    roles: tuple[Name, ...] = ()
    keys: tuple[str, ...] = ()  # OpenSSH public keys


class ResidencyRule(Frozen):
    """Where data of one class may go. A class without a rule may go nowhere."""

    data_class: Name
    regions: tuple[str, ...]


# Who does what in the cloud; each name is that of a shipped policy.
CloudRole = Literal["replicator", "drill", "cutover", "auditor"]


class CloudSettings(Frozen):
    """Where the AWS API is, when it is not AWS itself, and how its SDK finds credentials. No secret stands here."""

    region: str = "us-east-1"
    endpoint: str | None = None  # an URL, or file:PATH of a file that holds it; None means AWS itself
    credentials_file: str | None = None  # for the SDK's own chain; None leaves the chain as it is
    profile: str | None = None
    endpoint_at_hosts: str | None = None  # the same as `endpoint`, as hosts reach it; None where that is no different
    role: str | None = None  # ARN of a role that is assumed for whatever is done; None stays with the chain's identity
    roles: dict[CloudRole, str] = {}  # the same for one part of the work, in the place of `role`: each has a policy
    accounts: tuple[str, ...] = ()  # where any is named, no other is spoken to; `role` then says which it is
    kms_key: str | None = None  # ARN of the key that snapshots are encrypted with; None is the account's default

    def role_for(self, part: CloudRole) -> str:
        """ARN of the role that does this part of the work; "" where the chain's own identity does."""
        return self.roles.get(part) or self.role or ""


StoreAbility = Literal["checksums", "conditions", "storage_classes", "object_lock", "tags"]


class BucketPlace(Frozen):
    """A bucket of a server that speaks S3 and is not AWS. What stands not in `can` is never asked of it.

    checksums: keeps the SHA-256 that content is sent with, and tells it; else all content is read back to be compared.
    conditions: puts an object only where none is; else nobody but us may write below the prefix meanwhile.
    tags: keeps tags of objects; else objects are ours by their place alone.
    """

    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    endpoint: str  # an URL, or file:PATH of a file that holds it
    endpoint_at_hosts: str | None = None  # the same, as hosts reach it; None where that is no different
    region: str  # where the server stands, as residency rules name it
    access_key: SecretReference
    secret_key: SecretReference
    can: tuple[StoreAbility, ...] = ()


class Link(Frozen):
    """What two sites can move between them, one way; measured, with the day it was measured."""

    source: SiteName
    replica: SiteName
    mbit_per_second: float = Field(gt=0)
    measured_on: str = ""  # ISO date; a rate nobody measured is a guess and says so by staying empty


class Inventory(Frozen):
    """The whole wish."""

    sites: dict[SiteName, Site]
    hosts: dict[HostName, Host]
    machines: dict[HostName, MachineSpec] = {}  # hosts that a target makes for us
    systems: dict[SystemName, System]
    people: dict[Name, Person] = {}
    residency: tuple[ResidencyRule, ...] = ()
    links: tuple[Link, ...] = ()
    bandwidth: tuple[BandwidthWindow, ...] = ()
    replication: ReplicationPolicy = ReplicationPolicy()
    concealed: tuple[str, ...] = ()  # members of what is observed that hold personal values: salted in the evidence
    ssh_config: str | None = None  # a file for `ssh -F`
    # The private key file of the CA whose user certificates the hosts accept; each transfer gets one from it.
    transfer_ca: str | None = None
    cloud: CloudSettings = CloudSettings()
    vault: VaultSettings | None = None
    buckets: dict[Name, BucketPlace] = {}
    digest: Digest  # over the files as written, and over the key files that people.yml refers to
    files: dict[str, Digest] = {}  # path below the inventory, or reference → digest
    warnings: tuple[str, ...] = ()  # file:line: what a person should know, though it stops nothing

    def site_of(self, host: HostName) -> Site:
        return self.sites[self.hosts[host].site]

    def side_of(self, host: HostName) -> Side:
        return self.site_of(host).side
