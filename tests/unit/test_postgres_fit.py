"""Whether a standby fits: every mismatch is told with both hosts, both values and a remedy."""

from dataclasses import replace

import pytest

from orchestrator.movers.postgres.fit import (
    StandbyFacts,
    Tablespace,
    UpstreamFacts,
    control_misfits,
    misfits,
)
from orchestrator.movers.postgres.tablespaces import MovedTablespace

SETTINGS = {
    "wal_level": "replica",
    "data_checksums": "on",
    "block_size": "8192",
    "wal_block_size": "8192",
    "segment_size": "131072",
    "max_connections": "100",
    "max_worker_processes": "8",
    "max_wal_senders": "10",
    "max_prepared_transactions": "0",
    "max_locks_per_transaction": "64",
    "max_replication_slots": "10",
    "config_file": "/srv/db/postgresql.conf",
    "data_directory": "/srv/db",
}


def upstream(**more):
    facts = UpstreamFacts(
        "onprem-a",
        major=15,
        machine="x86_64",
        settings=dict(SETTINGS),
        locales={"en_US.UTF-8", "C"},
        collations={"c": "glibc 2.36"},
    )
    return replace(facts, **more)


def standby(**more):
    facts = StandbyFacts(
        "dr-a",
        version="15.14",
        machine="x86_64",
        settings=dict(SETTINGS),
        locales={"C", "en_US.utf8"},
        collations={"c": "glibc 2.36", "i": "ICU 72"},
    )
    return replace(facts, **more)


def settings(**more):
    return {**SETTINGS, **more}


def test_hosts_that_are_alike_fit():
    assert misfits(upstream(), standby()) == []


@pytest.mark.parametrize(
    ("there", "here", "said", "remedy"),
    [
        ({"version": ""}, {}, "dr-a has no PostgreSQL, onprem-a runs 15", "Install PostgreSQL 15"),
        ({"version": "16.1"}, {}, "onprem-a runs PostgreSQL 15, dr-a has 16.1", "Install PostgreSQL 15 on dr-a"),
        ({"machine": "aarch64"}, {}, "onprem-a is x86_64, dr-a is aarch64", "dump and restore"),
        (
            {"settings": settings(block_size="16384")},
            {},
            "block size is 8192 at onprem-a, 16384 at dr-a",
            "Install a PostgreSQL on dr-a",
        ),
        ({"settings": {}}, {}, "segment size is 131072 at onprem-a, unknown at dr-a", "Install a PostgreSQL on dr-a"),
        ({}, {"settings": settings(wal_level="minimal")}, "wal_level is minimal at onprem-a", "Set wal_level"),
        (
            {},
            {"used": {"max_wal_senders": 9}},
            "max_wal_senders is 10 at onprem-a, 9 are taken; dr-a needs 2",
            "Raise max_wal_senders on onprem-a",
        ),
        (
            {},
            {"used": {"max_replication_slots": 10}},
            "max_replication_slots is 10 at onprem-a, 10 are taken; dr-a needs 1",
            "Raise max_replication_slots",
        ),
        (
            {},
            {"settings": settings(config_file="/etc/postgresql/15/main/postgresql.conf")},
            "onprem-a reads /etc/postgresql/15/main/postgresql.conf",
            "Put the configuration of the unit on dr-a",
        ),
        (
            {"configuration": "/etc/pg/postgresql.conf", "settings": settings(max_connections="50")},
            {"settings": settings(config_file="/etc/pg/postgresql.conf")},
            "max_connections is 100 at onprem-a, 50 at dr-a",
            "Raise max_connections in /etc/pg/postgresql.conf on dr-a",
        ),
        ({"locales": {"C"}}, {}, "onprem-a uses the locale en_US.UTF-8, dr-a lacks it", "Install the locale"),
        (
            {"collations": {"c": "glibc 2.31"}},
            {},
            "text is sorted by glibc 2.36 at onprem-a, glibc 2.31 at dr-a",
            "operating system release",
        ),
        (
            {"collations": {"c": "glibc 2.36"}},
            {"collations": {"i": "ICU 72"}},
            "text is sorted by ICU 72 at onprem-a, an unknown version at dr-a",
            "operating system release",
        ),
        (
            {"extensions_missing": [("postgis", "3.3.2", "3.2.0")]},
            {},
            "onprem-a uses the extension postgis 3.3.2, dr-a has 3.2.0",
            "Install postgis 3.3.2 on dr-a",
        ),
        (
            {"extensions_missing": [("pgcrypto", "1.3", "")]},
            {},
            "onprem-a uses the extension pgcrypto 1.3, dr-a lacks it",
            "Install pgcrypto 1.3",
        ),
        (
            {"libraries_missing": ["$libdir/pgcrypto"]},
            {},
            "onprem-a uses the library $libdir/pgcrypto, dr-a lacks it",
            "Install on dr-a",
        ),
        (
            {},
            {"tablespaces": [Tablespace("16400", "inner", "/srv/db/pg_tblspc/16400")]},
            "the tablespace inner lies within the data directory",
            "Move it out",
        ),
    ],
)
def test_a_mismatch_names_both_hosts_both_values_and_a_remedy(there, here, said, remedy):
    found = [(what, then) for what, then in misfits(upstream(**here), standby(**there)) if said in what]
    assert len(found) == 1
    assert remedy in found[0][1]


def test_all_mismatches_are_told_at_once():
    found = misfits(upstream(), standby(version="14.2", machine="aarch64", locales=set()))
    assert len(found) == 3


def test_a_tablespace_outside_fits():
    assert misfits(upstream(tablespaces=[Tablespace("16400", "fast", "/srv/fast")]), standby()) == []


def test_data_directories_of_one_system_agree_in_what_is_not_replicated():
    one = {"Bytes per WAL segment": "16777216", "Data page checksum version": "1"}
    assert control_misfits(one, dict(one)) == []
    assert control_misfits(one, {**one, "Data page checksum version": "0"}) == [("data checksums", "1", "0")]
    assert control_misfits(one, {**one, "Bytes per WAL segment": "67108864"}) == [
        ("WAL segment size", "16777216", "67108864")
    ]


def test_a_tablespace_arrives_beside_its_place():
    moved = MovedTablespace("16400", "/lab/onprem/srv/a=b", "/srv/a=b")
    assert moved.incoming == "/srv/.skerry-a=b-incoming"
    assert moved.mapping == "--tablespace-mapping=/lab/onprem/srv/a\\=b=/srv/.skerry-a\\=b-incoming"
