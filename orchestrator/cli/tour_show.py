"""What a person sees of the tour: phases, facts, the plan, the run live, and the table at the end."""

import sys

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from orchestrator.cli.live import LiveRun
from orchestrator.foundation.amounts import size_text
from orchestrator.lab.tour_result import SystemResult, TourResult
from orchestrator.model.facts import Facts
from orchestrator.model.plan import Plan


class TourShow:
    """Draws to stdout; with as_json every line is an object and the last one is the result."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.console = Console(highlight=False)
        self.live = LiveRun(self.console, as_json=as_json)

    def phase(self, name: str, text: str) -> None:
        line = Text(f"\n■ {name}", style="bold cyan")
        line.append(f"  {text}", style="not bold default")
        if not self._as_json:
            self.console.print(line)

    def told(self, text: str) -> None:
        self.live.say(f"  {text}")

    def facts(self, facts: Facts, to_be_made: set[str]) -> None:
        if self._as_json:
            return
        for name, host in sorted(facts.hosts.items()):
            if not host.reachable and name in to_be_made:
                self.console.print(Text(f"  {name:<18} to be made by the plan", style="dim"))
                continue
            if not host.reachable:
                self.console.print(Text(f"  {name:<18} not reached: {host.why_not}", style="dim"))
                continue
            held = [
                f"{dataset} {size_text(found.bytes_used)}" for dataset, found in host.datasets.items() if found.exists
            ]
            told = ", ".join(held) or "no dataset yet"
            self.console.print(f"  {name:<18} {host.operating_system}, {host.cpus} cpus · {told}", soft_wrap=True)

    def plan(self, plan: Plan) -> None:
        self.live.expect(plan)
        if self._as_json:
            return
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 2))
        for column in ("step", "what", "gate", "way back"):
            table.add_column(column)
        for step in plan.systems[0].steps:
            action = step.inverse.action
            back = action.verb.replace("_", " ") if action else Text("none needed", style="dim")
            if action and action.verb == "run_playbook":
                back = f"{action.playbook} {action.side.value}"
            gate = step.gate.id if step.gate else ""
            table.add_row(step.id, step.title, gate, back)
        self.console.print(table)
        names = ", ".join(planned.system.name for planned in plan.systems)
        self.console.print(f"  for each of: {names}")
        self.console.print(f"  plan {plan.digest}", style="bold")

    def result(self, result: TourResult) -> None:
        if self._as_json:
            sys.stdout.write(result.model_dump_json() + "\n")
            return
        table = Table(
            title="\nWhat came of it", title_justify="left", title_style="bold", header_style="bold", box=None
        )
        table.add_column("")
        for system in result.systems:
            table.add_column(system.name)
        for label, row in _rows(result):
            table.add_row(Text(label, style="dim"), *row)
        self.console.print(table)
        word = "verified" if result.evidence.verified else "NOT VERIFIED"
        style = "green" if result.evidence.verified else "bold red"
        self.console.print(
            Panel(
                Text.assemble(
                    ("evidence ", "dim"),
                    (word, style),
                    f"  {result.evidence.entries} entries in {result.evidence.path}\n",
                    ("look at it ", "dim"),
                    "skerry evidence verify    ",
                    ("see the run ", "dim"),
                    f"skerry runs show {result.run}",
                ),
                expand=False,
            )
        )


def _rows(result: TourResult) -> list[tuple[str, list[Text]]]:
    systems = result.systems
    hops = list(dict.fromkeys(hop for system in systems for hop in system.bytes_per_hop))
    rows: list[tuple[str, list[Text]]] = [
        ("outcome", [_outcome(system) for system in systems]),
        ("downtime seen by clients", [Text(f"{system.downtime_seconds:.2f} s") for system in systems]),
        ("acknowledged filings", [Text(str(system.acknowledged)) for system in systems]),
        ("of these lost", [Text(str(system.lost), style="red bold" if system.lost else "green") for system in systems]),
    ]
    for hop in hops:
        cells = [Text(size_text(system.bytes_per_hop.get(hop, 0))) for system in systems]
        rows.append((f"moved {hop.replace('_to_', ' → ')}", cells))
    rows += [
        (f"digest at {side}", [Text(system.digests.get(side, "–")[:23] + "…") for system in systems])
        for side in ("source", "dr", "cloud")
    ]
    rows.append(("production read while seeding", [_count(system.source_read_while_seeding) for system in systems]))
    rows.append(("RTO", [_objective(system.rto_seconds, system.rto_objective_seconds) for system in systems]))
    rows.append(("RPO", [_objective(system.rpo_seconds, system.rpo_objective_seconds) for system in systems]))
    return rows


def _outcome(system: SystemResult) -> Text:
    style = "green" if system.outcome == "committed" else "yellow" if system.outcome == "rolled_back" else "red bold"
    return Text(system.outcome.replace("_", " "), style=style)


def _count(count: int | None) -> Text:
    if count is None:
        return Text("not shown", style="yellow")
    return Text("0 sessions", style="green") if count == 0 else Text(f"{count} sessions", style="red")


def _objective(achieved: float | None, target: float) -> Text:
    if achieved is None:
        return Text(f"not shown, objective {target:g} s", style="yellow")
    met = achieved <= target
    return Text(f"{achieved:.1f} s of {target:g} s", style="green" if met else "red")
