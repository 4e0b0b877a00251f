"""A person's signed word about what no machine can see, or may decide."""

from typing import Any, Literal

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Name, SystemName
from orchestrator.model.site import Side

# side_is_down   the side cannot be reached, and the person made sure that it takes no writes and will take none
# loss_accepted  what was written at the side alone, as far as it could be counted, may be given up
WordKind = Literal["side_is_down", "loss_accepted"]


class SignedWord(Frozen):
    """A DSSE envelope as text, beside what it says. Good for one fencing number: once authority moves, it is spent.

    Times are RFC 3339 UTC.
    """

    kind: WordKind
    system: SystemName
    side: Side
    number: int
    person: Name
    role: Name
    because: str
    at: str
    expires_at: str
    account: dict[str, Any] = {}  # what was shown to the person before they signed
    envelope: str
    key_fingerprint: str
