"""Laws of contracts.object_lock.ObjectLock: inherit, give a `lock` fixture, and every law runs against it."""

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
