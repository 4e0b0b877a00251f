"""Judges parsed files by pydantic models and says every problem with file, line and what would be right."""

import types
import typing
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.foundation.written_file import Finding, Location, WrittenFile, did_you_mean

Model = TypeVar("Model", bound=BaseModel)

_WORDS_FOR_NAMES = "is not a name: small letters and digits, with single dashes between, starting with a letter"
_PLAIN_WORDS = {
    "a valid tuple": "a list",
    "a valid list": "a list",
    "a valid dictionary": "a mapping",
    "a valid dictionary or instance of": "a mapping, as for",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
}
_PRIVATE = ("password", "secret", "token")  # a value written where a reference belongs is not repeated in messages


def judge(
    model: type[Model],
    data: Any,
    written: WrittenFile,
    findings: list[Finding],
    *,
    at: Location = (),
    implied: tuple[str, ...] = (),
) -> Model | None:
    """`data` (which stands at `at` in the file) as `model`; None, and findings, where it does not fit.

    `implied` names keys that the caller fills in, so that nobody is told to write them.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        findings.extend(_finding(model, detail, written, at, implied) for detail in error.errors(include_url=False))
        return None


def _finding(
    model: type[BaseModel], detail: ErrorDetails, written: WrittenFile, at: Location, implied: tuple[str, ...]
) -> Finding:
    location = _in_file(detail["loc"], written, at)
    kind = detail["type"]
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    line = written.line_of(location)
    if kind == "missing":
        message = f"{_place(location, written)}key {last!r} is missing"
    elif kind == "extra_forbidden":
        known = [key for key in known_keys(model, detail["loc"][:-1]) if key not in implied or len(detail["loc"]) > 1]
        message = f"{_place(location[:-1], written)}unknown key {last!r}{did_you_mean(last, known)}"
        if known:
            message += f" (known: {', '.join(known)})"
    else:
        complaint = _complaint(detail, location)
        line = written.line_of(_named_in(complaint, location, written))
        message = f"{_place(location, written)}{complaint}"
    return Finding(written.name, line, message)


def _complaint(detail: ErrorDetails, location: Location) -> str:
    kind, given = detail["type"], detail["input"]
    context: dict[str, Any] = detail.get("ctx") or {}
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", detail["msg"]))
    if kind in ("enum", "literal_error", "union_tag_invalid"):
        expected = str(context.get("expected") or context.get("expected_tags"))
        wrong = str(context.get("tag", given))
        words = [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")]
        return f"must be one of {', '.join(words)}, not {wrong!r}{did_you_mean(wrong, words)}"
    if kind == "union_tag_not_found":
        return f"key {str(context['discriminator']).strip(chr(39))!r} is missing: it says what this is"
    private = any(word in str(part).lower() for part in location for word in _PRIVATE)
    shown = "what is written there" if private else repr(given)
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        if pattern.startswith("^(env|file"):
            return "must refer to a secret (env:NAME, file:PATH, command:WORDS or aws-kms:ARN), never hold its value"
        return f"{shown} {_WORDS_FOR_NAMES}" if pattern.startswith("^[a-z]") else f"{shown} does not match {pattern}"
    if kind == "too_short":
        return f"must hold at least {context['min_length']} of them, and holds {context['actual_length']}"
    text = detail["msg"].removeprefix("Input ").replace("should ", "must ")
    for theirs, ours in _PLAIN_WORDS.items():
        text = text.replace(theirs, ours)
    return f"{text}, not {shown}"


def _named_in(complaint: str, location: Location, written: WrittenFile) -> Location:
    """Where a complaint that begins with a path of keys (`placements.source: …`) points, below `location`."""
    head = complaint.partition(": ")[0]
    deeper = location
    for key in head.split("."):
        if not written.holds((*deeper, key)):
            break
        deeper = (*deeper, key)
    return deeper


def _in_file(loc: tuple[str | int, ...], written: WrittenFile, at: Location) -> Location:
    """Location as pydantic gives it, without what is not in the file: tags of unions, '[key]'."""
    location = at
    for position, part in enumerate(loc):
        if written.holds((*location, part)):
            location = (*location, part)
        elif position == len(loc) - 1 and part != "[key]":
            break  # a missing key: stay at what it is missing from
    return location


def _place(location: Location, written: WrittenFile) -> str:
    """`systems.filing.datasets[scans]: ` for a message; an entry of a list that says its name is called by it."""
    words = ""
    value = written.data
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            value = None
        if isinstance(part, int):
            named = (value.get("id") or value.get("name")) if isinstance(value, dict) else None
            words += f"[{named if isinstance(named, str) else part}]"
        else:
            words += f".{part}" if words else part
    return f"{words}: " if words else ""


def known_keys(model: Any, loc: tuple[str | int, ...]) -> list[str]:
    """The keys that may stand at `loc` (pydantic's location) below `model`, in their written order."""
    kinds = [model]
    for part in loc:
        kinds = [inner for kind in kinds for inner in _below(kind, part)]
    names: list[str] = []
    for kind in kinds:
        for model_type in _models_in(kind):
            written = [field.alias or name for name, field in model_type.model_fields.items()]
            names += [name for name in written if name not in names]
    return names


def _below(kind: Any, part: str | int) -> list[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        return _below(get_args(kind)[0], part)
    if origin in (Union, types.UnionType):
        tagged = [member for member in get_args(kind) if _tag(member) == part]
        return tagged or [inner for member in get_args(kind) for inner in _below(member, part)]
    if origin is dict:
        return [get_args(kind)[1]]
    if origin in (tuple, list) and isinstance(part, int):
        return [get_args(kind)[0]]
    if isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
        return [_annotation(kind, str(part))]
    return []


def _annotation(model: type[BaseModel], name: str) -> Any:
    return typing.get_type_hints(model, include_extras=True)[name]


def _models_in(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for part in get_args(kind) for model in _models_in(part)]


def _tag(kind: Any) -> str | None:
    """The word that says which member of a union is meant: the default of `kind` or `verb`."""
    for name in ("kind", "verb"):
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name in kind.model_fields:
            return str(kind.model_fields[name].default)
    return None
