"""The examples of docs/cli_json.md, and what it is to answer as they promise."""

import json
import re
from pathlib import Path
from typing import Any

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli_json.md").read_text()


def example(command: str) -> dict[str, Any]:
    section = DOCUMENT.split(f"\n## {command}\n", 1)[1].split("\n## ", 1)[0]
    found = re.search(r"```json\n(.+?)\n```", section, re.DOTALL)
    assert found, f"docs/cli_json.md has no example below {command}"
    document: dict[str, Any] = json.loads(found[1])
    return document


def holds(actual, promised, place="") -> None:
    """Every key of the example is there with the same kind of value; more keys may be."""
    if isinstance(promised, dict):
        assert isinstance(actual, dict), place
        for key, value in promised.items():
            assert key in actual, f"{place}.{key} is missing"
            holds(actual[key], value, f"{place}.{key}")
    elif isinstance(promised, list):
        assert isinstance(actual, list), place
        for item in actual if promised else []:
            holds(item, promised[0], f"{place}[]")
    elif isinstance(promised, bool) or not isinstance(promised, int | float):
        assert type(actual) is type(promised), place
    else:
        assert isinstance(actual, int | float), place
