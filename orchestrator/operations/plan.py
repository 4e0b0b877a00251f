"""Plan: compile what is to be done, keep it under its digest, find it again, see that its files are still the same."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.contracts.catalogue import Catalogue
from orchestrator.foundation.errors import PlanningError, RunbookError, UsageError
from orchestrator.foundation.limits import INVENTORY_FILE_BYTES_MAX
from orchestrator.foundation.places import shipped_folder
from orchestrator.model.action import (
    AccountWrites,
    Action,
    Check,
    MoveAuthority,
    RunPlaybook,
    SeizeAuthority,
    Watch,
)
from orchestrator.model.facts import Facts
from orchestrator.model.inventory import Inventory
from orchestrator.model.names import Digest, HostName, Name, SystemName
from orchestrator.model.plan import Plan
from orchestrator.model.price import SizeChoice
from orchestrator.model.runbook import Runbook
from orchestrator.model.scope import Scope
from orchestrator.model.site import Side
from orchestrator.model.wave import WaveTerms
from orchestrator.planning.compile import STAYING, compile_plan
from orchestrator.planning.facts_since import against_newer_facts
from orchestrator.planning.runbook import Scalar, parse_runbook

PREFIX_DIGITS_MIN = 6  # of a digest, when a person names a plan by its beginning

INCLUDED = "included"  # where the closure of a runbook that did not come with skerry has what it includes

PlaybookPath = Callable[[str], str]


def read_runbook(file: Path, *, inputs: Mapping[str, Scalar] | None = None) -> Runbook:
    """The runbook in `file`. Raises RunbookError with file and line."""
    return parse_runbook(_content(file), str(file), inputs=inputs, read=lambda path: _included(file.parent, path))


def _included(folder: Path, path: str) -> bytes | None:
    """The content of a file that a runbook of `folder` includes; None where there is none."""
    file = folder / path
    # A link may lead out of the folder; what is approved is what lies in it.
    if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        return None
    return _content(file)


def make_plan(
    *,
    runbook_file: Path,
    inventory: Inventory,
    facts: Facts,
    wave: Name,
    author: Name,
    playbook_path: PlaybookPath,
    catalogue: Catalogue,
    systems: Sequence[SystemName] = (),
    inputs: Mapping[str, Scalar] | None = None,
    terms: WaveTerms | None = None,
    scope: Scope | None = None,
) -> Plan:
    """Compile and keep the plan of one wave; without `systems`, of every system that moves. Touches no host.

    `scope` stands in for the runbook's own. The same files, facts and words give the same plan, whose digest names it.
    Raises RunbookError or PlanningError.
    """
    runbook = read_runbook(runbook_file, inputs=inputs)
    runbook = runbook.model_copy(update={"scope": scope}) if scope is not None else runbook
    chosen = list(systems) or [name for name, system in inventory.systems.items() if system.strategy not in STAYING]
    plan = compile_plan(
        runbook,
        inventory,
        facts,
        systems=chosen,
        wave=wave,
        author=author,
        closure=closure_of(runbook, runbook_file, playbook_path),
        terms=terms,
    )
    plan = plan.model_copy(update={"inputs": _values_of(runbook, inputs), "sizes": _sizes_of(plan, catalogue)})
    ensure_old_sides_stand(plan, catalogue=catalogue)
    catalogue.put("plan", plan.digest, plan.model_dump(mode="json"))
    catalogue.put("facts", facts.digest, facts.model_dump(mode="json"))  # a survey replaces what is kept as the newest
    # Where the runbook lay is no part of the plan, which names no machine's paths; it is needed to see later edits.
    catalogue.put("plan_origin", plan.digest, {"runbook": str(runbook_file.resolve())})
    return plan


def _sizes_of(plan: Plan, catalogue: Catalogue) -> dict[HostName, SizeChoice]:
    """The newest choice of a size for each machine of the plan."""
    known = {host: catalogue.get("size", host) for host in plan.machines}
    return {host: SizeChoice.model_validate(document) for host, document in known.items() if document is not None}


def _values_of(runbook: Runbook, given: Mapping[str, Scalar] | None) -> dict[str, Scalar]:
    """What each input of the runbook stands for in this plan."""
    return {name: declared.default for name, declared in runbook.inputs.items()} | dict(given or {})


def origin_of(catalogue: Catalogue, plan: Plan) -> Path | None:
    """The runbook file that the plan was compiled from, as long as it is still there."""
    document = catalogue.get("plan_origin", plan.digest)
    path = Path(document["runbook"]) if document else None
    return path if path is not None and path.exists() else None


def closure_of(runbook: Runbook, runbook_file: Path, playbook_path: PlaybookPath) -> dict[str, Digest]:
    """Every file that decides what the steps of `runbook` do, by a name that is the same on every machine → digest."""
    shipped = runbook_file.resolve().parent == shipped_folder("runbooks").resolve()
    closure = {f"runbooks/{runbook_file.name}" if shipped else runbook_file.name: runbook.digest}
    for included, digest in runbook.included.items():
        closure[f"runbooks/{included}" if shipped else f"{INCLUDED}/{included}"] = digest
    folders: set[Path] = set()
    for playbook in sorted(_playbooks(runbook.steps)):
        path = Path(playbook_path(playbook))
        folders.add(path.parent)
        closure[f"playbooks/{playbook}.yml"] = _digest(path)
    # What playbooks send to hosts decides as much as they do themselves.
    for folder in folders:
        for sent in sorted(file for file in (folder / "files").glob("*") if file.is_file()):
            closure[f"playbooks/files/{sent.name}"] = _digest(sent)
    return closure


def _playbooks(steps: Sequence[Any]) -> set[str]:
    actions: list[Action] = [step.action for step in steps]
    actions += [step.inverse.action for step in steps if step.inverse.action is not None]
    names = {action.playbook for action in actions if isinstance(action, RunPlaybook)}
    asks = any(isinstance(action, AccountWrites | Check | Watch) for action in actions)
    return names | ({"check"} if asks else set())


def find_plan(catalogue: Catalogue, named: str) -> Plan:
    """The plan whose digest is, or begins with, `named` (with or without `sha256:`).

    Raises UsageError when there is none or more than one; PlanningError when what is kept is not what the digest says.
    """
    wanted = named if named.startswith("sha256:") else f"sha256:{named}"
    document = catalogue.get("plan", wanted)
    if document is None:
        found = _by_prefix(catalogue, wanted, named)
        wanted, document = found
    plan = Plan.model_validate(document)
    if plan.digest != wanted:
        raise PlanningError(
            f"the plan kept as {wanted} has the digest {plan.digest}: somebody changed it where it is kept",
            hint="Trust neither it nor its approvals. Plan again.",
        )
    return plan


def _by_prefix(catalogue: Catalogue, wanted: str, named: str) -> tuple[str, dict[str, Any]]:
    digits = wanted.removeprefix("sha256:")
    if len(digits) < PREFIX_DIGITS_MIN:
        raise UsageError(
            f"name a plan by at least {PREFIX_DIGITS_MIN} digits of its digest, not {named!r}",
            hint="See the plans with: skerry plan list",
        )
    found = catalogue.list("plan", prefix=wanted, limit=2)
    if not found:
        raise UsageError(f"there is no plan {named}", hint="See the plans with: skerry plan list")
    if len(found) > 1:
        raise UsageError(f"more than one plan begins with {named}", hint="Give more digits: skerry plan list")
    return found[0]


def list_plans(catalogue: Catalogue, *, limit: int = 50) -> list[Plan]:
    """The newest plans, newest first."""
    return [Plan.model_validate(document) for _, document in catalogue.list("plan", limit=limit)]


def ensure_unchanged(
    plan: Plan, *, inventory: Inventory, playbook_path: PlaybookPath, runbook_file: Path | None = None
) -> None:
    """Refuse a plan whose files are no longer those it was made, and approved, from.

    A runbook is compiled into the plan already, but an operator who edited it expects what it says now, so that is
    refused too: the shipped one of its name is looked at, for any other `runbook_file` says where it is.
    Raises PlanningError naming each file.
    """
    changed: list[str] = []
    for name, digest in plan.closure.items():
        folder, slash, file = name.rpartition("/")
        if folder == "playbooks":
            path: Path | None = Path(playbook_path(file.removesuffix(".yml")))
        elif folder == "playbooks/files":
            path = shipped_folder(folder) / file
        elif name.startswith(f"{INCLUDED}/"):
            path = runbook_file.parent / name.removeprefix(f"{INCLUDED}/") if runbook_file else None
        else:
            path = shipped_folder("runbooks") / name.removeprefix("runbooks/") if slash else runbook_file
        if path is not None and _digest(path) != digest:
            changed.append(name)
    if inventory.digest != plan.inventory_digest:
        changed.append("the inventory")
    if changed:
        raise PlanningError(
            f"plan {plan.digest} was made from other files: {', '.join(changed)} changed since",
            hint="Plan again, and have the new plan approved: approvals name the digest of the old one.",
        )


def ensure_facts_allow(plan: Plan, *, inventory: Inventory, catalogue: Catalogue) -> None:
    """Refuse a plan that the newest survey speaks against: an objective that cannot be met now, a host that changed."""
    newest, made_from = catalogue.get("facts", inventory.digest), catalogue.get("facts", plan.facts_digest)
    if newest is None:
        return  # nobody looked since
    before = Facts.model_validate(made_from) if made_from is not None else None
    wrong = against_newer_facts(plan, inventory, before, Facts.model_validate(newest))
    if wrong:
        raise PlanningError(
            f"plan {plan.digest} was made from other facts: {'; '.join(wrong)}",
            hint="Plan again by what the survey found, and have the new plan approved.",
        )


def ensure_current(plan: Plan, *, inventory: Inventory, catalogue: Catalogue, playbook_path: PlaybookPath) -> None:
    """Raise PlanningError or RunbookError unless files, facts and sides are as the plan was made from."""
    origin = origin_of(catalogue, plan)
    ensure_unchanged(plan, inventory=inventory, runbook_file=origin, playbook_path=playbook_path)
    ensure_facts_allow(plan, inventory=inventory, catalogue=catalogue)
    ensure_old_sides_stand(plan, catalogue=catalogue)


def outdated(plan: Plan, *, inventory: Inventory, catalogue: Catalogue, playbook_path: PlaybookPath) -> str:
    """Why no run of the plan may begin whoever approves it; "" where it is current."""
    try:
        ensure_current(plan, inventory=inventory, catalogue=catalogue, playbook_path=playbook_path)
    except (PlanningError, RunbookError) as error:
        return error.message
    return ""


def ensure_old_sides_stand(plan: Plan, *, catalogue: Catalogue) -> None:
    """Refuse a plan that would let a source serve again which was given up (skerry wave retire)."""
    for planned in plan.systems:
        word = catalogue.get("retired_source", planned.system.name)
        if word is not None and any(_leads_to(step.action, Side.SOURCE) for step in planned.steps):
            raise PlanningError(
                f"{planned.system.name}: its source was given up by {word['by']} at {word['at']}"
                f" (wave {word['wave']}), so nothing leads back there",
                hint="Replication there has stopped since. A new source is a move of its own, from the cloud.",
            )


def _leads_to(action: Action, side: Side) -> bool:
    return isinstance(action, MoveAuthority | SeizeAuthority) and action.to_side is side


def _digest(path: Path) -> Digest:
    return "sha256:" + hashlib.sha256(_content(path)).hexdigest()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(INVENTORY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise RunbookError(f"{path}:1: cannot be read: {error.strerror or error}") from error
