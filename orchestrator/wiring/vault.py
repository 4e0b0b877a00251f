"""The vault of an estate: its repository as hosts reach it, and its bucket as we do."""

from collections.abc import Callable

from orchestrator.contracts.transport import Transports
from orchestrator.contracts.vault import VaultBucket, VaultRepository
from orchestrator.model.vault import VaultSettings
from orchestrator.movers.vault.restic import ResticRepository
from orchestrator.targets.aws.session import written_endpoint
from orchestrator.targets.s3.vault_bucket import S3VaultBucket


def bind_vault(
    settings: VaultSettings, transports: Transports, resolve_secret: Callable[[str], str]
) -> tuple[VaultRepository, VaultBucket]:
    def secret(name: str) -> str:
        return resolve_secret(str(getattr(settings, name)))

    here = written_endpoint(settings.endpoint) or ""
    there = written_endpoint(settings.endpoint_at_hosts) or here
    bucket, prefix, region = settings.bucket, settings.prefix, settings.region
    return (
        ResticRepository(transports, endpoint=there, bucket=bucket, prefix=prefix, region=region, secrets=secret),
        S3VaultBucket(bucket, prefix, region=region, endpoint=here, secrets=secret),
    )
