"""PostgreSQL clusters between real hosts: base backup, cascade, switch, rejoin, rewind, moments."""

import threading
import time

import pytest

from orchestrator.contracts.databases import Role
from orchestrator.foundation.errors import CommandFailed, DataError, DigestMismatch, HostUnreachable, VersionMismatch
from orchestrator.movers.postgres import standby as standbys
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.digest import await_received, stop_at, stream_on
from orchestrator.movers.postgres.fit import check_fit
from orchestrator.movers.postgres.lsn import parse_lsn
from orchestrator.movers.postgres.mover import PostgresMover
from orchestrator.movers.postgres.standby import AUTO_CONF
from tests.laws.databases_laws import DatabasesLaws
from tests.platform.clusters import BINARIES, DATA, FOLDER, PASSWORD

pytestmark = pytest.mark.platform("hosts", "postgresql")


@pytest.fixture
def ground(cluster_on_hosts):
    cluster_on_hosts.fresh()
    return cluster_on_hosts


class TestPostgresMover(DatabasesLaws):
    pass


class ReadyMover(PostgresMover):
    """Sessions stand wherever a server runs, at every moment."""

    def _at(self, cluster, host):
        self.stand_ready(cluster, host)
        return super()._at(cluster, host)


class TestPostgresMoverThatStandsReady(DatabasesLaws):
    @pytest.fixture
    def ground(self, ground):
        ordinary, ground.mover = ground.mover, ReadyMover(ground.transports, lambda reference: PASSWORD)
        yield ground
        ground.mover.release(ground.cluster)
        ground.mover = ordinary


def test_what_stands_ready_is_asked_over_one_session_until_it_is_released(ground):
    def session(ready=ground.mover):
        return ready._at(ground.cluster, ground.source).sql_when_up("select pg_backend_pid(), 'a|b'")

    assert session() != session()
    assert ground.mover.stand_ready(ground.cluster, ground.source) == ""
    first = session()
    assert (session(), ground.mover.stand_ready(ground.cluster, ground.source)) == (first, "")
    idle = "select count(*) from pg_stat_activity where datname is not null and state = 'idle' and xact_start is null"
    ground.mover.digest(ground.cluster, ground.source)
    assert ground.sql(ground.source, idle) == "2"
    with pytest.raises(DataError, match="syntax error"):
        ground.mover._at(ground.cluster, ground.source).sql_when_up("select from where")
    assert session() != first
    assert session() == session()
    ground.mover.release(ground.cluster)
    assert session() != session()


def test_sessions_that_nobody_asks_end_and_come_again(ground):
    ready = ground.mover._at(ground.cluster, ground.source).ready
    assert ready.begin(idle_seconds=1.0) == ""
    sessions = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
    assert ready.sql(sessions, timeout_seconds=30) == "1"  # the one that digests
    deadline = time.monotonic() + 30
    while ground.sql(ground.source, sessions) != "0":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert ready.sql(sessions, timeout_seconds=30) == "0"
    assert ready.digest()["digest"] == ground.mover.digest(ground.cluster, ground.source).digest
    ground.mover.release(ground.cluster)


def test_where_no_server_runs_nothing_stands_ready(ground):
    assert "postmaster.pid" in ground.mover.stand_ready(ground.cluster, ground.dr)
    assert ground.mover.role(ground.cluster, ground.dr) is Role.MISSING


def test_the_password_is_in_no_word_of_any_process_and_in_one_file_of_the_server_alone(ground):
    seen = []
    stop = threading.Event()

    def look():
        while not stop.is_set():
            seen.append(
                ground.run(
                    ground.dr,
                    "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '; true",
                    user="root",
                )
            )

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    finally:
        stop.set()
        watcher.join()
    assert any("pg_basebackup" in text for text in seen)
    assert not any(PASSWORD in text for text in seen)
    folder = ground.dr.path(DATA).rsplit("/", 1)[0]
    assert ground.run(ground.dr, f"stat -c %a {folder}/.skerry-movers.pgpass") == "600"
    assert PASSWORD not in ground.run(ground.dr, f"cat {ground.dr.path(DATA)}/postgresql.auto.conf")


def test_a_wrong_password_is_an_error_of_data_not_of_reach(ground):
    wrong = PostgresMover(ground.transports, lambda reference: "wrong")
    with pytest.raises(DataError, match="authentication failed"):
        wrong.make_standby(ground.cluster, ground.source, ground.dr)
    assert ground.mover.role(ground.cluster, ground.dr) is Role.MISSING


