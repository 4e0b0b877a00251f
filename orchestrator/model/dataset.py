"""What is replicated: file trees, PostgreSQL clusters, block volumes."""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.model.frozen import Frozen
from orchestrator.model.machine_boot import MachineBoot
from orchestrator.model.names import AbsolutePath, DatasetName, Digest, Name, SecretReference


class Canary(Frozen):
    """A file that nobody has a reason to touch: its path within the tree, and what it must be."""

    path: str = Field(min_length=1)
    digest: Digest


class FileTree(Frozen):
    """A folder with all that is in it."""

    kind: Literal["file_tree"] = "file_tree"
    name: DatasetName
    path: AbsolutePath
    # `replaced`: files are written aside and renamed, so a point may share them by hard link.
    # `in_place`: files are rewritten, so a point must copy (or reflink) them.
    changes: Literal["replaced", "in_place"] = "in_place"
    snapshots: Literal["portable", "btrfs", "zfs", "xfs_reflink"] = "portable"
    canaries: tuple[Canary, ...] = ()  # skerry drill ransomware takes one that is gone or changed for a sign


class PostgresCluster(Frozen):
    """One PostgreSQL data directory, its unit, and the roles that reach it."""

    kind: Literal["postgresql"] = "postgresql"
    name: DatasetName
    data_directory: AbsolutePath
    service: Name  # the unit that runs it
    port: int = Field(default=5432, ge=1, le=65535)
    databases: tuple[str, ...] = Field(min_length=1)
    replication_user: str = "replicator"
    replication_password: SecretReference | None = None
    # How standbys reach their upstream. `prefer` encrypts where the server offers it; everything else insists. With a
    # password, `require` is safe from those in between without any CA; `verify-…` reads `replication_root`, the CA's
    # certificate on the standby's host.
    replication_tls: Literal["prefer", "require", "verify-ca", "verify-full"] = "prefer"
    replication_root: AbsolutePath | None = None
    binaries: AbsolutePath = "/usr/lib/postgresql/15/bin"
    # `moment`: a recovery point is a position in the log, digested. `clone`: DR keeps the cluster of that moment as
    # files too, proves them by running a copy (pg_verifybackup, amcheck, pg_checksums), and the vault may take them.
    # Needs the cluster's size twice more there.
    points: Literal["moment", "clone"] = "moment"
    clones_kept: int = Field(default=1, ge=1, le=100)  # with `clone`: of so many points, the newest


class DirtyBitmap(Frozen):
    """The QEMU that has an image open at its source, and can tell what changed: its monitor, and the image's node."""

    qmp: AbsolutePath  # socket of the monitor
    node: str = Field(min_length=1)
    nbd: AbsolutePath | None = None  # socket of its NBD server, if it runs one; else one is started while it is needed


class BlockVolume(Frozen):
    """A disk, partition or image file."""

    kind: Literal["block_volume"] = "block_volume"
    name: DatasetName
    path: AbsolutePath
    dirty_bitmap: DirtyBitmap | None = None
    # How drills start a machine from it. Left out where there is none: plans made before have the digest they had.
    boot: MachineBoot | None = Field(default=None, exclude_if=lambda boot: boot is None)

    @property
    def is_device(self) -> bool:
        """Whether it is a disk or partition of the host; else it is an image file."""
        return self.path.startswith("/dev/")


Dataset = Annotated[FileTree | PostgresCluster | BlockVolume, Field(discriminator="kind")]
