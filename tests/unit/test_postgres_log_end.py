"""What the log of a cluster that lost its power holds alone, by what pg_waldump says of where it ends."""

import pytest

from orchestrator.contracts.databases import Role
from orchestrator.foundation.errors import DataError
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.host import Host
from orchestrator.movers.postgres.cluster_host import ClusterHost
from orchestrator.movers.postgres.ends import log_alone
from tests.fakes.transport import FakeTransport

_COUNTED = b"""WAL statistics between 0/3000060 and 0/3000148:
Type                                           N      (%)
Transaction/COMMIT                             2 (100.00)
"""


class LostPower(ClusterHost):
    """A stopped cluster as its host would show it: what `pg_waldump` prints is given."""

    def __init__(self, state, out=b"", err=b""):
        cluster = PostgresCluster(name="register", data_directory="/data", service="db", databases=("filing",))
        host = Host(name="onprem-1", site="onprem", address="10.0.0.1")
        waldump = {f"{cluster.binaries}/pg_waldump": lambda _words, _stdin: (1, out, err)}
        super().__init__(cluster, FakeTransport(host, programs=waldump))
        self._state = state

    def role(self):
        return Role.STOPPED

    def control(self):
        return {
            "Database cluster state": self._state,
            "Latest checkpoint location": "0/3000060",
            "Minimum recovery ending location": "0/0",
            "Latest checkpoint's NextXID": "0:731",
            "Latest checkpoint's TimeLineID": "1",
        }


def alone(out: bytes, err: bytes):
    return log_alone(LostPower("in production", out, err), LostPower("shut down"))


@pytest.mark.parametrize(
    ("out", "ended", "held"),
    [
        (_COUNTED, "error in WAL record at 0/3000110: invalid record length at 0/3000148: wanted 24, got 0", (232, 2)),
        (b"", "could not find a valid record after 0/3000060", (0, 0)),
        # Records, and none of them the end of a transaction: then it counts nothing, and says where it ended.
        (b"", "error in WAL record at 0/3000060: invalid record length at 0/3000098: wanted 24, got 0", (56, 0)),
        (b"", "error in WAL record at 0/3000080: record with incorrect prev-link 0/1 at 0/30000B8", (32, 0)),
    ],
)
def test_a_log_is_counted_to_its_last_whole_record(out, ended, held):
    found = alone(out, f"pg_waldump: error: {ended}".encode())
    assert (found.bytes, found.transactions) == held


def test_a_log_that_cannot_be_read_is_no_empty_one():
    with pytest.raises(DataError, match="cannot be read: .*No such file"):
        alone(b"", b"pg_waldump: error: could not open directory: No such file or directory")
