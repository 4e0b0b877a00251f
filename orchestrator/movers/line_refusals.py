"""What ssh says between two hosts when it is not the line that fails but the trust."""

from orchestrator.foundation.errors import AccessDenied, HostKeyMismatch


def refuse_access(way: str, said: str) -> None:
    """Raise what is meant by ssh's words; trying again would not help, so it is no broken line."""
    if "Host key verification failed" in said or "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        raise HostKeyMismatch(f"copy of {way}: the source does not show the host key that is known for it")
    if "Permission denied (publickey" in said:
        raise AccessDenied(
            f"copy of {way}: the source refuses the certificate of this transfer",
            hint="Its sshd must trust the transfer CA (TrustedUserCAKeys), and its clock must be right within minutes.",
        )
