"""The way to AWS: credentials by the SDK's own chain, one region, and only where residency allows it.

Rules: a region that no residency rule names is refused before the first call; credentials are found by the SDK
(profile, environment, instance role), and hosts get only such as end by themselves; a role, where one is named, is
assumed anew for each run; the SDK retries a call that the service throttled or lost,
a bounded number of times, and nobody above retries single calls.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as SdkConnectionError
from botocore.parsers import ResponseParserError

from orchestrator.foundation.clock import Clock
from orchestrator.foundation.errors import (
    InventoryError,
    TargetError,
    TargetForbidden,
    TargetThrottled,
    TargetUnreachable,
)
from orchestrator.model.inventory import CloudRole, CloudSettings, Inventory

Found = TypeVar("Found")

ATTEMPTS_MAX = 8  # of one call: half of all calls throttled still lets 255 of 256 pass
CONNECT_SECONDS_MAX = 5
READ_SECONDS_MAX = 30
ROLE_SESSION_SECONDS = 3600
HOST_KEYS_SECONDS = 3600
VISIBLE_SECONDS_MAX = 60.0  # EC2 is eventually consistent: what was just made may be unknown for a while
POLL_SECONDS_FIRST, POLL_SECONDS_MAX = 0.1, 5.0

THROTTLED = {
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "PriorRequestNotComplete",
    "SlowDown",
    "EC2ThrottledException",
    "ConcurrentSnapshotLimitExceeded",
}
FORBIDDEN = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "OptInRequired",
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
    "VolumeLimitExceeded",
    "ServiceQuotaExceededException",
    "SnapshotLimitExceeded",
}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
HINTS = {
    "InsufficientInstanceCapacity": "The zone has no such machine now. Choose another instance type or subnet.",
    "VcpuLimitExceeded": "Ask AWS for a higher vCPU quota in this region, or choose a smaller instance type.",
    "ServiceQuotaExceededException": "Ask AWS for a higher quota; see what is left behind: skerry cloud orphans",
    "SnapshotLimitExceeded": "Ask AWS for a higher quota of snapshots; see what is left behind: skerry cloud orphans",
    "VolumeLimitExceeded": "Ask AWS for a higher quota of storage; see what is left behind: skerry cloud orphans",
    "UnauthorizedOperation": "The role lacks this action; compare it with the shipped policies.",
    "AccessDenied": "The role lacks this action; compare it with the shipped policies.",
}


@contextmanager
def aws_errors(deed: str) -> Iterator[None]:
    """Let no error of the SDK past this file. `deed` says what was tried, for the message."""
    try:
        yield
    except ClientError as error:
        raise _from_answer(deed, error) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise TargetForbidden(
            f"{deed}: {error}", hint="Give the SDK credentials: a profile, its environment variables or a role."
        ) from error
    except (SdkConnectionError, HTTPClientError, ResponseParserError) as error:
        raise TargetUnreachable(f"{deed}: {error}") from error
    except BotoCoreError as error:
        raise TargetError(f"{deed}: {error}") from error


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _from_answer(deed: str, error: ClientError) -> TargetError:
    said = str(error.response.get("Error", {}).get("Message", "")).strip()
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return refusal(deed, error_code(error), said, status)


def refusal(deed: str, code: str, said: str, status: int) -> TargetError:
    """The error that a refusal in AWS's words stands for; `status` is 0 where no answer came."""
    message = f"{deed}: {code}: {said}" if said else f"{deed}: {code}"
    if code in THROTTLED:
        return TargetThrottled(message)
    if code in EXPIRED:
        return TargetForbidden(message, hint="Sign in again, then run the same command: what was done is kept.")
    if code in FORBIDDEN:
        return TargetForbidden(message, hint=HINTS.get(code, ""))
    if code in HINTS:
        return TargetError(message, hint=HINTS[code])
    if status >= 500 or code == "Unreachable":
        return TargetUnreachable(message)
    return TargetError(message, hint=HINTS.get(code, ""))


