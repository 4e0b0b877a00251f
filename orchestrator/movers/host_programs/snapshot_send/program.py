"""Sends and receives snapshots of file trees by what their file system offers: btrfs send, ZFS send.

The parts of this folder are joined into one file, sent to hosts and run by their own Python (3.9 or newer): standard
library only.
"""

from __future__ import annotations

import errno
import json
import os
import sys

from orchestrator.movers.host_programs.snapshot_send.btrfs import (
    btrfs_drop,
    btrfs_hold,
    btrfs_look,
    btrfs_receive,
    btrfs_settle,
)
from orchestrator.movers.host_programs.snapshot_send.piping import Broken, say
from orchestrator.movers.host_programs.snapshot_send.zfs import (
    zfs_abort,
    zfs_drop,
    zfs_hold,
    zfs_look,
    zfs_receive,
    zfs_rollback,
    zfs_settle,
    zfs_token,
)


def main() -> None:
    request = json.loads(sys.argv[1])
    deeds = {
        "btrfs": {
            "hold": btrfs_hold,
            "look": btrfs_look,
            "receive": btrfs_receive,
            "settle": btrfs_settle,
            "drop": btrfs_drop,
        },
        "zfs": {
            "hold": zfs_hold,
            "look": zfs_look,
            "token": zfs_token,
            "abort": zfs_abort,
            "rollback": zfs_rollback,
            "receive": zfs_receive,
            "settle": zfs_settle,
            "drop": zfs_drop,
        },
    }
    try:
        say("result", deeds[request["by"]][request["do"]](request))
    except Broken as error:
        say("result", {"broken": error.kind, "why": str(error)})
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = f"{error.filename}: {os.strerror(error.errno or 0)}"
        say("result", {"broken": "full" if full else "target", "why": why})


if __name__ == "__main__":
    main()
