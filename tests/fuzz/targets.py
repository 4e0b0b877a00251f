"""All targets, by parser family."""

from tests.fuzz import logs, notes, people
from tests.fuzz.target import Target

TARGETS: tuple[Target, ...] = (*notes.TARGETS, *people.TARGETS, *logs.TARGETS)
