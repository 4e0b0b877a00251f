"""Which handler does which verb: a list written by hand."""

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Handler, Handlers
from orchestrator.foundation.errors import PlanningError
from orchestrator.steps.accounting import AccountWritesHandler, WeighWindowHandler
from orchestrator.steps.authority import CarryBackHandler, MoveAuthorityHandler, PromoteHandler
from orchestrator.steps.bubbling import DrillInBubbleHandler
from orchestrator.steps.cloud_drill import DrillAtCloudHandler
from orchestrator.steps.committing import CommitHandler
from orchestrator.steps.following import FollowHandler
from orchestrator.steps.fronting import PrepareFrontHandler, SwitchFrontHandler
from orchestrator.steps.moving import ReplicateHandler
from orchestrator.steps.playing import CheckHandler, RunPlaybookHandler
from orchestrator.steps.points import TakeRecoveryPointHandler
from orchestrator.steps.preflight import PreflightHandler
from orchestrator.steps.proving import VerifyDigestsHandler
from orchestrator.steps.provisioning import EndTargetHandler, ProvisionTargetHandler
from orchestrator.steps.refusals import Refusing
from orchestrator.steps.seeding import SeedImageHandler
from orchestrator.steps.seizing import PromoteAloneHandler, SeizeAuthorityHandler
from orchestrator.steps.testing import EndTestMachineHandler, StartTestMachineHandler
from orchestrator.steps.watching import WatchHandler


def handlers_over(drivers: Drivers) -> Handlers:
    """Handlers bound to drivers. Verbs that only wait (approval, manual, decision, wait) belong to the engine."""
    by_verb: dict[str, Handler] = {
        "preflight": PreflightHandler(drivers),
        "provision_target": ProvisionTargetHandler(drivers),
        "end_target": EndTargetHandler(drivers),
        "seed_image": SeedImageHandler(drivers),
        "start_test_machine": StartTestMachineHandler(drivers),
        "end_test_machine": EndTestMachineHandler(drivers),
        "replicate": ReplicateHandler(drivers),
        "take_recovery_point": TakeRecoveryPointHandler(drivers),
        "drill_in_bubble": DrillInBubbleHandler(drivers),
        "drill_at_cloud": DrillAtCloudHandler(drivers),
        "run_playbook": RunPlaybookHandler(drivers),
        "verify_digests": VerifyDigestsHandler(drivers),
        "move_authority": MoveAuthorityHandler(drivers),
        "promote": PromoteHandler(drivers),
        "carry_back": CarryBackHandler(drivers),
        "follow": FollowHandler(drivers),
        "account_writes": AccountWritesHandler(drivers),
        "weigh_window": WeighWindowHandler(drivers),
        "seize_authority": SeizeAuthorityHandler(drivers),
        "promote_alone": PromoteAloneHandler(drivers),
        "prepare_front": PrepareFrontHandler(drivers),
        "switch_front": SwitchFrontHandler(drivers),
        "check": CheckHandler(drivers),
        "watch": WatchHandler(drivers),
        "commit": CommitHandler(drivers),
    }
    refusing = {verb: Refusing(handler) for verb, handler in by_verb.items()}

    def find(verb: str) -> Handler:
        if verb not in refusing:
            raise PlanningError(f"no handler for the verb {verb}")
        return refusing[verb]

    return find
