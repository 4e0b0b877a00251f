"""One error tree; every class carries its exit code, a hint for the operator, and whether trying again can help.

OrchestratorError                    1
  UsageError                         2   the command line is wrong
  InventoryError                    10   the wish is wrong (names file and line)
    RunbookError                    11   the runbook is wrong (names file and line)
    PlanningError                   12   wish, runbook and facts do not fit together
    SecretUnavailable               13   a secret reference does not resolve
  HostError                         20   a machine refuses
    HostUnreachable                 20   retryable
    HostKeyMismatch                 21   not the machine the inventory names
    AccessDenied                    22   the machine refuses our key
    CommandFailed                   23   a command on a host ended with another code than 0
    CommandTimedOut                 24   a command on a host did not end in time: outcome unknown
    MissingTool                     25   a host lacks a program that the plan needs
    PlaybookFailed                  26   a playbook did not end well
  DataError                         30   data did not arrive, or arrived different
    DigestMismatch                  31   the same dataset differs between two sites
    NoSpace                         32   a file system is full
    VersionMismatch                 33   database versions or settings do not allow a replica
    SourceChanged                   34   the source moved while it was copied
    ReplicaLagging                  35   retryable: the replica has not caught up in time
    SnapshotError                   36   a snapshot store refuses
    NoCommonSnapshot                37   a full copy is needed
    MomentNotHeld                   38   retryable: writers went on before all datasets were held
    SourceShrank                    39   the source lost so much that a copy would empty its replica
  GateClosed                        40   not allowed to proceed
    ApprovalMissing                 41   fewer valid approvals than the plan asks for
    ApprovalInvalid                 42   an approval names another plan, is expired, forged or by the wrong person
    AuthorityError                  43   another side holds, or may hold, the authority to write
    RunInProgress                   44   another run holds this system
  EvidenceError                     50   the ledger is not whole, or cannot be written
    LedgerFull                      51   no room to record: the run halts before the next deed
    BrokenLog                       52   the log does not verify
    EvidenceRejected                53   evidence does not satisfy the policy
  EngineError                       60   the run cannot go on
    RunFailed                       61   a run ended failed
    RolledBack                      62   a run ended rolled back: the systems are where they started
    OutcomeUnknown                  63   nobody knows whether a deed was done: a person must look
    EngineUnavailable               75   retryable: store or engine out of order; a supervisor restarts the process
  TargetError                       70   the cloud refuses
    TargetThrottled                 71   retryable
    TargetForbidden                 72   residency, quota or permission says no
    TargetUnreachable               73   retryable: the cloud does not answer, or answers with an internal error
    TargetLacks                     74   this target has no such ability; nothing was touched
  LabError                          80   the lab cannot be built or reached
    MissingPackage                  81   a system package is missing on this machine
Interrupted                        130   Ctrl-C: what ran is recorded and can be resumed
"""

from typing import ClassVar


