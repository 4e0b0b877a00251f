"""How a copy may end, and which error each end is: by table, from what the tools really print."""

import shlex

import pytest

from orchestrator.foundation.errors import (
    AccessDenied,
    DataError,
    HostKeyMismatch,
    HostUnreachable,
    MissingTool,
    NoSpace,
    RunInProgress,
    SourceChanged,
)
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host
from orchestrator.movers.file_tree import judge
from orchestrator.movers.program_trouble import trouble
from orchestrator.movers.rsync_words import reading_server

SOURCE = Host(name="onprem-a", site="onprem", address="10.10.1.11")
REPLICA = Host(name="dr-a", site="dr", address="10.20.1.11")
TREE = FileTree(name="documents", path="/srv/documents")


@pytest.mark.parametrize(
    ("code", "complaints", "error", "words"),
    [
        (11, ['rsync: [receiver] write failed on "/srv/x": No space left on device (28)'], NoSpace, "dr-a: no room"),
        (11, ["mkstemp failed: Disk quota exceeded (122)"], NoSpace, "dr-a: no room"),
        (127, ["bash: line 1: rsync: command not found"], MissingTool, "onprem-a: rsync is missing"),
        (12, ["sudo: rsync: command not found"], MissingTool, "onprem-a: rsync is missing"),
        (127, ["rsync: command not found"], MissingTool, "dr-a: rsync is missing"),
        (12, ["rsync: connection unexpectedly closed (0 bytes received so far)"], HostUnreachable, "broke off"),
        (255, ["ssh: connect to host 10.10.1.11 port 22: No route to host"], HostUnreachable, "No route"),
        (30, ["rsync error: timeout in data send/receive (code 30)"], HostUnreachable, "broke off"),
        (255, ["root@10.10.1.11: Permission denied (publickey)."], AccessDenied, "certificate"),
        (255, ["Host key verification failed."], HostKeyMismatch, "host key"),
        (23, ['rsync: [sender] read errors mapping "/srv/x": Input/output error (5)'], DataError, "Input/output"),
        (
            23,
            ['rsync: [sender] change_dir "/srv/documents" failed: No such file or directory (2)'],
            DataError,
            "change_dir",
        ),
    ],
)
def test_an_end_of_rsync_is_an_error_by_name(code, complaints, error, words):
    with pytest.raises(error, match=words) as raised:
        judge(TREE, SOURCE, REPLICA, {"code": code, "complaints": complaints})
    assert type(raised.value) is error


@pytest.mark.parametrize(("code", "complaints"), [(0, []), (24, []), (23, ["rsync error: some files (code 23)"])])
def test_entries_that_moved_are_no_error_but_are_told(code, complaints):
    judge(TREE, SOURCE, REPLICA, {"code": code, "complaints": complaints})


READS = "rsync --server --sender -lWHogDtpAXrSe.iLsfxCIvu"


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (f"{READS} . /srv/documents/", True),
        (f"sudo -n {READS} --timeout=60 --bwlimit=2048 --numeric-ids . /srv/documents/", True),
        ("rsync --server --sender -e.i . /srv/documents/", True),
        ("rsync --server --sender -e.i . /srv/my\\ documents/", False),
        ("rsync --server -lHogDtpAXre.iLsfxCIvu . /srv/documents/", False),  # this one writes
        ("rsync --server --sender -e.i . /srv/documents/ /etc/", False),
        ("cat /srv/documents/", False),
        ("rsync --server --sender 'unclosed", False),
        # What a shell would take for a second command, before or after, or for one within a word.
        (f"id; {READS} . /srv/documents/", False),
        (f"sudo -n id; sudo -n {READS} . /srv/documents/", False),
        (f"{READS} . /srv/documents/;id", False),
        (f"{READS} . $(id)/srv/documents/", False),
    ],
)
def test_only_a_reading_server_of_just_this_path_is_forced(command, asked):
    assert (reading_server(command, "/srv/documents") is not None) is asked


@pytest.mark.parametrize(
    "word",
    [
        "--remove-source-files",
        "--log-file=/etc/cron.d/x",
        "--log-file=/tmp/x --log-file-format=%i",
        "--files-from=/etc/shadow",
        "--files-from=-",
        "--filter=merge_/etc/shadow",
        "--exclude-from=/etc/shadow",
        "--copy-links",
        "-L",
        "-lke.iLs",
        "-T/etc",
        "--rsh=id",
        "-e;id",
        "-l;id",
        "$(id)",
        "`id`",
        "|id",
        "--bwlimit=1;id",
    ],
)
def test_a_replica_that_asks_for_more_than_reading_is_refused(word):
    with pytest.raises(AccessDenied, match="for more than to read it"):
        reading_server(f"sudo -n {READS} {word} . /srv/documents/", "/srv/documents")


def test_names_are_read_only_where_they_were_granted_and_then_enclosed_in_the_tree():
    command = f"sudo -n {READS} --ignore-missing-args --files-from=- --from0 . /srv/documents/"
    with pytest.raises(AccessDenied, match="for more than to read it: '--ignore-missing-args --files-from=- --from0'"):
        reading_server(command, "/srv/documents")
    words = reading_server(command, "/srv/documents", by_name=True)
    assert words is not None
    assert words[:5] == ["sudo", "-n", "unshare", "--mount", "sh"]
    assert shlex.join(words[7:]) == "/srv/documents " + command.removeprefix("sudo -n ")


def test_what_is_forced_is_quoted_by_us():
    words = reading_server(f"{READS} . /srv/'a;b'/", "/srv/a;b")
    assert words is not None
    assert shlex.join(words).endswith(". '/srv/a;b/'")


@pytest.mark.parametrize(
    ("kind", "why", "error"),
    [
        ("busy", "another run copies to it", RunInProgress),
        ("full", "No space left on device", NoSpace),
        ("moved", "changed while it was copied", SourceChanged),
        ("link", "ssh ended", HostUnreachable),
        ("link", "root@10.10.1.11: Permission denied (publickey).", AccessDenied),
        ("source", "Input/output error", DataError),
        ("target", "Read-only file system", DataError),
        ("killed", "a process was killed on the host", DataError),
    ],
)
def test_a_trouble_of_a_volume_is_an_error_by_name(kind, why, error):
    volume = BlockVolume(name="disk", path="/srv/disk.img")
    try:
        found = trouble(volume, REPLICA, SOURCE, kind, why)
    except AccessDenied as denied:
        found = denied
    assert type(found) is error
    assert "disk" in found.message
