"""What the source is asked to send by ZFS, word for word, and how both ends' answers are read."""

import pytest

from orchestrator.contracts.joined_program import joined_program
from orchestrator.movers.snapshot_send import PROGRAM
from orchestrator.movers.zfs_send import ZfsStep, difference

NEW = {"name": "tank/documents@skerrysend-dr-a-2", "guid": "222", "order": 20}
MARK = {"name": "tank/documents#skerrysend-dr-a-111", "guid": "111", "order": 10}
FOREIGN = {"name": "tank/documents@by-hand", "guid": "900", "order": 12}


def received(*guids):
    return [{"name": f"dr/documents@skerrysend-{guid}", "guid": guid, "order": 1} for guid in guids]


@pytest.mark.parametrize(
    ("earlier", "there", "step"),
    [
        ([], [], ZfsStep(words=("zfs", "send", NEW["name"]), guid="222")),
        (
            [MARK, FOREIGN],
            received("111"),
            ZfsStep(words=("zfs", "send", "-i", MARK["name"], NEW["name"]), guid="222", base=str(MARK["name"])),
        ),
        ([MARK], received("111", "222"), ZfsStep(words=(), guid="222", base="itself")),
        # The last one at the replica counts: ZFS receives on top of nothing else.
        ([MARK], received("111", "555"), None),
        ([FOREIGN], received("111"), None),
    ],
    ids=["whole", "from a bookmark", "there already", "another's is the last", "nothing in common"],
)
def test_the_words_by_which_a_replica_comes_to_have_a_snapshot(earlier, there, step):
    assert difference({**NEW, "earlier": earlier}, there) == step


def test_the_program_of_both_file_systems_is_one_file_of_the_standard_library():
    text = joined_program(PROGRAM).decode()
    compile(text, "snapshot_send", "exec")
    assert "orchestrator" not in text
