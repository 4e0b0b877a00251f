"""How long points are kept."""

from pydantic import Field

from orchestrator.model.frozen import Frozen


class RetentionPolicy(Frozen):
    """How many points of each age stay. A rule of n periods keeps the oldest point of each of the n newest periods."""

    last: int = Field(default=3, ge=1, le=10_000)
    hourly: int = Field(default=0, ge=0, le=10_000)
    daily: int = Field(default=7, ge=0, le=10_000)
    weekly: int = Field(default=4, ge=0, le=10_000)
    monthly: int = Field(default=12, ge=0, le=10_000)
    yearly: int = Field(default=0, ge=0, le=1000)
