"""Counting what only one side holds takes a while; whoever waits is told so, and how far it is."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import click

from orchestrator.cli.console import console
from orchestrator.cli.under_way import under_way
from orchestrator.contracts.progress import ProgressSink

Count = Callable[[ProgressSink], dict[str, Any]]


def counted(counts: Mapping[str, Count], *, as_json: bool) -> dict[str, dict[str, Any]]:
    """The account of each system, by what counts it."""
    out, accounts = console(), {}
    with under_way(out, shown=not as_json) as tell:
        for system, count in counts.items():
            if not as_json and not out.is_terminal:
                click.echo(f"{system}: looking at both sides for what only one of them has")
            accounts[system] = count(partial(tell, system))
    return accounts