class AwsSession:
    """One account and region. Clients are made when first asked for and may be used from many threads."""

    def __init__(
        self,
        settings: CloudSettings,
        *,
        allowed_regions: frozenset[str],
        clock: Clock,
        ssh_user_ca: str = "",
        attempts_max: int = ATTEMPTS_MAX,
        part: CloudRole = "cutover",
        run: str = "",
    ) -> None:
        self.settings = settings
        self._role = settings.role_for(part)
        self._run = run
        self.ssh_user_ca = ssh_user_ca  # a public key line that new machines shall trust for logins; "" for none
        self.clock = clock
        self._allowed_regions = allowed_regions
        self._attempts_max = attempts_max
        self._clients: dict[str, Any] = {}

    def acting(self, part: CloudRole, run: str) -> "AwsSession":
        """The same way to AWS in the role for that part of the work, assumed anew: AWS's records name the run."""
        return AwsSession(
            self.settings,
            allowed_regions=self._allowed_regions,
            clock=self.clock,
            ssh_user_ca=self.ssh_user_ca,
            attempts_max=self._attempts_max,
            part=part,
            run=run,
        )

    @property
    def region(self) -> str:
        return self.settings.region

    @cached_property
    def _boto3(self) -> boto3.Session:
        if self.region not in self._allowed_regions:
            allowed = ", ".join(sorted(self._allowed_regions)) or "none"
            raise TargetForbidden(
                f"region {self.region} is allowed by no residency rule (allowed: {allowed})",
                hint="Nothing was called. Mend cloud.region or policy.residency in the estate.",
            )
        self._check_account()
        core = botocore.session.Session(profile=self.settings.profile)
        if self.settings.credentials_file:
            core.set_config_variable("credentials_file", self.settings.credentials_file)
        if self._role:
            self._assume(core, self._role)
        return boto3.Session(botocore_session=core, region_name=self.region)

    def _check_account(self) -> None:
        """An account is known before the first call by its role alone; so where accounts are named a role must be."""
        account = self._role.split(":")[4:5]
        if self.settings.accounts and not set(self.settings.accounts).issuperset(account or [""]):
            found = account[0] if account else "(no cloud.role names one)"
            raise TargetForbidden(
                f"account {found} is not among those allowed: {', '.join(self.settings.accounts)}",
                hint="Nothing was called. Mend cloud.role or cloud.accounts in the estate.",
            )

    def _assume(self, core: botocore.session.Session, role: str) -> None:
        """From now on `core` acts as the role; what it is given ends by itself and is renewed before."""
        own = core.get_credentials()  # the chain's; `core` will show the role's instead

        def assumed() -> dict[str, Any]:
            frozen = own.get_frozen_credentials() if own else None
            sts = boto3.client(
                "sts",
                region_name=self.region,
                endpoint_url=self._endpoint(),
                aws_access_key_id=frozen.access_key if frozen else None,
                aws_secret_access_key=frozen.secret_key if frozen else None,
                aws_session_token=frozen.token if frozen else None,
            )
            with aws_errors(f"assuming {role}"):
                given = sts.assume_role(
                    RoleArn=role, RoleSessionName=role_session_name(self._run), DurationSeconds=ROLE_SESSION_SECONDS
                )["Credentials"]
            return {
                "access_key": given["AccessKeyId"],
                "secret_key": given["SecretAccessKey"],
                "token": given["SessionToken"],
                "expiry_time": given["Expiration"].isoformat(),
            }

        core._credentials = DeferredRefreshableCredentials(  # type: ignore[attr-defined]  # noqa: SLF001 - the SDK's
            assumed, method="assume-role"
        )

    def keys_for_host(self) -> dict[str, str]:
        """Keys that a host may use for a while: the role's, or such as the chain's identity gets for a session."""
        credentials = self._boto3.get_credentials()
        with aws_errors("getting keys for a host"):
            if credentials is None:
                raise NoCredentialsError
            frozen = credentials.get_frozen_credentials()
        if frozen.token:
            known = (frozen.access_key or "", frozen.secret_key or "", frozen.token)
            return dict(zip(("access_key", "secret_key", "token"), known, strict=True))
        with aws_errors("getting keys for a host"):
            given = self.client("sts").get_session_token(DurationSeconds=HOST_KEYS_SECONDS)["Credentials"]
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
        }

    def endpoint_at_hosts(self, service: str) -> str:
        """The URL by which hosts reach a service."""
        named = written_endpoint(self.settings.endpoint_at_hosts) or self._endpoint()
        return named or f"https://{service}.{self.region}.amazonaws.com"

    def client(self, service: str) -> Any:
        """The SDK's client of a service. Use it within `aws_errors`."""
        if service not in self._clients:
            with aws_errors(f"preparing {service}"):
                self._clients[service] = self._boto3.client(  # type: ignore[call-overload]
                    service,
                    endpoint_url=self._endpoint(),
                    config=Config(
                        connect_timeout=CONNECT_SECONDS_MAX,
                        read_timeout=READ_SECONDS_MAX,
                        retries={"mode": "standard", "total_max_attempts": self._attempts_max},
                        max_pool_connections=32,
                        user_agent_extra="skerry",
                        s3={"addressing_style": "path"} if self.settings.endpoint else {},
                    ),
                )
        return self._clients[service]

    def poll(self, look: Callable[[], Found | None], seconds_max: float) -> Found | None:
        """What `look` finds, asked less and less often; None when the time is over."""
        until = self.clock.monotonic_seconds() + seconds_max
        wait_seconds = POLL_SECONDS_FIRST
        while (found := look()) is None:
            if self.clock.monotonic_seconds() >= until:
                return None
            self.clock.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 1.3, POLL_SECONDS_MAX)
        return found

    def _endpoint(self) -> str | None:
        return written_endpoint(self.settings.endpoint)


def role_session_name(run: str) -> str:
    """What CloudTrail tells of who asked: 64 characters of those that STS takes."""
    return re.sub(r"[^\w+=,.@-]", "-", f"skerry-{run}", flags=re.ASCII)[:64] if run else "skerry"


def written_endpoint(named: str | None) -> str | None:
    """The URL that an estate's words mean; None is AWS itself. `file:PATH` is read anew: a lab's port may change."""
    if named is None or not named.startswith("file:"):
        return named
    path = Path(named.removeprefix("file:"))
    try:
        return path.read_text().strip()
    except OSError as error:
        raise InventoryError(
            f"the cloud's endpoint: {path}: {error.strerror}", hint="Is the lab up? See: skerry lab status"
        ) from error


def open_session(inventory: Inventory, clock: Clock, part: CloudRole = "cutover") -> AwsSession:
    """The session that an estate asks for, for that part of the work. Nothing is called yet."""
    allowed = frozenset(region for rule in inventory.residency for region in rule.regions)
    public = Path(f"{inventory.transfer_ca}.pub") if inventory.transfer_ca else None
    user_ca = public.read_text().strip() if public and public.is_file() else ""
    return AwsSession(inventory.cloud, allowed_regions=allowed, clock=clock, ssh_user_ca=user_ca, part=part)