class OrchestratorError(Exception):
    """Whatever skerry tells an operator went wrong. The message says what; `hint` says what to do next."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = self.default_hint if hint is None else hint

    @property
    def message(self) -> str:
        return str(self.args[0])


class UsageError(OrchestratorError):
    """The command line is wrong."""

    exit_code = 2


class InventoryError(OrchestratorError):
    """The wish is wrong; the message begins with file and line."""

    exit_code = 10
    default_hint = "Mend the named line, then: skerry estate check"


class RunbookError(InventoryError):
    """A runbook is wrong; the message begins with file and line."""

    exit_code = 11
    default_hint = "Mend the named line, then: skerry runbook check"


class PlanningError(InventoryError):
    """Wish, runbook and facts do not fit together."""

    exit_code = 12
    default_hint = "Nothing was touched. Mend the inventory or the hosts, then plan again."


class SecretUnavailable(InventoryError):
    """A secret reference does not resolve; the value itself is never named."""

    exit_code = 13
    default_hint = "Check that the reference points at a secret this account can read."


class HostError(OrchestratorError):
    """A machine refuses."""

    exit_code = 20


class HostUnreachable(HostError):
    """No connection to a host."""

    retryable = True
    default_hint = "Check that the host is up and its SSH port is reachable, then run the same command again."


class HostKeyMismatch(HostError):
    """The host does not show the key that the inventory expects."""

    exit_code = 21
    default_hint = "Find out why the key changed before you trust it. Nothing was sent to the host."


class AccessDenied(HostError):
    """The host refuses our key or our certificate."""

    exit_code = 22


class CommandFailed(HostError):
    """A command on a host ended with another code than 0."""

    exit_code = 23


class CommandTimedOut(HostError):
    """A command on a host did not end in time; whether it took effect is unknown."""

    exit_code = 24


class MissingTool(HostError):
    """A host lacks a program that the plan needs."""

    exit_code = 25


class PlaybookFailed(HostError):
    """A playbook did not end well."""

    exit_code = 26


class DataError(OrchestratorError):
    """Data did not arrive, or arrived different."""

    exit_code = 30


class DigestMismatch(DataError):
    """The same dataset differs between two sites."""

    exit_code = 31
    default_hint = "Nothing was switched. Look at the named paths, then replicate again."


class NoSpace(DataError):
    """A file system is full."""

    exit_code = 32
    default_hint = "Free space on the named host, then run the same command again; what arrived is kept."


class VersionMismatch(DataError):
    """Database versions or settings do not allow a replica."""

    exit_code = 33


class SourceChanged(DataError):
    """The source moved while it was copied."""

    exit_code = 34
    default_hint = "Copy from a held point, or stop what writes there."


class ReplicaLagging(DataError):
    """The replica has not caught up in time."""

    exit_code = 35
    retryable = True


class SnapshotError(DataError):
    """A snapshot store refuses."""

    exit_code = 36


class NoCommonSnapshot(DataError):
    """Source and replica share no snapshot; a full copy is needed."""

    exit_code = 37


class MomentNotHeld(DataError):
    """Writers went on before all datasets were held."""

    exit_code = 38
    retryable = True
    default_hint = "The point was not used. Raise quiesce.seconds_max, or use a faster snapshot store."


class SourceShrank(DataError):
    """The source lost so much that a copy would empty its replica."""

    exit_code = 39
    default_hint = "Nothing was copied. See that every disk is mounted at the source."


class GateClosed(OrchestratorError):
    """Not allowed to proceed."""

    exit_code = 40


class ApprovalMissing(GateClosed):
    """Fewer valid approvals than the plan asks for."""

    exit_code = 41
    default_hint = "Have it approved: skerry approve DIGEST --key KEYFILE --as PERSON"


class ApprovalInvalid(GateClosed):
    """An approval names another plan, is expired, forged, or by the wrong person."""

    exit_code = 42
    default_hint = "Have this very plan approved, by whom it needs: skerry approve DIGEST --key KEYFILE --as PERSON"


class AuthorityError(GateClosed):
    """Another side holds, or may hold, the authority to write."""

    exit_code = 43
    default_hint = "Find out which side writes before anything else is started."


class RunInProgress(GateClosed):
    """Another run holds this system."""

    exit_code = 44
    default_hint = "See it with: skerry runs"


class EvidenceError(OrchestratorError):
    """The ledger is not whole, or cannot be written."""

    exit_code = 50


class LedgerFull(EvidenceError):
    """No room to record: the run halts before the next deed."""

    exit_code = 51
    default_hint = "Free space where SKERRY_HOME lives, then run the same command again."


class BrokenLog(EvidenceError):
    """The log does not verify."""

    exit_code = 52


class EvidenceRejected(EvidenceError):
    """Evidence does not satisfy the policy."""

    exit_code = 53


class EngineError(OrchestratorError):
    """The run cannot go on."""

    exit_code = 60


class RunFailed(EngineError):
    """A run ended failed."""

    exit_code = 61


class RolledBack(EngineError):
    """A run ended rolled back: the systems are where they started."""

    exit_code = 62


class OutcomeUnknown(EngineError):
    """Nobody knows whether a deed was done: a person must look."""

    exit_code = 63


class EngineUnavailable(EngineError):
    """The store or engine is out of order: the process ends, a supervisor restarts it."""

    exit_code = 75
    retryable = True


class TargetError(OrchestratorError):
    """The cloud refuses."""

    exit_code = 70


class TargetThrottled(TargetError):
    """The cloud asks to come back later."""

    exit_code = 71
    retryable = True


class TargetForbidden(TargetError):
    """Residency, quota or permission says no."""

    exit_code = 72


class TargetUnreachable(TargetError):
    """The cloud does not answer, or answers with an internal error."""

    exit_code = 73
    retryable = True
    default_hint = "Check the way to the cloud's endpoint, then run the same command again."


class TargetLacks(TargetError):
    """The target has no such ability: what it does not declare it refuses, and touches nothing."""

    exit_code = 74


class LabError(OrchestratorError):
    """The lab cannot be built or reached."""

    exit_code = 80


class MissingPackage(LabError):
    """A system package is missing on this machine; the hint is the exact command to run."""

    exit_code = 81


class Interrupted(OrchestratorError):
    """Ctrl-C: what ran is recorded and can be resumed."""

    exit_code = 130
    default_hint = "Run the same command again to go on."
