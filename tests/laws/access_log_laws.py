"""The laws of contracts.access_log.AccessLog. Inherit, and give `log`, `host`, and `visit()`: a peer reaches it."""


class AccessLogLaws:
    def test_reading_twice_with_nothing_between_gives_equal_sessions(self, log, host, visit):
        visit()
        assert log.read(host, (5432,)).ssh_sessions == log.read(host, (5432,)).ssh_sessions

    def test_a_visit_is_seen_once(self, log, host, visit):
        before = log.read(host, ()).ssh_sessions
        visit()
        after = log.read(host, ()).ssh_sessions
        assert sum(after.values()) == sum(before.values()) + 1

    def test_the_reading_names_its_host(self, log, host, visit):
        assert log.read(host, ()).host == host.name
