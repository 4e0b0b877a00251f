"""A runbook: what a person writes down once, to be compiled for many systems."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Digest, Name, StepId
from orchestrator.model.scope import Scope
from orchestrator.model.step import Step


class RunbookInput(Frozen):
    """A value that may be given when a plan is made; `${name}` in the steps stands for it."""

    default: str | int | float | bool
    about: str = ""


class Include(Frozen):
    """Another runbook file, whose steps become steps of this one.

    `inputs` are given to it as to a plan. Its steps that need nothing wait for `needs`.
    """

    # Beside the file that includes it, or in a folder below.
    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$")]
    inputs: dict[Name, str | int | float | bool] = {}
    needs: tuple[StepId, ...] = ()


class Runbook(Frozen):
    """A directed acyclic graph of steps over a closed set of verbs, its inputs filled in, its includes read."""

    id: Name
    version: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)*$")]
    title: str
    # `part`: to be included by others, and no plan of its own.
    kind: Literal["migrate", "cutover", "rollback", "failover", "failback", "drill", "seed", "part"]
    author: Name
    scope: Scope | None = None  # what auditors ask of it, and no program can observe
    inputs: dict[Name, RunbookInput] = {}
    includes: tuple[Include, ...] = ()
    steps: tuple[Step, ...] = Field(min_length=1)
    digest: Digest  # of the file as written
    included: dict[str, Digest] = {}  # every file that was included, by its path from the runbook's folder
