"""A person's signed word, as steps find it, good for the present fencing number alone; and sides that were lost."""

from typing import Any

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed
from orchestrator.foundation.clock import Clock, timestamp
from orchestrator.model.site import Side
from orchestrator.model.word import SignedWord, WordKind


def word_key(kind: WordKind, system: str, side: Side, number: int) -> str:
    """Under which key of the catalogue the words of this kind begin."""
    return f"{system}/{kind}/{side.value}/{number}/"


def word_of(drivers: Drivers, deed: Deed, kind: WordKind, side: Side, number: int) -> SignedWord | None:
    """The newest word of `kind` about `side` that was given while `number` was the fencing number and still holds.

    It was judged against people.yml when it was given; its envelope goes into the evidence when it is relied on.
    """
    return word_in_force(drivers.catalogue, drivers.clock, kind, deed.system_plan.system.name, side, number)


def word_in_force(
    catalogue: Catalogue, clock: Clock, kind: WordKind, system: str, side: Side, number: int
) -> SignedWord | None:
    """As `word_of`, for who has no deed."""
    now = timestamp(clock.now())
    for _, document in catalogue.list("word", prefix=word_key(kind, system, side, number)):
        word = SignedWord.model_validate(document)
        if word.expires_at > now:
            return word
    return None


def spend_words_on(drivers: Drivers, system: str, side: Side, number: int) -> list[SignedWord]:
    """What people said of `side` being down holds no longer: it is there again. The words that were spent by that."""
    spent = []
    for key, document in drivers.catalogue.list("word", prefix=word_key("side_is_down", system, side, number)):
        drivers.catalogue.drop("word", key)
        spent.append(SignedWord.model_validate(document))
    return spent


def given_up(deed: Deed, side: Side) -> SignedWord | None:
    """The word by which this run left behind what `side` alone holds; it holds for the rest of the run.

    A step that relied on it observed it as `given_up`. Authority has moved since, and the word itself is spent.
    """
    for observed in deed.earlier.values():
        word = observed.get("given_up")
        if word is not None and word["side"] == side.value:
            return SignedWord.model_validate(word)
    return None


def as_evidence(word: SignedWord) -> dict[str, Any]:
    """What an event says of a word that was relied on."""
    return {"word": word.model_dump(mode="json")}


def mark_lost(drivers: Drivers, system: str, side: Side, number: int) -> None:
    """Note that authority was taken from `side` while nobody could see what it held alone."""
    drivers.catalogue.put("lost_side", f"{system}/{side.value}", {"number": number, "open": True})


def is_lost(drivers: Drivers, system: str, side: Side) -> bool:
    """Whether `side` may hold writes that were never counted."""
    found = drivers.catalogue.get("lost_side", f"{system}/{side.value}")
    return found is not None and bool(found["open"])


def mark_found(drivers: Drivers, system: str, side: Side, number: int) -> None:
    """Note that what `side` held alone was given up by a person's word, or looked at and found to be nothing."""
    drivers.catalogue.put("lost_side", f"{system}/{side.value}", {"number": number, "open": False})