def test_an_upstream_that_is_down_is_unreachable(ground):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.mover.shut_down(ground.cluster, ground.source)
    with pytest.raises((DataError, HostUnreachable), match="no server runs"):
        ground.mover.make_standby(ground.cluster, ground.source, ground.cloud)


def test_a_host_without_postgresql_is_refused_before_the_first_byte(ground):
    other = ground.cluster.model_copy(update={"binaries": "/usr/local/nowhere/bin"})
    upstream, standby = (
        ClusterHost(cluster, ground.transports(host))
        for cluster, host in ((ground.cluster, ground.source), (other, ground.dr))
    )
    with pytest.raises(VersionMismatch, match="dr-a has no PostgreSQL, onprem-a runs 15"):
        check_fit(upstream, standby, "skerry")
    assert ground.mover.role(ground.cluster, ground.dr) is Role.MISSING


def test_what_extensions_and_functions_need_is_asked_of_the_standby(ground):
    ground.sql(ground.source, "create extension pgcrypto; update pg_extension set extversion = '9.9'")
    with pytest.raises(VersionMismatch, match=r"onprem-a uses the extension pgcrypto 9\.9, dr-a has 1\.3"):
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.sql(ground.source, "update pg_extension set extversion = '1.3' where extname = 'pgcrypto'")
    ground.sql(ground.source, "update pg_proc set probin = '$libdir/nowhere' where proname = 'digest'")
    with pytest.raises(VersionMismatch, match=r"onprem-a uses the library \$libdir/nowhere, dr-a lacks it"):
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    assert ground.mover.role(ground.cluster, ground.dr) is Role.MISSING


def test_data_directories_that_differ_in_checksums_do_not_follow_each_other(ground):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.mover.shut_down(ground.cluster, ground.dr)
    ground.run(ground.dr, f"{BINARIES}/pg_checksums --disable -D {ground.dr.path(DATA)}")
    with pytest.raises(VersionMismatch, match="data checksums is 1 at onprem-a, 0 at dr-a"):
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.run(ground.dr, f"{BINARIES}/pg_checksums --enable -D {ground.dr.path(DATA)}")
    report = ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    assert report.method == "streaming"


@pytest.fixture
def space(ground):
    """A tablespace outside of the data directory, with a table in it."""
    folder = f"{FOLDER}/movers-space"
    places = [host.path(folder) for host in (ground.source, ground.dr, ground.cloud)]
    ground.run(ground.source, f"rm -rf {places[0]}; mkdir {places[0]}")
    ground.sql(ground.source, f"create tablespace elsewhere location '{places[0]}'", "postgres")
    ground.sql(ground.source, "create table far tablespace elsewhere as select generate_series(1, 1000) as number")
    yield folder
    ground.clear()
    for host in (ground.source, ground.dr, ground.cloud):
        ground.run(host, f"rm -rf {host.path(folder)} {host.path(FOLDER)}/.skerry-movers-space-*", user="root")


def test_tablespaces_are_moved_to_the_same_path_of_each_host(ground, space):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.mover.make_standby(ground.cluster, ground.dr, ground.cloud)
    ground.sql(ground.source, "insert into far values (7)")
    ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=30)
    ground.mover.await_caught_up(ground.cluster, ground.dr, ground.cloud, timeout_seconds=30)
    hosts = (ground.source, ground.dr, ground.cloud)
    for host in hosts:
        assert ground.sql(
            host, "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'elsewhere'"
        ) == (host.path(space))
        assert ground.sql(host, "select count(*) from far") == "1001"
    assert len({ground.mover.digest(ground.cluster, host).digest for host in hosts}) == 1
    # Made anew, what stood there is kept beside it, and the new one is in its place.
    ground.mover.shut_down(ground.cluster, ground.cloud)
    ground.run(ground.cloud, f"rm {ground.cloud.path(DATA)}/global/pg_control")
    ground.run(ground.cloud, f"mv {ground.cloud.path(DATA)} {ground.cloud.path(FOLDER)}/.skerry-movers-gone")
    assert ground.mover.make_standby(ground.cluster, ground.dr, ground.cloud).method == "pg_basebackup"
    assert ground.sql(ground.cloud, "select count(*) from far") == "1001"
    assert ground.run(ground.cloud, f"ls -d {ground.cloud.path(FOLDER)}/.skerry-movers-space-replaced")


