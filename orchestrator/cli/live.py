"""A run as a person watches it: steps scroll by, what is under way stands below with bytes, rate and time to go.

On a terminal a live table; in a pipe plain lines, progress at most every few seconds; with --json one object per line.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli.accounts import account_lines
from orchestrator.cli.unhurried import unhurried_output
from orchestrator.contracts.progress import Progress
from orchestrator.foundation.amounts import seconds_text, size_text
from orchestrator.foundation.errors import Interrupted
from orchestrator.foundation.printable import printable
from orchestrator.model.action import Decision, Manual
from orchestrator.model.event import RunEvent
from orchestrator.model.plan import Plan

PLAIN_PROGRESS_SECONDS = 5.0
# Shown beside steps; whoever goes round something is never left out.
SHOWN_KINDS = (
    "rollback.started",
    "gate.passed",
    "gate.closed",
    "gate.skipped",
    "waiver.given",
    "deviation.recorded",
    "request.refused",
    "run.finished",
)
_MARKS = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "timed_out": ("?", "yellow"),
    "skipped": ("–", "dim"),
    "unknown": ("?", "yellow"),
}


def progress_text(progress: Progress) -> str:
    """What is moving, how much of it, how fast, and how long to go."""
    parts = [progress.text or progress.dataset]
    if progress.bytes_total:
        share = min(1.0, progress.bytes_done / progress.bytes_total)
        parts.append(f"{size_text(progress.bytes_done)} of {size_text(progress.bytes_total)} ({share:.0%})")
    elif progress.bytes_done:
        parts.append(size_text(progress.bytes_done))
    if progress.bytes_per_second > 0:
        parts.append(f"{size_text(progress.bytes_per_second)}/s")
        if progress.bytes_total > progress.bytes_done:
            left = (progress.bytes_total - progress.bytes_done) / progress.bytes_per_second
            parts.append(f"ETA {seconds_text(max(1, round(left)))}")
    return printable("  ".join(part for part in parts if part))


def step_line(step: dict[str, Any]) -> str:
    """A row of RunStatus as the live view tells of it: begun, moving, or ended."""
    system, name = f"{step['system']:<10}", _arrow(step["mode"]) + str(step["step"])
    if step["doing"] is not None:
        return printable(f"    {system} {name}: {progress_text(Progress.model_validate(step['doing']))}")
    if not step["result"]:
        return printable(f"  … {system} {name}  {step['message']}".rstrip())
    mark, _ = _MARKS.get(step["result"], ("•", ""))
    return printable(f"  {mark} {system} {name:<22}{step['seconds'] or 0.0:7.2f} s  {step['message']}".rstrip())


@dataclass
class _Underway:
    step: str
    mode: str
    started: float
    progress: Progress | None = None
    told: float = 0.0


@dataclass
class LiveRun:
    """An observer that draws. While it is shown, no reader of the output can hold up a run, be he slow or gone."""

    console: Console
    as_json: bool = False
    stream: TextIO | None = None  # of JSON; by default standard output
    _underway: dict[tuple[str, str], _Underway] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _run: str = ""  # of which something was told
    _wave: str = ""
    _steps: dict[str, int] = field(default_factory=dict)
    _done: dict[str, set[str]] = field(default_factory=dict)
    _asked: dict[tuple[str, str], str] = field(default_factory=dict)  # steps at which a person is asked, and what
    _began: float = field(default_factory=time.monotonic)

    def expect(self, plan: Plan) -> None:
        """Say what is about to run, so that the view can tell how far it is."""
        self._wave, self._began = plan.wave, time.monotonic()
        self._steps = {planned.system.name: len(planned.steps) for planned in plan.systems}
        actions = {(planned.system.name, step.id): step.action for planned in plan.systems for step in planned.steps}
        self._asked = {key: each.question for key, each in actions.items() if isinstance(each, Decision)}
        self._asked |= {key: each.text for key, each in actions.items() if isinstance(each, Manual)}

    @contextmanager
    def shown(self) -> Iterator["LiveRun"]:
        """Draw while inside. Whoever interrupts it is told where to look."""
        try:
            with unhurried_output(as_json=self.as_json):
                if self.as_json or not self.console.is_terminal:
                    yield self
                    return
                with Live(get_renderable=self._table, console=self.console, refresh_per_second=8, transient=True):
                    yield self
        except Interrupted as stopped:
            if not self._run:
                raise
            raise Interrupted(stopped.message, hint=stopped.hint.replace("RUN", self._run)) from None
        except KeyboardInterrupt:
            if not self._run:
                raise
            hint = f"{Interrupted.default_hint} See where it stands: skerry runs show {self._run}"
            raise Interrupted("interrupted", hint=hint) from None

    def say(self, text: str, style: str = "") -> None:
        """A line of its own, above what is under way."""
        if not self.as_json:
            self.console.print(Text(printable(text), style=style), soft_wrap=not self.console.is_terminal)

    def notice(self, event: RunEvent) -> None:
        self._run = event.run or self._run
        if self.as_json:
            stream = self.stream or sys.stdout
            with self._lock:
                stream.write(json.dumps({"event": event.model_dump(mode="json", exclude_defaults=True)}) + "\n")
                stream.flush()
            return
        key = (event.system, event.step)
        mode = str(event.data.get("mode", "do"))
        if event.type == "step.started":
            with self._lock:
                self._underway[key] = _Underway(event.step, mode, time.monotonic())
            if not self.console.is_terminal:
                self.say(f"  … {event.system:<10} {_arrow(mode)}{event.step}")
            if mode == "do" and key in self._asked:
                self.say(f"  ? {event.system:<10} {self._asked[key]}", "yellow")
                asking = f"skerry runs ask confirm {event.run} --system {event.system} --step {event.step}"
                self.say(f"    {'':<10} say so elsewhere, or `reject`: {asking} --as PERSON --because WHY", "yellow")
        elif event.type == "step.finished":
            with self._lock:
                began = self._underway.pop(key, None)
                self._done.setdefault(event.system, set()).add(f"{event.step}.{mode}")
            self._finished(event, mode, time.monotonic() - began.started if began else 0.0)
        elif event.type in SHOWN_KINDS:
            style = "yellow" if event.type == "rollback.started" else "cyan"
            self.say(f"  • {event.system:<10} {event.type}  {_brief(event)}", style)
        elif event.type == "system.changed" and event.data.get("state") in ("waiting", "running"):
            if event.data.get("reason"):
                self.say(f"  • {event.system:<10} {_brief(event)}", "cyan")
        elif event.type == "writes.accounted":
            for line in account_lines(event.data):
                self.say(f"  • {event.system:<10} {line}", "cyan")
        elif event.type == "anchor.failed":
            for trouble in event.data.get("failed", []):
                self.say(f"  ! the log was not shown to everybody: {trouble}", "yellow")

    def progress(self, run: str, system: str, step: str, progress: Progress) -> None:
        with self._lock:
            underway = self._underway.get((system, step))
            if underway is None:
                return
            underway.progress = progress
            quiet = self.as_json or self.console.is_terminal
            due = time.monotonic() - max(underway.told, underway.started) >= PLAIN_PROGRESS_SECONDS
            if quiet or not due:
                return
            underway.told = time.monotonic()
        self.say(f"    {system:<10} {step}: {progress_text(progress)}")

    def _finished(self, event: RunEvent, mode: str, watched_seconds: float) -> None:
        result = str(event.data.get("status", ""))
        mark, style = _MARKS.get(result, ("•", ""))
        seconds = float(event.data.get("durationSeconds", watched_seconds) or watched_seconds)
        line = Text(f"  {mark} ", style=style)
        line.append(f"{event.system:<10} ", style="bold")
        line.append(f"{_arrow(mode)}{event.step:<22}")
        line.append(f"{seconds:7.2f} s  ", style="dim")
        line.append(printable(str(event.data.get("message", ""))))
        self.console.print(line, soft_wrap=not self.console.is_terminal)

    def _table(self) -> Group:
        return Group(self._how_far(), self._under_way())

    def _how_far(self) -> Text:
        """Wave lab-1   filing 7 of 23   archive 9 of 23   1 min 4 s"""
        if not self._wave:
            return Text("")
        line = Text("  wave ", style="dim")
        line.append(self._wave, style="bold")
        with self._lock:
            for system, total in self._steps.items():
                done = self._done.get(system, set())
                back = sum(name.endswith(".undo") for name in done)
                told = f"going back, {back} undone" if back else f"step {len(done)} of {total}"
                line.append(f"   {system} ", style="bold")
                line.append(told, style="yellow" if back else "cyan")
        line.append(f"   {seconds_text(round(time.monotonic() - self._began))}", style="dim")
        return line

    def _under_way(self) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 1))
        with self._lock:
            rows = list(self._underway.items())
        for (system, _), underway in rows:
            told = progress_text(underway.progress) if underway.progress else ""
            table.add_row(
                Text("  ▸", style="cyan"),
                Text(system, style="bold"),
                Text(_arrow(underway.mode) + underway.step, style="cyan"),
                Text(f"{time.monotonic() - underway.started:6.1f} s", style="dim"),
                Text(told),
            )
        return table


def _arrow(mode: str) -> str:
    return "↩ " if mode == "undo" else ""


def _brief(event: RunEvent) -> str:
    if event.type == "request.refused":
        asked = str(event.data.get("operation", "")).replace("_", " ")
        return f"{asked}, asked by {event.data.get('by') or 'nobody'}: {event.data.get('because', '')}"
    for name in ("reason", "because", "message", "gate", "state", "result"):
        if event.data.get(name):
            return str(event.data[name])
    return ""
