"""Durations on the command line: 30s, 5m, 4h, 2d."""

from typing import Any

import click


class Duration(click.ParamType[float]):
    """Seconds, from what a person writes; a bare number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from orchestrator.model.names import parse_duration

        if isinstance(value, int | float):
            return float(value)
        text = str(value)
        try:
            return float(text) if text.replace(".", "", 1).isdigit() else float(parse_duration(text))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()
# A drill does not disturb a run: it comes after it.
wait_option = click.option(
    "--wait", type=DURATION, default="10m", metavar="TIME", help="Wait so long for a run to end, or for a move: 10m."
)
