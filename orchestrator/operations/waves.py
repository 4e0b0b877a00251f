"""Waves as planned: read waves.yml of the estate, judge it, make the plan of one wave, propose waves for the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.foundation.errors import InventoryError, PlanningError, UsageError
from orchestrator.foundation.written_file import Finding, did_you_mean
from orchestrator.inventory.load import OWN_FOLDER
from orchestrator.model.facts import Facts
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import Name, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.wave import WaveTerms
from orchestrator.operations.desk import Desk
from orchestrator.operations.estate import content_of
from orchestrator.operations.plan import read_runbook
from orchestrator.planning.bound_groups import bonds_of
from orchestrator.planning.runbook import Scalar
from orchestrator.planning.wave_file import WaveFile, parse_wave_file
from orchestrator.planning.wave_proposal import propose_waves
from orchestrator.planning.waves import PlannedWave, WaveProgram, judge_waves, refuse_past

WAVES_FILE = f"{OWN_FOLDER}/waves.yml"
DEADLINE_INPUT = "commit-within"  # of the shipped runbooks: by when a switched system is committed, or rolled back
COMMIT_AFTER_SOAK_SECONDS = 4 * 3600.0


@dataclass(frozen=True)
class EstateWaves:
    """The waves of an estate, and the file that they are written in."""

    file: WaveFile
    program: WaveProgram

    def wave(self, named: str) -> PlannedWave:
        """The wave of that name; UsageError where there is none."""
        found = self.program.wave(named)
        if found is None:
            near = did_you_mean(named, self.program.names)
            raise UsageError(
                f"no wave is called {named}{near} (there are: {', '.join(self.program.names)})",
                hint=f"Waves are written in {self.file.written.name}.",
            )
        return found


def has_waves(folder: Path) -> bool:
    """Whether anybody wrote waves for the estate in `folder`."""
    return (folder / WAVES_FILE).exists()


def read_waves(folder: Path, inventory: Inventory) -> EstateWaves:
    """The waves of the estate in `folder`. InventoryError with every problem, each with file and line."""
    path = folder / WAVES_FILE
    hint = "Write the waves there; a first draft comes from: skerry plan wave --propose"
    content = content_of(path, missing_hint=hint)
    findings: list[Finding] = []
    file = parse_wave_file(content, str(path), findings)
    program = judge_waves(file, inventory, findings) if file is not None else None
    if file is None or program is None:
        hint = "Nothing was touched. Mend the named line, then: skerry plan wave"
        raise InventoryError("\n".join(str(finding) for finding in sorted(set(findings))), hint=hint)
    return EstateWaves(file, program)


def plan_wave(
    desk: Desk,
    waves: EstateWaves,
    named: Name,
    *,
    runbook_file: Path,
    author: Name,
    facts: Facts,
    inputs: Mapping[str, Scalar] | None = None,
) -> Plan:
    """Compile and keep the plan of one wave, bound to its terms. Touches no host.

    Raises PlanningError with every reason: a window that is over as well as what any plan is refused for.
    """
    wave = waves.wave(named)
    line = waves.file.finding(("order", wave.terms.position, "window"), "").line
    past = refuse_past(waves.file.written.name, line, wave, desk.clock.now())
    if past:
        raise PlanningError("\n".join(map(str, past)), hint="Nothing was touched. Mend the window, then plan again.")
    plan = desk.make_plan(
        runbook_file,
        wave=wave.name,
        author=author,
        facts=facts,
        systems=wave.systems,
        inputs=_with_time_to_soak(runbook_file, wave.terms, inputs or {}),
        terms=wave.terms,
    )
    desk.catalogue.put("wave_plan", wave.name, {"plan": plan.digest})
    return plan


def _with_time_to_soak(
    runbook_file: Path, terms: WaveTerms, given: Mapping[str, Scalar]
) -> Mapping[str, Scalar]:
    """A wave is committed after its soak, so the deadline of the commit comes after that, where nobody said when."""
    if DEADLINE_INPUT in given or not terms.soak_seconds or DEADLINE_INPUT not in read_runbook(runbook_file).inputs:
        return given
    return {**given, DEADLINE_INPUT: f"{terms.soak_seconds + COMMIT_AFTER_SOAK_SECONDS:.0f}s"}


def ensure_terms_unchanged(plan: Plan, waves: EstateWaves) -> None:
    """Refuse a wave's plan when waves.yml has come to say something else of that wave since."""
    wave = waves.wave(plan.wave)
    if wave.terms != plan.terms or {planned.system.name for planned in plan.systems} != set(wave.systems):
        raise PlanningError(
            f"wave {plan.wave} was planned as {plan.digest}; {waves.file.written.name} says something else of it now",
            hint=f"Plan it again, and have the new plan approved: skerry plan wave {plan.wave} --as PERSON",
        )


def proposal(inventory: Inventory, waves: EstateWaves | None, *, systems_max: int) -> list[list[SystemName]]:
    """Waves for all that is in none yet; see planning.wave_proposal."""
    written = waves.file.waves if waves is not None else None
    bonds = bonds_of(
        inventory,
        declared=[(bound.name, bound.systems) for bound in written.bound] if written else (),
        separable=frozenset(each.host for each in written.separable) if written else frozenset(),
    )
    assigned = frozenset(name for wave in written.order for name in wave.systems) if written else frozenset()
    return propose_waves(inventory, bonds, systems_max=systems_max, assigned=assigned)


def waves_as_data(waves: EstateWaves) -> dict[str, Any]:
    """What `skerry plan wave --json` prints; docs/cli_json.md is its contract."""
    return {
        "file": waves.file.written.name,
        "digest": waves.file.written.digest,
        "waves": [
            {
                "wave": wave.name,
                "outcome": wave.outcome,
                "systems": list(wave.systems),
                "terms": wave.terms.model_dump(mode="json"),
            }
            for wave in waves.program.waves
        ],
        "warnings": [str(finding) for finding in waves.program.warnings],
    }
