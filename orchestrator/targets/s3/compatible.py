"""A server that speaks S3 and is not AWS: opened with keys of its own, for it gives none that end by themselves."""

from collections.abc import Callable

from orchestrator.foundation.errors import InventoryError
from orchestrator.model.inventory import BucketPlace
from orchestrator.targets.aws.session import written_endpoint


class CompatibleS3:
    """targets.s3.store.S3Service over a bucket's place in the estate."""

    def __init__(self, place: BucketPlace, secrets: Callable[[str], str]) -> None:
        self._place = place
        self._secrets = secrets

    @property
    def region(self) -> str:
        return self._place.region

    def keys_for_host(self) -> dict[str, str]:
        keys = {"access_key": self._place.access_key, "secret_key": self._place.secret_key}
        return {**{name: self._secrets(reference) for name, reference in keys.items()}, "token": ""}

    def endpoint_at_hosts(self, service: str) -> str:
        named = written_endpoint(self._place.endpoint_at_hosts) or written_endpoint(self._place.endpoint)
        if named is None:
            raise InventoryError(f"the bucket {self._place.bucket} has no endpoint for {service}")
        return named
