"""Which points are clean of ransomware, by what they show against the points before them. Pure."""

from collections.abc import Iterator, Sequence

from orchestrator.contracts.point_looks import PointLook

FILES_MIN = 10  # of fewer nothing is concluded
NOISE_SHARE_MAX = 0.2  # of changed files that became noise
RENAMED_SHARE_MAX = 0.2  # of all files, with one and the same suffix
# A tree that is not backed up as a whole changes little from point to point; so few changes say nothing of a share.
NOISE_MIN = 5


def why_not_clean(look: PointLook) -> tuple[str, ...]:
    """Every sign of ransomware that the point shows; none where it shows none."""
    return tuple(_signs(look))


def _signs(look: PointLook) -> Iterator[str]:
    for canary in look.canaries:
        yield f"canary {canary}"
    if look.noise >= NOISE_MIN and look.noise > NOISE_SHARE_MAX * look.compared:
        named = ", ".join(look.examples)
        yield f"{look.noise} of {look.compared} changed files became noise: {named}"
    if look.files_before >= FILES_MIN and look.renamed > RENAMED_SHARE_MAX * look.files_before:
        yield f"{look.renamed} of {look.files_before} files were renamed to {look.suffix}"


def last_clean(verdicts: Sequence[tuple[str, bool]]) -> str:
    """Of (point, clean), oldest first: the one before the first that is not clean, else the newest; "" for none.

    What comes after a point that is not clean is never taken: it was made from it.
    """
    found = ""
    for point, clean in verdicts:
        if not clean:
            break
        found = point
    return found
