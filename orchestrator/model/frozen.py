"""The base of every noun: immutable, with a closed set of keys."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Equal by value, never changed; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
