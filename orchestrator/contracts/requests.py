"""What a person may ask of a run under way. Imports nothing: the command line offers these words at once."""

from typing import Literal, get_args

# What a person may ask of a running system.
#   rollback       undo everything in reverse order (refused once committed: that way is called failback)
#   cancel         stop; what was done is undone, and where nothing was, the system ends cancelled
#   pause, resume  let what is under way end, begin nothing new; go on. With steps (their ids, blanks between): pause
#                  before those steps; go on as far as those steps
#   confirm        the waiting step (approval, manual, decision) is done, approved, go
#   reject         the waiting step is not done, no-go
#   retry          do the failed step, or the failed inverse, again
#   waive          take a failed inverse for done: a deviation that the evidence shows
#   found_applied  a person looked: the step (or inverse) whose outcome is unknown took effect
#   found_absent   a person looked: it did not; it is done again
#   leave          another plan takes the system over as it stands: nothing more is done here and nothing undone. Asked
#                  by a failover alone, from a side that a named person said is down
#   skip_gate      go round the gate called `step` where it is closed, for the reason given; that is told, and no pass
Operation = Literal[
    "rollback",
    "cancel",
    "pause",
    "resume",
    "confirm",
    "reject",
    "retry",
    "waive",
    "found_applied",
    "found_absent",
    "leave",
    "skip_gate",
]

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
ASKED_ALONE: tuple[Operation, ...] = tuple(each for each in OPERATIONS if each != "leave")  # of a run, by a person
