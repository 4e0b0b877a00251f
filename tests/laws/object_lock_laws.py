"""Laws of contracts.object_lock.ObjectLock: inherit, give a `lock` fixture, and every law runs against it."""

import pytest

from orchestrator.foundation.errors import TargetError

UNTIL = "2036-01-01T00:00:00.000Z"


class ObjectLockLaws:
    def test_what_is_put_is_listed_with_a_version(self, lock):
        copy = lock.put("log/1", b"head", locked_until=UNTIL)
        assert copy.version
        assert [(each.key, each.version) for each in lock.list("log/")] == [("log/1", copy.version)]

    def test_a_key_that_is_there_already_is_left_as_it_is(self, lock):
        first = lock.put("log/1", b"head", locked_until=UNTIL)
        again = lock.put("log/1", b"another head", locked_until=UNTIL)
        assert (again.version, again.sha256) == (first.version, first.sha256)
        assert len(lock.list("log/")) == 1

    def test_only_the_prefix_is_listed_oldest_first(self, lock):
        for key in ("log/1", "log/2", "other/1"):
            lock.put(key, key.encode(), locked_until=UNTIL)
        assert [each.key for each in lock.list("log/")] == ["log/1", "log/2"]

    def test_a_lock_is_lengthened_and_never_shortened(self, lock):
        copy = lock.put("log/1", b"head", locked_until=UNTIL)
        assert lock.look(copy.key, copy.version).locked_until[:10] == UNTIL[:10]
        assert lock.look(copy.key, copy.version).stored_at
        for asked, found in (("2040-01-01", "2040-01-01"), ("2037-01-01", "2040-01-01")):
            lock.extend(copy.key, copy.version, locked_until=f"{asked}T00:00:00.000Z")
            assert lock.look(copy.key, copy.version).locked_until[:10] == found

    def test_a_hold_is_placed_and_lifted(self, lock):
        copy = lock.put("log/1", b"head", locked_until=UNTIL)
        assert not lock.look(copy.key, copy.version).held
        for on in (True, True, False):
            lock.hold(copy.key, copy.version, on=on)
            assert lock.look(copy.key, copy.version).held is on

    def test_a_copy_that_is_not_there_is_an_error_of_the_tree(self, lock):
        with pytest.raises(TargetError):
            lock.look("log/none", "v9")