def test_an_old_primary_with_tablespaces_is_rewound(ground, space):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    lsn = ground.mover.shut_down(ground.cluster, ground.source)
    ground.mover.promote(ground.cluster, ground.dr, holding=lsn, timeout_seconds=30)
    ground.mover.start(ground.cluster, ground.source)
    ground.sql(ground.source, "insert into far values (8), (9)")
    ground.mover.shut_down(ground.cluster, ground.source)
    ground.sql(ground.dr, "insert into far values (10)")
    report = ground.mover.rejoin(ground.cluster, ground.source, ground.dr, allow_rewind=True)
    assert report.method == "pg_rewind"
    ground.mover.await_caught_up(ground.cluster, ground.dr, ground.source, timeout_seconds=30)
    assert ground.sql(ground.source, "select count(*) from far") == "1001"


def test_a_tablespace_is_not_put_where_something_else_lies(ground, space):
    place = ground.dr.path(space)
    ground.run(ground.dr, f"mkdir -p {place}; echo precious > {place}/letter")
    with pytest.raises(DataError, match=r"belongs where something else lies: .*/letter"):
        ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    assert ground.mover.role(ground.cluster, ground.dr) is Role.MISSING
    assert ground.run(ground.dr, f"cat {place}/letter") == "precious"


def test_a_backup_that_broke_off_is_begun_anew(ground):
    ground.sql(
        ground.source,
        "create table ballast as select g id, repeat(md5(g::text), 20) t from generate_series(1, 60000) g",
    )
    failures = []

    def copy():
        try:
            ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
        except (DataError, HostUnreachable) as error:
            failures.append(error)

    thread = threading.Thread(target=copy)
    thread.start()
    deadline = time.monotonic() + 20
    while not ground.run(ground.dr, "pgrep -x pg_basebackup || true") and time.monotonic() < deadline:
        pass
    ground.run(ground.dr, "pkill -9 -x pg_basebackup", user="root")
    thread.join()
    assert failures
    assert ground.mover.role(ground.cluster, ground.dr) is Role.MISSING
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=20)
    assert (
        ground.mover.digest(ground.cluster, ground.source).digest
        == ground.mover.digest(ground.cluster, ground.dr).digest
    )


def test_a_base_backup_that_was_never_started_is_a_standby_at_the_next_try(ground):
    unit = ground.dr.path("/etc/systemd/system/movers-db.service")
    ground.run(ground.dr, f"cp {unit} {unit}.kept; sed -i 's#^ExecStart=.*#ExecStart=/bin/false#' {unit}", user="root")
    ground.run(ground.dr, "systemctl daemon-reload", user="root")
    try:
        with pytest.raises((DataError, CommandFailed)):
            ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    finally:
        ground.run(ground.dr, f"mv {unit}.kept {unit}; systemctl daemon-reload", user="root")
    assert ground.mover.role(ground.cluster, ground.dr) is Role.STOPPED
    report = ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    assert (report.method, report.bytes_wire) == ("streaming", 0)
    arrives(ground, "after the first start")


@pytest.mark.parametrize("way", ["make_standby", "rejoin"])
def test_a_standby_that_lost_its_power_goes_on_from_where_it_was(ground, way):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    arrives(ground, "before")
    lose_power(ground, ground.dr)
    ground.write(ground.source, "meanwhile")
    pair = (ground.source, ground.dr) if way == "make_standby" else (ground.dr, ground.source)
    report = getattr(ground.mover, way)(ground.cluster, *pair)
    assert report.method == "streaming"
    arrives(ground, "after")
    assert ground.rows(ground.dr) == ["first", "before", "meanwhile", "after"]


def test_a_standby_that_lost_its_power_beyond_the_end_of_its_upstream_is_made_anew(ground):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.mover.make_standby(ground.cluster, ground.source, ground.cloud)
    lose_power(ground, ground.cloud)
    arrives(ground, "never at the cloud")
    # The cloud becomes the upstream at an earlier place than where the standby at DR stands already.
    lose_power(ground, ground.dr)
    ground.mover.shut_down(ground.cluster, ground.source)
    ground.mover.start(ground.cluster, ground.cloud)
    ground.mover.promote(ground.cluster, ground.cloud)
    report = ground.mover.make_standby(ground.cluster, ground.cloud, ground.dr)
    assert report.method == "pg_basebackup"
    assert ground.rows(ground.dr) == ["first"]


def test_a_primary_that_lost_its_power_is_not_made_a_standby_as_it_is(ground):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    lose_power(ground, ground.source)
    ground.mover.promote(ground.cluster, ground.dr)
    with pytest.raises(DataError, match=r"was not stopped cleanly \(its state is: in production\)"):
        ground.mover.make_standby(ground.cluster, ground.dr, ground.source)


