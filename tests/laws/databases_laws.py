"""Laws of contracts.databases.Databases and DatabaseDigests: inherit, give a `ground` fixture, and every law runs.

The ground has: `mover`, `cluster`, hosts `source`, `dr`, `cloud`; `write(host, text)` commits a row through the server
at `host`; `rows(host) -> list` of texts as that server shows them; `obey(host, order)` leaves on the host what it keeps
of an order that it obeyed. At the beginning `source` is a primary with one row.
"""

import pytest

from orchestrator.contracts.authority import Order
from orchestrator.contracts.databases import Role
from orchestrator.foundation.errors import AuthorityError, DataError, ReplicaLagging


class DatabasesLaws:
    def chain(self, ground):
        """source → dr → cloud, caught up."""
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        ground.mover.make_standby(ground.cluster, ground.dr, ground.cloud)
        self.catch_up(ground)

    def catch_up(self, ground):
        for upstream, standby in ((ground.source, ground.dr), (ground.dr, ground.cloud)):
            ground.mover.await_caught_up(ground.cluster, upstream, standby, timeout_seconds=20)

    def switch(self, ground, old, new):
        lsn = ground.mover.shut_down(ground.cluster, old)
        ground.mover.promote(ground.cluster, new, holding=lsn, timeout_seconds=20)

    def test_role_tells_what_is(self, ground):
        assert ground.mover.role(ground.cluster, ground.source) is Role.PRIMARY
        assert ground.mover.role(ground.cluster, ground.dr) is Role.MISSING
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        assert ground.mover.role(ground.cluster, ground.dr) is Role.STANDBY
        ground.mover.shut_down(ground.cluster, ground.source)
        assert ground.mover.role(ground.cluster, ground.source) is Role.STOPPED
        assert ground.mover.start(ground.cluster, ground.source) is Role.PRIMARY

    def test_a_standby_streams_and_making_it_again_changes_nothing(self, ground):
        first = ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        assert first.method == "pg_basebackup"
        assert first.bytes_wire > 0
        again = ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        assert (again.method, again.bytes_wire) == ("streaming", 0)
        ground.write(ground.source, "later")
        lag = ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=20)
        assert lag.streaming
        assert "later" in ground.rows(ground.dr)

    def test_a_primary_is_never_made_a_standby(self, ground):
        with pytest.raises(DataError):
            ground.mover.make_standby(ground.cluster, ground.dr, ground.source)
        with pytest.raises(DataError):
            ground.mover.rejoin(ground.cluster, ground.source, ground.dr)
        assert ground.mover.role(ground.cluster, ground.source) is Role.PRIMARY

    def test_standbys_cascade(self, ground):
        self.chain(ground)
        ground.write(ground.source, "through both")
        self.catch_up(ground)
        assert "through both" in ground.rows(ground.cloud)

    def test_a_standby_that_is_gone_is_forgotten_and_may_come_again(self, ground):
        self.chain(ground)
        ground.mover.shut_down(ground.cluster, ground.cloud)
        for _ in range(2):
            ground.mover.forget_standby(ground.cluster, ground.dr, ground.cloud)
        ground.write(ground.source, "while it was gone")
        ground.mover.make_standby(ground.cluster, ground.dr, ground.cloud)
        self.catch_up(ground)
        assert "while it was gone" in ground.rows(ground.cloud)

    def test_digests_are_equal_on_primary_and_standbys_and_tell_a_row_apart(self, ground):
        self.chain(ground)
        digests = {
            ground.mover.digest(ground.cluster, host).digest for host in (ground.source, ground.dr, ground.cloud)
        }
        assert len(digests) == 1
        ground.write(ground.source, "one more")
        assert ground.mover.digest(ground.cluster, ground.source).digest not in digests

    def test_what_stands_ready_tells_what_is(self, ground):
        self.chain(ground)
        hosts = (ground.source, ground.dr, ground.cloud)
        assert [ground.mover.stand_ready(ground.cluster, host) for host in hosts] == ["", "", ""]
        before = ground.mover.digest(ground.cluster, ground.cloud).digest
        ground.write(ground.source, "later")
        self.catch_up(ground)
        after = {ground.mover.digest(ground.cluster, host).digest for host in hosts}
        assert len(after) == 1
        assert before not in after
        self.switch(ground, ground.source, ground.cloud)
        assert ground.mover.role(ground.cluster, ground.source) is Role.STOPPED
        assert ground.mover.role(ground.cluster, ground.cloud) is Role.PRIMARY
        ground.mover.rejoin(ground.cluster, ground.source, ground.cloud)
        assert ground.mover.role(ground.cluster, ground.source) is Role.STANDBY
        ground.write(ground.cloud, "at the cloud")
        assert ground.mover.digest(ground.cluster, ground.cloud).digest not in after
        ground.mover.release(ground.cluster)
        assert ground.mover.role(ground.cluster, ground.cloud) is Role.PRIMARY

    def test_a_clean_switch_loses_nothing_and_the_old_primary_rejoins(self, ground):
        self.chain(ground)
        ground.write(ground.source, "last word")
        self.switch(ground, ground.source, ground.cloud)
        assert ground.mover.role(ground.cluster, ground.cloud) is Role.PRIMARY
        assert "last word" in ground.rows(ground.cloud)
        ground.mover.promote(ground.cluster, ground.cloud)
        ground.write(ground.cloud, "written at the cloud")
        ground.mover.rejoin(ground.cluster, ground.source, ground.cloud)
        ground.mover.rejoin(ground.cluster, ground.source, ground.cloud)
        assert ground.mover.role(ground.cluster, ground.source) is Role.STANDBY
        ground.mover.await_caught_up(ground.cluster, ground.cloud, ground.source, timeout_seconds=20)
        assert ground.rows(ground.source) == ground.rows(ground.cloud)
        self.switch(ground, ground.cloud, ground.source)
        ground.write(ground.source, "home again")
        ground.mover.rejoin(ground.cluster, ground.cloud, ground.source)
        ground.mover.await_caught_up(ground.cluster, ground.source, ground.cloud, timeout_seconds=20)
        assert "home again" in ground.rows(ground.cloud)

    def test_the_end_tells_what_one_cluster_lacks(self, ground):
        self.chain(ground)
        behind = ground.mover.end(ground.cluster, ground.dr)
        before = ground.mover.end(ground.cluster, ground.source)
        assert behind.position <= before.position
        ground.mover.shut_down(ground.cluster, ground.dr)
        stopped = ground.mover.end(ground.cluster, ground.dr)
        assert stopped == ground.mover.end(ground.cluster, ground.dr)
        ground.write(ground.source, "one more")
        after = ground.mover.end(ground.cluster, ground.source)
        assert after.position > stopped.position
        assert after.transactions > before.transactions

    def test_what_one_log_holds_alone_is_counted_also_where_histories_have_parted(self, ground):
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        ground.mover.shut_down(ground.cluster, ground.dr)
        ground.write(ground.source, "only at source")
        alone = ground.mover.log_alone(ground.cluster, ground.source, ground.dr)
        assert alone.bytes > 0
        assert alone.transactions >= 1
        assert not alone.parted
        assert ground.mover.log_alone(ground.cluster, ground.dr, ground.source).bytes == 0
        # The source is lost with that write; DR takes over without it and goes on for longer than the source did.
        ground.mover.start(ground.cluster, ground.dr)
        ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=20)
        self.switch(ground, ground.source, ground.dr)
        nothing = ground.mover.log_alone(ground.cluster, ground.source, ground.dr)
        assert nothing.transactions == 0
        ground.mover.start(ground.cluster, ground.source)
        for row in ("lost", "and lost"):
            ground.write(ground.source, row)
        for number in range(40):
            ground.write(ground.dr, f"at DR {number}")
        running = ground.mover.log_alone(ground.cluster, ground.source, ground.dr)
        assert (running.parted, running.transactions) == (True, 2)
        ground.mover.shut_down(ground.cluster, ground.source)
        lost = ground.mover.log_alone(ground.cluster, ground.source, ground.dr)
        assert lost.parted
        assert lost.transactions == 2
        assert lost.bytes > 0
        assert lost == ground.mover.log_alone(ground.cluster, ground.source, ground.dr)

    def test_an_order_that_comes_late_opens_nothing(self, ground):
        self.chain(ground)
        ground.obey(ground.cloud, Order(system="laws", number=3, ticket=7))
        for late in (Order(system="laws", number=3, ticket=6), Order(system="laws", number=2, ticket=9)):
            with pytest.raises(AuthorityError):
                ground.mover.promote(ground.cluster, ground.cloud, order=late)
            assert ground.mover.role(ground.cluster, ground.cloud) is Role.STANDBY
        ground.mover.promote(ground.cluster, ground.cloud, order=Order(system="laws", number=3, ticket=7))
        assert ground.mover.role(ground.cluster, ground.cloud) is Role.PRIMARY
        ground.mover.shut_down(ground.cluster, ground.cloud)
        with pytest.raises(AuthorityError):
            ground.mover.start(ground.cluster, ground.cloud, order=Order(system="laws", number=3, ticket=6))
        assert ground.mover.role(ground.cluster, ground.cloud) is Role.STOPPED
        opened = ground.mover.start(ground.cluster, ground.cloud, order=Order(system="laws", number=3, ticket=8))
        assert opened is Role.PRIMARY

    def test_shut_down_twice_gives_one_position(self, ground):
        assert ground.mover.shut_down(ground.cluster, ground.source) == ground.mover.shut_down(
            ground.cluster, ground.source
        )

    def test_a_standby_that_lacks_the_position_is_lagging(self, ground):
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        with pytest.raises(ReplicaLagging):
            ground.mover.promote(ground.cluster, ground.dr, holding="7F/0", timeout_seconds=0.2)
        assert ground.mover.role(ground.cluster, ground.dr) is Role.STANDBY

    def test_writes_that_only_the_old_primary_has_are_not_discarded_unasked(self, ground):
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        self.switch(ground, ground.source, ground.dr)
        ground.mover.start(ground.cluster, ground.source)
        ground.write(ground.source, "only here")
        ground.mover.shut_down(ground.cluster, ground.source)
        ground.write(ground.dr, "and this only there")
        with pytest.raises(DataError, match="never received"):
            ground.mover.rejoin(ground.cluster, ground.source, ground.dr)
        report = ground.mover.rejoin(ground.cluster, ground.source, ground.dr, allow_rewind=True)
        assert report.method == "pg_rewind"
        assert int(report.detail["discarded_bytes"]) > 0
        ground.mover.await_caught_up(ground.cluster, ground.dr, ground.source, timeout_seconds=20)
        assert ground.rows(ground.source) == ground.rows(ground.dr)

    def test_a_moment_is_reached_again_by_standbys(self, ground):
        self.chain(ground)
        ground.write(ground.source, "before")
        for standby in (ground.dr, ground.cloud):
            ground.mover.prepare_moment(ground.cluster, standby)
        lsn, digest = ground.mover.hold_moment(ground.cluster, ground.source, "skerry_p1", seconds_max=5)
        ground.write(ground.source, "after")
        for standby in (ground.dr, ground.cloud):
            found = ground.mover.digest_at(ground.cluster, standby, lsn, timeout_seconds=20)
            assert found.digest == digest
        self.catch_up(ground)
        assert "after" in ground.rows(ground.cloud)
        assert ground.mover.digest(ground.cluster, ground.cloud).digest != digest

    def test_a_moment_that_was_run_past_is_refused(self, ground):
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        lsn, _ = ground.mover.hold_moment(ground.cluster, ground.source, "skerry_p1", seconds_max=5)
        ground.write(ground.source, "after")
        ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=20)
        with pytest.raises(DataError, match="past the moment"):
            ground.mover.digest_at(ground.cluster, ground.dr, lsn, timeout_seconds=5)

    def test_a_standby_cannot_name_a_moment(self, ground):
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        with pytest.raises(DataError):
            ground.mover.hold_moment(ground.cluster, ground.dr, "skerry_p1", seconds_max=5)

    def test_what_belongs_to_a_moment_is_done_while_writers_wait(self, ground):
        self.chain(ground)
        ground.mover.prepare_moment(ground.cluster, ground.dr)
        named = []
        lsn, digest = ground.mover.hold_moment(
            ground.cluster, ground.source, "skerry_p2", seconds_max=5, named=named.append
        )
        assert named == [lsn]
        assert ground.mover.digest_at(ground.cluster, ground.dr, lsn, timeout_seconds=20).digest == digest
