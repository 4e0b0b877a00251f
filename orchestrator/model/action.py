"""What a step does: a closed union of verbs, bound to hosts and datasets when a plan is compiled.

A verb says what, for which system and at which sides; its handler (room `steps`) knows how. The runbook names verbs,
the compiler binds them, the engine carries them without looking inside.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.model.frozen import Frozen
from orchestrator.model.names import Seconds, StepId
from orchestrator.model.site import Side


class Preflight(Frozen):
    """Look at every host, tool, version and free byte that the plan needs; touch nothing.

    With `home`: only at what a way back to that side needs, wherever the system is, while clients are elsewhere.
    """

    verb: Literal["preflight"] = "preflight"
    sides: tuple[Side, ...] = (Side.SOURCE, Side.DR)
    home: Side | None = Field(default=None, exclude_if=lambda home: home is None)


class ProvisionTarget(Frozen):
    """Make the machines of the cloud side exist and answer SSH. At any other `side` there are none to make."""

    verb: Literal["provision_target"] = "provision_target"
    side: Side = Field(default=Side.CLOUD, exclude_if=lambda side: side is Side.CLOUD)


class EndTarget(Frozen):
    """End the machines of the cloud side that this run made, once the system lives elsewhere; or keep them, and say so.

    Machines of earlier runs stay. Upstreams forget the standbys that were on ended ones.
    """

    verb: Literal["end_target"] = "end_target"
    machines: Literal["keep", "end"] = "end"


class SeedImage(Frozen):
    """Make an image of the cloud from each volume that a machine of the cloud side starts from.

    The blocks of the last recovery point go from DR to the cloud, are read back there and must give the point's digest.
    """

    verb: Literal["seed_image"] = "seed_image"


class StartTestMachine(Frozen):
    """Start the cloud side's machines beside the real ones, where no network leads out, and see that each has started.

    That nothing leads out is read back from the cloud, before and after.
    """

    verb: Literal["start_test_machine"] = "start_test_machine"


class EndTestMachine(Frozen):
    """End the test machines of this run and see that they are gone."""

    verb: Literal["end_test_machine"] = "end_test_machine"


class Replicate(Frozen):
    """Bring every dataset from one side to the next: first copy or delta. Databases get a streaming standby."""

    verb: Literal["replicate"] = "replicate"
    source: Side
    replica: Side
    # `live`: what is there now. `point`: the last recovery point, held at the source of the hop.
    read: Literal["live", "point"] = "live"
    # `ahead`: besides, whatever makes the last pass quick is made ready. `last`: nobody writes any more.
    pace: Literal["whole", "ahead", "last"] = "whole"


class TakeRecoveryPoint(Frozen):
    """Hold all datasets of the system at one moment, at `sides`, with one digest over all."""

    verb: Literal["take_recovery_point"] = "take_recovery_point"
    sides: tuple[Side, ...] = (Side.SOURCE, Side.DR)
    clones: bool = False  # of databases too, whatever their `points` say: a drill opens them


class DrillInBubble(Frozen):
    """Start a recovery point that DR holds where production is neither reached nor changed; check it, and go back.

    At DR it is started where it lies. At the cloud what DR holds of it is brought to the system's machine first, which
    stands already. With the system starts what it depends on, where that is in the plan and has its place on the same
    host. Writes made there are carried into a second clone of the point, unless `way_back` is false. All of it is taken
    away.
    """

    verb: Literal["drill_in_bubble"] = "drill_in_bubble"
    side: Literal[Side.DR, Side.CLOUD] = Side.DR
    # latest, latest_app_consistent, latest_common (held by one run, of all that start), worst (the oldest within the
    # recovery point objective), or the beginning of an id.
    point: str = "latest"
    older_than: Seconds = 0.0  # only points that are at least so old
    way_back: bool = True
    pass_within: Seconds = 120.0  # how long a database may take to recover, and then the checks to pass


class DrillAtCloud(Frozen):
    """Start the cloud side's machines from the images of the last seeded point where nothing leads out, and end them.

    As `start_test_machine` and `end_test_machine`, measured against the objectives, with production looked at before
    and after.
    """

    verb: Literal["drill_at_cloud"] = "drill_at_cloud"


class RunPlaybook(Frozen):
    """Run a playbook on the hosts of one side.

    `prepared`: not by Ansible but by the program that does the same deed in some tens of milliseconds, for when clients
    wait. What is written in the playbook itself does not count then.
    """

    verb: Literal["run_playbook"] = "run_playbook"
    playbook: Literal["drain", "fence", "unfence", "start", "stop", "check", "quiesce", "unquiesce"]
    side: Side
    prepared: bool = False

    @model_validator(mode="after")
    def _can_be_prepared(self) -> "RunPlaybook":
        if self.prepared and self.playbook in ("quiesce", "unquiesce"):
            raise ValueError(f"prepared: there is no program for {self.playbook}, only the playbook")
        return self


class VerifyDigests(Frozen):
    """Digest every dataset at each side, independently, and compare. Could not compare is failed."""

    verb: Literal["verify_digests"] = "verify_digests"
    sides: tuple[Side, ...] = (Side.SOURCE, Side.DR, Side.CLOUD)
    # `watched`: hosts that read a tree before, and have seen every change since, need not read all of it again.
    reading: Literal["all", "watched"] = "all"


class MoveAuthority(Frozen):
    """Confirm `from_side` stopped and fenced, then give the next fencing number to `to_side`."""

    verb: Literal["move_authority"] = "move_authority"
    from_side: Side
    to_side: Side


class Promote(Frozen):
    """Make the standby databases at `side` primary, once they hold the old primary's shutdown checkpoint."""

    verb: Literal["promote"] = "promote"
    side: Side
    old_side: Side