def lose_power(ground, host):
    ground.sql(host, "checkpoint", "postgres")  # what it replayed is on its disk
    ground.run(host, f"{BINARIES}/pg_ctl -D {host.path(DATA)} -m immediate -w stop")
    ground.run(host, "systemctl stop movers-db", user="root")


def arrives(ground, text):
    ground.write(ground.source, text)
    ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=30)
    assert text in ground.rows(ground.dr)


def test_a_moment_under_load_keeps_writers_waiting_shortly(ground):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    stop = threading.Event()
    waits = []

    def load():
        while not stop.is_set():
            began = time.monotonic()
            ground.write(ground.source, "under load")
            waits.append(time.monotonic() - began)

    writers = [threading.Thread(target=load) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        ground.mover.prepare_moment(ground.cluster, ground.dr)
        lsn, digest = ground.mover.hold_moment(ground.cluster, ground.source, "skerry_load", seconds_max=5)
        time.sleep(0.3)
        found = ground.mover.digest_at(ground.cluster, ground.dr, lsn, timeout_seconds=30)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert found.digest == digest
    assert max(waits) < 2.0
    ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=20)


@pytest.mark.parametrize("forgotten", [True, False], ids=["the target out of the file", "the target in the file"])
def test_a_digest_cut_off_at_its_target_leaves_a_standby_that_reaches_the_next_moment(ground, forgotten):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    standby = ClusterHost(ground.cluster, ground.transports(ground.dr))
    ground.mover.prepare_moment(ground.cluster, ground.dr)
    lsn, _ = ground.mover.hold_moment(ground.cluster, ground.source, "skerry_cut", seconds_max=5)
    ground.write(ground.source, "after")
    written = standbys.position(ClusterHost(ground.cluster, ground.transports(ground.source)))
    await_received(standby, parse_lsn(written), time.monotonic() + 30)
    plain = standby.read(AUTO_CONF)
    stop_at(standby, lsn)
    standbys.await_condition(standby, "pg_is_wal_replay_paused()", "does not wait at its target", 30)
    if forgotten:
        standby.write(f"{standby.data}/{AUTO_CONF}", plain)

    ground.mover.prepare_moment(ground.cluster, ground.dr)
    lsn, digest = ground.mover.hold_moment(ground.cluster, ground.source, "skerry_next", seconds_max=5)
    assert ground.mover.digest_at(ground.cluster, ground.dr, lsn, timeout_seconds=20).digest == digest
    assert standby.role() is Role.STANDBY


def test_a_standby_that_waits_at_a_target_is_never_resumed_into_a_primary(ground):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    standby = ClusterHost(ground.cluster, ground.transports(ground.dr))
    ground.mover.prepare_moment(ground.cluster, ground.dr)
    lsn, _ = ground.mover.hold_moment(ground.cluster, ground.source, "skerry_cut", seconds_max=5)
    plain = standby.read(AUTO_CONF)
    stop_at(standby, lsn)
    standby.write(f"{standby.data}/{AUTO_CONF}", plain)
    ground.write(ground.source, "after")
    standbys.await_condition(standby, "pg_is_wal_replay_paused()", "does not wait at its target", 30)
    stream_on(standby)
    ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=20)
    assert standby.role() is Role.STANDBY
    assert "after" in ground.rows(ground.dr)


@pytest.mark.parametrize(
    "statement",
    [
        "update filings set who = 'First' where id = 1",
        "insert into plain values ('x', null)",
        "alter table filings add column extra int",
        "create view seen as select * from filings",
        "select nextval('filings_id_seq') from generate_series(1, 100)",
        "grant select on filings to replicator",
        "create function one() returns int language sql as 'select 1'",
        "comment on table filings is 'the register'",
        "select lo_from_bytea(0, '\\x616263')",
        "create role somebody",
    ],
)
def test_any_difference_of_content_or_schema_gives_another_digest(ground, statement):
    before = ground.mover.digest(ground.cluster, ground.source).digest
    ground.sql(ground.source, statement)
    assert ground.mover.digest(ground.cluster, ground.source).digest != before


def test_differences_name_the_table(ground):
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.mover.prepare_moment(ground.cluster, ground.dr)
    ground.write(ground.source, "not yet there")
    assert ground.mover.differences(ground.cluster, ground.source, ground.dr) == [
        "filing: sequences: content differs",
        "filing: table public.filings: content differs",
    ]
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=20)
    assert ground.mover.differences(ground.cluster, ground.source, ground.dr) == []


