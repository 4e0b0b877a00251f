"""What a last delta names to rsync: what is there by itself, what is gone by the folder that it was in."""

import pytest

from orchestrator.movers.ready_trees import to_bring

CASES = [
    (("a/b", "new"), (), ("a/b", "new")),
    ((".", "a", "a/b"), ("a/b",), (".", "a/")),
    ((".", "b"), ("b",), ("./",)),
    ((".", "a", "a/b", "a/c"), ("a/b",), (".", "a/c", "a/")),
    ((".", "a", "a/b", "a/b/c"), ("a", "a/b", "a/b/c"), ("./",)),
    ((), (), ()),
]


@pytest.mark.parametrize(("changed", "gone", "named"), CASES)
def test_what_is_gone_is_named_by_the_folder_that_is_left(changed, gone, named):
    assert to_bring(changed, gone) == named
