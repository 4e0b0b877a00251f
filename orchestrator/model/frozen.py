"""The base of every noun: immutable, with a closed set of keys."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Frozen(BaseModel):
    """Equal by value, never changed; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Grown(Frozen):
    """A value whose `later` fields are written only where they say something: without them it has the same form, and
    a plan that holds it the same digest, as before they were thought of.
    """

    later: ClassVar[tuple[str, ...]]

    @model_serializer(mode="wrap")
    def _without_what_says_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        for name in self.later:
            if getattr(self, name) == type(self).model_fields[name].default:
                document.pop(name, None)
        return document