def held_clone(ground, point="rp-1"):
    """source → dr, and a clone at dr of a moment after which both wrote on: (folder, lsn, digest)."""
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.write(ground.source, "within")
    ground.mover.prepare_moment(ground.cluster, ground.dr)
    lsn, digest = ground.mover.hold_moment(ground.cluster, ground.source, point, seconds_max=10)
    ground.write(ground.source, "after")
    found = ground.mover.digest_at(ground.cluster, ground.dr, lsn, timeout_seconds=30, keep_as=point)
    assert found.digest == digest
    ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=30)
    folder = ground.mover.find_clone(ground.cluster, ground.dr, point)
    assert folder
    return folder, lsn, digest


def test_a_clone_of_a_moment_is_proved_by_running_a_copy_of_it(ground, space):
    folder, lsn, digest = held_clone(ground)
    ground.sql(ground.source, "insert into far values (9), (10)")
    ground.mover.await_caught_up(ground.cluster, ground.source, ground.dr, timeout_seconds=30)
    check = ground.mover.prove_clone(ground.cluster, ground.dr, folder, lsn=lsn, digest=digest)
    assert check.checks == {
        "pg_verifybackup": "passed: every file is as the manifest says",
        "amcheck": "passed: every index holds what its table holds",
        "pg_checksums": "passed: every page",
    }
    # The clone is as it was, nothing of the proof is left, and the standby streams on.
    again = ground.mover.prove_clone(ground.cluster, ground.dr, folder, lsn=lsn, digest=digest)
    assert again == check
    assert not ground.run(ground.dr, f"ls -d {ground.dr.path(FOLDER)}/.skerry-movers-proof 2>/dev/null || true")
    assert ground.mover.lag(ground.cluster, ground.source, ground.dr).streaming
    assert "after" in ground.rows(ground.dr)


def test_only_the_newest_clone_is_kept(ground):
    held_clone(ground)
    ground.mover.prepare_moment(ground.cluster, ground.dr)
    lsn, digest = ground.mover.hold_moment(ground.cluster, ground.source, "rp-2", seconds_max=10)
    ground.mover.digest_at(ground.cluster, ground.dr, lsn, timeout_seconds=30, keep_as="rp-2")
    assert ground.mover.find_clone(ground.cluster, ground.dr, "rp-1") is None
    folder = ground.mover.find_clone(ground.cluster, ground.dr, "rp-2")
    # No record follows the moment: the log of the clone ends just there.
    assert ground.mover.prove_clone(ground.cluster, ground.dr, folder, lsn=lsn, digest=digest).digest == digest


def test_a_clone_of_a_try_that_was_broken_off_is_taken_anew_for_the_moment_of_the_next_one(ground):
    held_clone(ground)
    ground.write(ground.source, "later")
    ground.mover.prepare_moment(ground.cluster, ground.dr)
    lsn, digest = ground.mover.hold_moment(ground.cluster, ground.source, "rp-1", seconds_max=10)
    ground.mover.digest_at(ground.cluster, ground.dr, lsn, timeout_seconds=30, keep_as="rp-1")
    folder = ground.mover.find_clone(ground.cluster, ground.dr, "rp-1")
    assert ground.mover.prove_clone(ground.cluster, ground.dr, folder, lsn=lsn, digest=digest).digest == digest


def test_a_clone_that_rotted_is_found(ground):
    folder, lsn, digest = held_clone(ground)
    with pytest.raises(DigestMismatch, match="not sha256:0000"):
        ground.mover.prove_clone(ground.cluster, ground.dr, folder, lsn=lsn, digest="sha256:" + "0" * 64)
    table = ground.sql(ground.source, "select pg_relation_filepath('filings')")
    ground.run(ground.dr, f"printf x | dd of={folder}/data/{table} bs=1 seek=4000 conv=notrunc status=none")
    with pytest.raises(DataError, match="pg_verifybackup"):
        ground.mover.prove_clone(ground.cluster, ground.dr, folder, lsn=lsn, digest=digest)


def test_an_index_that_lost_an_entry_is_found_by_amcheck_alone(ground):
    """The digest reads tables, not indexes, and every page has a right checksum."""
    ground.mover.make_standby(ground.cluster, ground.source, ground.dr)
    ground.sql(
        ground.source,
        "create index lying on filings (who); insert into filings (who) select 'x' || g from generate_series(1, 50) g;"
        " update pg_index set indisready = false where indexrelid = 'lying'::regclass;"
        " insert into filings (who) values ('missing in the index');"
        " update pg_index set indisready = true where indexrelid = 'lying'::regclass",
    )
    folder, lsn, digest = held_clone(ground)
    with pytest.raises(DataError, match="pg_amcheck"):
        ground.mover.prove_clone(ground.cluster, ground.dr, folder, lsn=lsn, digest=digest)
