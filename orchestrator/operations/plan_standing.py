"""A plan with how far its approval has come, for who only looks: without a desk, whose parts take longer to load."""

from orchestrator.engine.plain_store import ReadOnlyCatalogue
from orchestrator.evidence.approvals import SshApprovalJudge
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.places import shipped_playbook
from orchestrator.model.plan import Plan
from orchestrator.operations.approve import Standing, standing
from orchestrator.operations.estate import read_estate
from orchestrator.operations.plan import find_plan, outdated
from orchestrator.operations.reading import open_reader

RUNS_SEEN_MAX = 10_000  # of the plan, the newest first


def plan_and_standing(named: str) -> tuple[Plan, Standing]:
    """The plan whose digest is, or begins with, `named`. Raises UsageError for none or several."""
    estate, reader = read_estate(), open_reader()
    catalogue = ReadOnlyCatalogue(reader)
    plan = find_plan(catalogue, named)
    begun = [run["created_at"] for run in reader.runs(limit=RUNS_SEEN_MAX, plan=plan.digest)]
    found = standing(
        plan,
        people=estate.people,
        judge=SshApprovalJudge(),
        catalogue=catalogue,
        clock=SystemClock(),
        runs_begun=begun,
    )
    why = outdated(plan, inventory=estate, catalogue=catalogue, playbook_path=shipped_playbook)
    return plan, found.model_copy(update={"outdated": why})
