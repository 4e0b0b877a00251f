"""Files that people write: YAML read within limits, the line of every key kept, problems collected.

A problem is a `Finding` with file and line. Reading goes on after one, so that a person sees all of them at once.
"""

import hashlib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from orchestrator.foundation.limits import (
    INVENTORY_FILE_BYTES_MAX,
    MIB,
    WRITTEN_FILE_DEPTH_MAX,
    WRITTEN_FILE_NODES_MAX,
)

Location = tuple[str | int, ...]  # keys and list positions from the top of a file to a value

_TEXT_TAGS = ("!vault", "!unsafe")  # Ansible's: text that is Ansible's own business

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing wrong in a file that a person wrote."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass
class WrittenFile:
    """One parsed file. `data` holds plain dicts, lists and scalars; lines count from 1."""

    name: str  # as messages show it
    data: Any
    digest: str  # over the bytes as written
    value_lines: dict[Location, int] = field(default_factory=dict)
    key_lines: dict[Location, int] = field(default_factory=dict)

    def line_of(self, location: Location) -> int:
        """The line of the key at `location`, else of the nearest thing around it that is in the file."""
        for length in range(len(location), -1, -1):
            part = location[:length]
            if part in self.key_lines:
                return self.key_lines[part]
            if part in self.value_lines:
                return self.value_lines[part]
        return 1

    def finding(self, location: Location, message: str) -> Finding:
        return Finding(self.name, self.line_of(location), message)

    def holds(self, location: Location) -> bool:
        """Whether the file itself has something at `location`."""
        return location in self.value_lines


def did_you_mean(wrong: str, known: list[str]) -> str:
    """`; did you mean 'x'?` where one of `known` is close, else nothing."""
    near = get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def digest_of_bytes(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def read_written_file(path: Path, name: str, findings: list[Finding]) -> WrittenFile | None:
    """Read and parse `path`; None, and a finding, when it is missing, unreadable, too large or no YAML."""
    try:
        with path.open("rb") as stream:
            content = stream.read(INVENTORY_FILE_BYTES_MAX + 1)
    except OSError as error:
        findings.append(Finding(name, 1, f"cannot be read: {error.strerror or error}"))
        return None
    return parse_written_file(content, name, findings)


def parse_written_file(content: bytes, name: str, findings: list[Finding]) -> WrittenFile | None:
    """Parse one YAML document; None, and findings, when it cannot be trusted to mean what it says."""
    if len(content) > INVENTORY_FILE_BYTES_MAX:
        findings.append(Finding(name, 1, f"is larger than {INVENTORY_FILE_BYTES_MAX // MIB} MiB"))
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        findings.append(Finding(name, line, "is not UTF-8 text"))
        return None
    try:
        refusal = _shape_refusal(text)
        if refusal is not None:
            findings.append(Finding(name, *refusal))
            return None
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        since = f" ({error.context}, begun in line {error.context_mark.line + 1})" if error.context_mark else ""
        message = f"is not YAML: {error.problem or error.context}{since}"
        findings.append(Finding(name, mark.line + 1 if mark else 1, message))
        return None
    except yaml.YAMLError as error:
        findings.append(Finding(name, 1, f"is not YAML: {' '.join(str(error).split())}"))
        return None
    written = WrittenFile(name, None, digest_of_bytes(content))
    if node is None:
        findings.append(Finding(name, 1, "is empty"))
        return None
    written.data = _Reading(written, findings).value(node, ())
    return written


def written_section(
    content: bytes, name: str, section: str, findings: list[Finding]
) -> tuple[WrittenFile, dict[str, Any]] | None:
    """The file, and what stands below its one key `section`; None, and findings, where it holds anything else."""
    written = parse_written_file(content, name, findings)
    if written is None:
        return None
    data = written.data if isinstance(written.data, dict) else {}
    findings.extend(
        written.finding((key,), f"unknown key {key!r}{did_you_mean(str(key), [section])}")
        for key in data
        if key != section
    )
    below = data.get(section)
    if not isinstance(below, dict):
        findings.append(written.finding((section,), f"must hold the key {section!r} with a mapping below it"))
        return None
    return written, below


def _shape_refusal(text: str) -> tuple[int, str] | None:
    """Judge the document by its events alone, before anything is built from it."""
    depth = nodes = documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            # An alias of an alias of an alias is how ten lines become ten billion values.
            return line, f"uses the YAML alias *{event.anchor}; write the value out"
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                return line, "holds a second YAML document; one file holds one"
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > WRITTEN_FILE_DEPTH_MAX:
                return line, f"is nested deeper than {WRITTEN_FILE_DEPTH_MAX} levels"
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _TEXT_TAGS:
            return line, f"uses the YAML tag {tag}; plain values only"
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > WRITTEN_FILE_NODES_MAX:
            return line, f"holds more than {WRITTEN_FILE_NODES_MAX} values"
    return None


class _Reading:
    """Turns nodes into plain values, and remembers where they stood."""

    def __init__(self, written: WrittenFile, findings: list[Finding]) -> None:
        self._written = written
        self._findings = findings
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, location: Location) -> Any:
        self._written.value_lines[location] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*location, position)) for position, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(line, "a key must be a plain word")
                continue
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._complain(line, "merge keys (<<) are not read here; write the keys out")
                continue
            key = key_node.value
            if key in result:
                first = self._written.key_lines[(*location, key)]
                self._complain(line, f"key {key!r} is there twice (first in line {first})")
                continue
            result[key] = None
            self._written.key_lines[(*location, key)] = line
            result[key] = self.value(value_node, (*location, key))
        return result

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        if node.tag == "tag:yaml.org,2002:str" or node.tag in _TEXT_TAGS:
            return str(node.value)
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            reason = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
            self._complain(self._written.value_lines[location], f"{node.value!r} cannot be read: {reason}")
            return None

    def _complain(self, line: int, message: str) -> None:
        self._findings.append(Finding(self._written.name, line, message))
