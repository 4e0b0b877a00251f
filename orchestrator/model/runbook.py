"""A runbook: what a person writes down once, to be compiled for many systems."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Digest, Name
from orchestrator.model.scope import Scope
from orchestrator.model.step import Step


class RunbookInput(Frozen):
    """A value that may be given when a plan is made; `${name}` in the steps stands for it."""

    default: str | int | float | bool
    about: str = ""


class Runbook(Frozen):
    """A directed acyclic graph of steps over a closed set of verbs, its inputs filled in."""

    id: Name
    version: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)*$")]
    title: str
    kind: Literal["migrate", "cutover", "rollback", "failover", "failback", "drill"]
    author: Name
    scope: Scope | None = None  # what auditors ask of it, and no program can observe
    inputs: dict[Name, RunbookInput] = {}
    steps: tuple[Step, ...] = Field(min_length=1)
    digest: Digest  # of the file as written
