"""Plans for tests: small ones made of no-op steps, and the shipped runbooks bound to made-up systems."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.model.action import Action, Wait
from orchestrator.model.dataset import FileTree
from orchestrator.model.host import Host
from orchestrator.model.plan import Plan, SystemPlan
from orchestrator.model.site import Side
from orchestrator.model.step import Gate, Inverse, Phase, Retry, Step
from orchestrator.model.system import Objectives, Placement, Route53Front, Service, System
from orchestrator.planning.runbook import parse_runbook

DIGEST = "sha256:" + "0" * 64
RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"


def a_system(name: str) -> System:
    return System(
        name=name,
        owner="ana",
        data_classes=("internal",),
        objectives=Objectives(rto=3600, rpo=60, mtpd=7200),
        placements={side: Placement(host=f"{side.value}-{name}") for side in Side},
        datasets=(FileTree(name="files", path=f"/srv/{name}"),),
        services=(Service(name=f"{name}-app", port=8080),),
        front=Route53Front(name=f"{name}.skerry.test", zone="skerry.test"),
    )


def a_step(
    step_id: str,
    action: Action,
    *,
    needs: Sequence[str] = (),
    inverse: Action | None = None,
    gate: Gate | None = None,
    on_failure: str = "rollback",
    attempts_max: int = 1,
    wait_seconds: float = 0.01,
    timeout: float = 600.0,
    point_of_no_return: bool = False,
) -> Step:
    return Step(
        id=step_id,
        title=f"Do {step_id}",
        phase=Phase.PREPARE,
        action=action,
        needs=tuple(needs),
        gate=gate,
        timeout=timeout,
        retry=Retry(attempts_max=attempts_max, wait_seconds=wait_seconds),
        inverse=Inverse(action=inverse) if inverse is not None else Inverse(none_because="nothing to undo"),
        on_failure="stop" if on_failure == "stop" else "rollback",
        point_of_no_return=point_of_no_return,
    )


def a_system_plan(name: str, steps: Sequence[Step]) -> SystemPlan:
    return SystemPlan(system=a_system(name), steps=tuple(steps))


def a_plan(steps: Sequence[Step], *, systems: Sequence[str] = ("filing",), wave: str = "wave-1") -> Plan:
    """Each system goes through the same steps."""
    hosts = {
        f"{side.value}-{name}": Host(name=f"{side.value}-{name}", site=side.value, address="127.0.0.1")
        for name in systems
        for side in Side
    }
    return Plan(
        wave=wave,
        author="ben",
        runbook="made-up",
        runbook_version="1",
        runbook_digest=DIGEST,
        inventory_digest=DIGEST,
        facts_digest=DIGEST,
        closure={},
        hosts=hosts,
        systems=tuple(a_system_plan(name, steps) for name in systems),
    )


def shipped_steps(runbook: str = "migrate", *, inputs: Mapping[str, str] | None = None) -> tuple[Step, ...]:
    """The steps of a shipped runbook, quick to retry."""
    content = (RUNBOOKS / f"{runbook}.yml").read_bytes()
    read = lambda path: (RUNBOOKS / path).read_bytes() if (RUNBOOKS / path).exists() else None  # noqa: E731
    steps = parse_runbook(content, f"{runbook}.yml", inputs=inputs or {}, read=read).steps
    return tuple(
        step.model_copy(update={"retry": Retry(attempts_max=step.retry.attempts_max, wait_seconds=0.01)})
        for step in steps
    )


def a_wait(seconds: float = 0.0) -> Wait:
    return Wait(seconds=seconds)