class CarryBack(Frozen):
    """Bring every write that exists only at `from_side` back to `to_side`, and prove it by digest.

    Databases at `to_side` re-join as standbys, catch up and are promoted; trees are copied back.
    """

    verb: Literal["carry_back"] = "carry_back"
    from_side: Side
    to_side: Side


class Follow(Frozen):
    """Make each side of `chain` a current replica of the one before it; databases go on following by themselves.

    Nothing that exists at one side alone is ever overwritten: where histories have parted the step refuses, unless a
    person's signed word accepts the loss.
    """

    verb: Literal["follow"] = "follow"
    chain: tuple[Side, ...] = Field(min_length=2, max_length=3)
    # `ahead`: besides, whatever makes the last pass quick is made ready. `last`: nobody writes any more.
    pace: Literal["whole", "ahead", "last"] = "whole"
    # `databases`: those alone, for trees and volumes have no direction: the next pass brings them.
    datasets: Literal["all", "databases"] = "all"

    @model_validator(mode="after")
    def _no_side_twice(self) -> "Follow":
        if len(set(self.chain)) != len(self.chain):
            raise ValueError(f"chain names a side twice: {', '.join(self.chain)}")
        return self


class AccountWrites(Frozen):
    """Say what exists only at `at` and not at `beside`: bytes, transactions, files, and what the business counts."""

    verb: Literal["account_writes"] = "account_writes"
    at: Side
    beside: Side


class WeighWindow(Frozen):
    """Measure what is left of the outage window, and what is to spare once a way back and a reserve are taken off.

    The window began when step `since` began.
    """

    verb: Literal["weigh_window"] = "weigh_window"
    since: StepId
    window: Seconds
    rollback: Seconds
    reserve: Seconds = 0.0


class SeizeAuthority(Frozen):
    """Give the next fencing number to `to_side` though `from_side` is lost.

    A side that answers must be seen stopped, as always. For one that does not, a named person's signed word stands in.
    """

    verb: Literal["seize_authority"] = "seize_authority"
    from_side: Side
    to_side: Side


class PromoteAlone(Frozen):
    """Make the standby databases at `side` primary with what they hold; the old primary is lost."""

    verb: Literal["promote_alone"] = "promote_alone"
    side: Side


class PrepareFront(Frozen):
    """Lower the time that clients keep the answer to their name, and say from when on all of them follow quickly."""

    verb: Literal["prepare_front"] = "prepare_front"
    ttl_seconds: int = Field(default=5, ge=0, le=3600)


class SwitchFront(Frozen):
    """Point the clients' name at `side`, and see it from a client's point of view."""

    verb: Literal["switch_front"] = "switch_front"
    side: Side


class Check(Frozen):
    """Technical and business checks of the system at `side`; `through_front` asks as clients do."""

    verb: Literal["check"] = "check"
    side: Side
    through_front: bool = False
    levels: tuple[Literal["technical", "business"], ...] = ("technical",)


class Watch(Frozen):
    """Keep checking for a while; meanwhile what `side` writes is brought along `follow`, again and again.

    Databases stream by themselves. A pass that fails is told, and fails nothing: clients are served well.
    A person who asks for the commit ends it with the round under way, unless it is to be watched `whole`.
    """

    verb: Literal["watch"] = "watch"
    side: Side
    seconds: Seconds
    levels: tuple[Literal["technical", "business"], ...] = ("technical",)
    follow: tuple[Side, ...] = Field(default=(), max_length=3)
    whole: bool = False

    @model_validator(mode="after")
    def _follows_its_side(self) -> "Watch":
        if self.follow and (self.follow[0] is not self.side or len(set(self.follow)) < max(2, len(self.follow))):
            raise ValueError(f"follow begins at {self.side.value}, goes to another side, and to none twice")
        return self


class Commit(Frozen):
    """Say that the system lives at `side`; from here the way back is called failback."""

    verb: Literal["commit"] = "commit"
    side: Side


class Approval(Frozen):
    """Wait for persons to approve the plan's digest."""

    verb: Literal["approval"] = "approval"


class Manual(Frozen):
    """Ask a person to do something and to say so."""

    verb: Literal["manual"] = "manual"
    text: str


class Decision(Frozen):
    """Ask a named role to choose go or no-go."""

    verb: Literal["decision"] = "decision"
    question: str


class Wait(Frozen):
    """Let time pass."""

    verb: Literal["wait"] = "wait"
    seconds: Seconds


Action = Annotated[
    Preflight
    | ProvisionTarget
    | EndTarget
    | SeedImage
    | StartTestMachine
    | EndTestMachine
    | Replicate
    | TakeRecoveryPoint
    | DrillInBubble
    | DrillAtCloud
    | RunPlaybook
    | VerifyDigests
    | MoveAuthority
    | Promote
    | CarryBack
    | Follow
    | AccountWrites
    | WeighWindow
    | SeizeAuthority
    | PromoteAlone
    | PrepareFront
    | SwitchFront
    | Check
    | Watch
    | Commit
    | Approval
    | Manual
    | Decision
    | Wait,
    Field(discriminator="verb"),
]
