"""The vault's rules without a host: secrets go by stdin alone, what restic says becomes an error of the tree."""

import json

import pytest

from orchestrator.foundation.errors import (
    CommandFailed,
    DataError,
    MissingTool,
    NoSpace,
    TargetError,
    TargetForbidden,
    TargetUnreachable,
    UsageError,
)
from orchestrator.model.host import Host
from orchestrator.model.recovery_point import RecoveryPoint
from orchestrator.model.vault import VaultCopy
from orchestrator.movers.vault.restic import ResticRepository
from orchestrator.operations.vault import copies, find_copy, places_of, recovery_point
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.transport import FakeTransport

HOST = Host(name="dr-a", site="dr", address="127.0.0.1")
SECRETS = {"password": "p4ssw0rd", "access_key": "AKIAX", "secret_key": "s3cr3t"}
DIGEST = "sha256:" + "a" * 64


def repository(answer, seen=None):
    def python(words, stdin):
        if seen is not None:
            seen.append((list(words), stdin))
        return answer

    transport = FakeTransport(HOST, programs={"python3": python})
    return ResticRepository(
        lambda _host: transport,
        endpoint="http://127.0.0.1:1",
        bucket="kept",
        prefix="skerry",
        region="eu-central-1",
        secrets=SECRETS.__getitem__,
    )


def said(**result):
    return 0, b"result " + json.dumps(result).encode() + b"\n", b""


def test_secrets_go_by_stdin_and_are_in_no_word():
    seen = []
    stored = {"snapshot": "abc", "bytes": 10, "added": 5, "files": 1}
    found = repository(said(**stored), seen).store(HOST, "/srv/point", tags=("point=rp-1",), progress=None)
    assert (found.snapshot, found.bytes_total, found.bytes_added) == ("abc", 10, 5)
    ((words, stdin),) = seen
    for secret in SECRETS.values():
        assert not any(secret in word for word in words)
        assert secret.encode() in stdin


def test_clearing_away_needs_no_secret():
    seen = []
    repository(said(cleared="/x"), seen).clear(HOST, "/x")
    assert not any(secret.encode() in seen[0][1] for secret in SECRETS.values())


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (said(missing="restic"), MissingTool, "dr-a lacks restic"),
        (said(refused="Fatal: wrong password or no key found", exit_code=1), TargetForbidden, "wrong password"),
        (said(refused="client.PutObject: Access Denied.", exit_code=1), TargetForbidden, "Access Denied"),
        (said(refused="dial tcp: connection refused", exit_code=1), TargetUnreachable, "refused"),
        (said(refused="write: no space left on device", exit_code=1), NoSpace, "no space"),
        (said(refused="/srv/x: permission denied", exit_code=3), DataError, "permission denied"),
        (said(refused="something else", exit_code=1), TargetError, "something else"),
        ((127, b"", b"python3: not found"), MissingTool, "python3"),
        ((1, b"", b"Traceback\nKeyError: x"), CommandFailed, "KeyError"),
    ],
)
def test_what_goes_wrong_is_an_error_that_names_the_host(answer, error, words):
    with pytest.raises(error, match=words) as caught:
        repository(answer).prepare(HOST)
    assert "dr-a" in caught.value.message


def test_no_room_to_restore_names_both_numbers():
    with pytest.raises(NoSpace, match="5 bytes free, 10 are needed"):
        repository(said(no_space=True, free=5)).restore(HOST, "abc", "/p", "/to", bytes_total=10, progress=None)


def a_copy(number, *, point="rp-1", system="archive"):
    return VaultCopy(
        id=f"{point}-{number:08x}",
        system=system,
        point=point,
        point_digest=DIGEST,
        at=f"2026-11-22T00:00:0{number}.000Z",
        host="dr-a",
        repository="s3:kept",
        datasets=(),
        locked_until="2026-12-22T00:00:00.000Z",
        objects_locked=3,
        removal_refused="AccessDenied",
    )


@pytest.fixture
def catalogue():
    made = MemoryCatalogue()
    for copy in (a_copy(1), a_copy(3), a_copy(2), a_copy(4, point="rp-2"), a_copy(5, system="filing")):
        made.put("vault_copy", f"{copy.system}/{copy.point}/{copy.id}", copy.model_dump(mode="json"))
    return made


def test_copies_are_listed_newest_first(catalogue):
    assert [copy.id[-1] for copy in copies(catalogue)] == ["5", "4", "3", "2", "1"]
    assert [copy.id[-1] for copy in copies(catalogue, "archive")] == ["4", "3", "2", "1"]


def test_a_copy_is_found_by_id_beginning_point_or_system(catalogue):
    assert find_copy(catalogue, "rp-1-00000002") == a_copy(2)
    assert find_copy(catalogue, "rp-2-0") == a_copy(4, point="rp-2")
    assert find_copy(catalogue, "rp-2") == a_copy(4, point="rp-2")
    assert find_copy(catalogue, "archive") == a_copy(4, point="rp-2")
    with pytest.raises(UsageError, match="more than one"):
        find_copy(catalogue, "rp-1-0000000")
    with pytest.raises(UsageError, match="no copy"):
        find_copy(catalogue, "rp-9")


def test_a_recovery_point_exists_at_its_sides_and_in_the_vault(catalogue):
    point = RecoveryPoint(
        id="rp-1", system="archive", at="2026-11-22T00:00:00.000Z", consistency="group_app", datasets=(), sides=("dr",)
    )
    assert places_of(point, copies(catalogue)) == [
        "dr",
        "vault:rp-1-00000003",
        "vault:rp-1-00000002",
        "vault:rp-1-00000001",
    ]
    with pytest.raises(UsageError, match="has no recovery point"):
        recovery_point(catalogue, "archive", None)
    catalogue.put("recovery_point", "archive/rp-1", point.model_dump(mode="json"))
    assert recovery_point(catalogue, "archive", "rp-1") == point
    with pytest.raises(UsageError, match="no recovery point rp-7"):
        recovery_point(catalogue, "archive", "rp-7")
