"""The line from a replica's host to its source's: for one command; and what ssh says when the trust fails."""

from contextlib import AbstractContextManager

from orchestrator.contracts.access import Access, TransferAccess
from orchestrator.contracts.programs import root_user
from orchestrator.foundation.errors import AccessDenied, HostKeyMismatch
from orchestrator.foundation.limits import TRANSFER_CERTIFICATE_SECONDS
from orchestrator.model.host import Host


def line_to_source(
    access: TransferAccess, source: Host, replica: Host, command: str
) -> AbstractContextManager[Access]:
    """Whoever reads and writes data at the replica's host may have `command` run at the source, and nothing else."""
    return access.grant(
        replica,
        source,
        force_command=command,
        seconds=TRANSFER_CERTIFICATE_SECONDS,
        peer_user=source.user,
        initiator_user=root_user(replica),
    )


def refuse_access(way: str, said: str) -> None:
    """Raise what is meant by ssh's words; trying again would not help, so it is no broken line."""
    if "Host key verification failed" in said or "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        raise HostKeyMismatch(f"copy of {way}: the source does not show the host key that is known for it")
    if "Permission denied (publickey" in said:
        raise AccessDenied(
            f"copy of {way}: the source refuses the certificate of this transfer",
            hint="Its sshd must trust the transfer CA (TrustedUserCAKeys), and its clock must be right within minutes.",
        )
