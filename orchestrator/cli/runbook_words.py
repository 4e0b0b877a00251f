"""Runbooks and their inputs as people name them on the command line."""

from pathlib import Path


def runbook_file(named: str) -> Path:
    """The file of a runbook: as named, else the shipped one of that name."""
    from orchestrator.foundation.errors import UsageError
    from orchestrator.foundation.places import shipped_folder

    path = Path(named)
    if path.suffix in (".yml", ".yaml") or "/" in named:
        return path
    shipped = shipped_folder("runbooks")
    path = shipped / f"{named}.yml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in shipped.glob("*.yml")))
        raise UsageError(f"no runbook is called {named}", hint=f"Shipped are: {known}. Or name a file.")
    return path


def inputs_of(words: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE words as a mapping."""
    from orchestrator.foundation.errors import UsageError

    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--set takes NAME=VALUE, not {word!r}")
        if name in values:
            raise UsageError(f"--set {name} is given twice")
        values[name] = value
    return values
