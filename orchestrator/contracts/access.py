"""Access from one host to another for one transfer."""

from contextlib import AbstractContextManager
from typing import Protocol

from orchestrator.model.frozen import Frozen
from orchestrator.model.host import Host


class Access(Frozen):
    """What the initiating host needs to reach its peer once.

    `ssh_words` is the whole ssh command up to, but without, the destination: identity, certificate, strict host keys,
    cipher, address, port and login user. `destination` is the word that follows. No word holds white space or quotes,
    so that they can be joined with blanks for `rsync -e`.
    """

    ssh_words: tuple[str, ...]
    destination: str


class TransferAccess(Protocol):
    """Grants one host a way to one forced command on another, for a short time.

    Laws (tests/laws/transfer_access_laws.py):
      grant   whatever the initiator asks for, the peer runs `force_command` and nothing else
      grant   holds from the initiator's address only, and not after `seconds`
      grant   leaves nothing on either host when the context ends, also when it ends by an error
    Fails only with a HostError.
    """

    def grant(
        self,
        initiator: Host,
        peer: Host,
        *,
        force_command: str,
        seconds: int,
        peer_user: str,
        initiator_user: str | None = None,
    ) -> AbstractContextManager[Access]:
        """`peer_user` logs in at the peer; `initiator_user` (None: its login user) runs ssh there and owns the key."""
        ...
