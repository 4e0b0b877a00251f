"""Units as their files describe them, read without a service manager."""

import os
import pwd
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.hosts.host_programs.bubble.namespaces import Lease, Refused
from orchestrator.hosts.host_programs.bubble.program import erase, is_sole_user
from orchestrator.hosts.host_programs.bubble.units import environment_of, read_unit, words_of


@pytest.fixture
def unit(tmp_path, monkeypatch):
    """A unit that a real program called systemctl shows."""

    def write(text: str) -> dict[str, list[str]]:
        (tmp_path / "unit").write_text(text)
        shim = tmp_path / "systemctl"
        shim.write_text(f'#!/bin/sh\n[ "$2" = app.service ] && cat {tmp_path}/unit || {{ echo none >&2; exit 1; }}\n')
        shim.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return read_unit("app")

    return write


def test_settings_of_the_service_are_read_with_drop_ins_and_long_lines(unit):
    settings = unit(
        "# /etc/systemd/system/app.service\n[Unit]\nDescription=x\n[Service]\nUser=app\n"
        "ExecStart=/opt/app --one \\\n    --two\nEnvironment=A=1\n"
        "# /etc/systemd/system/app.service.d/over.conf\n[Service]\nExecStart=\nExecStart=/opt/app --three\n"
        "Environment=B=2\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    assert settings["ExecStart"] == ["/opt/app --three"]
    assert settings["Environment"] == ["A=1", "B=2"]
    assert "WantedBy" not in settings


def test_a_unit_that_is_not_there_or_starts_nothing_is_refused(unit):
    with pytest.raises(Refused, match="unit app starts nothing"):
        unit("[Service]\nUser=app\n")
    with pytest.raises(Refused, match="no unit other: none"):
        read_unit("other")


def test_words_are_expanded_as_systemd_does():
    known = {"ADDRESS": "10.20.1.11", "MORE": "a b"}
    assert words_of("-/bin/app -c listen=${ADDRESS} $MORE '$MORE' 100%% $NONE", known) == [
        "/bin/app", "-c", "listen=10.20.1.11", "a", "b", "a", "b", "100%",
    ]  # fmt: skip


def test_the_environment_is_the_units_and_its_files(tmp_path):
    me = pwd.getpwuid(0).pw_name
    (tmp_path / "env").write_text('# comment\nPORT=8080\nTITLE="two words"\n')
    settings = {"Environment": ["A=1 'B=x y'"], "EnvironmentFile": [str(tmp_path / "env"), f"-{tmp_path}/none"]}
    found = environment_of(settings, me)
    assert (found["A"], found["B"], found["PORT"], found["TITLE"]) == ("1", "x y", "8080", "two words")
    with pytest.raises(Refused, match="is missing"):
        environment_of({"EnvironmentFile": [f"{tmp_path}/none"]}, me)


def test_the_programs_of_a_bubble_are_one_file_for_an_old_python():
    from orchestrator.contracts.joined_program import joined_program

    folder = Path(__file__).parents[2] / "orchestrator" / "hosts" / "host_programs" / "bubble"
    joined = joined_program(folder).decode()
    assert "orchestrator" not in joined
    words = ["python3", "-I", "-S", "-c", joined, '{"do": "list", "root": "/nowhere"}']
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout == 'result {"bubbles": []}\n', done.stderr


def test_a_lease_is_over_when_nobody_touched_it_for_so_long_whatever_the_hosts_clock_says(tmp_path):
    file = tmp_path / "lease"
    file.touch()
    assert not Lease(str(file), 60.0).is_over()
    lease = Lease(str(file), 0.2)
    os.utime(file, (1, 1))  # the clock was set to 1970
    assert not lease.is_over()
    time.sleep(0.15)
    os.utime(file, (2, 2))
    assert not lease.is_over()
    time.sleep(0.25)
    assert lease.is_over()
    file.unlink()
    assert Lease(str(file), 60.0).is_over(), "the bubble was taken away"


def test_what_two_erase_at_once_is_erased_and_neither_complains(tmp_path):
    for number in range(10):
        folder = tmp_path / f"bubble-{number}"
        for place in range(150):
            (folder / str(place) / "work").mkdir(parents=True)
        reaper = threading.Thread(target=shutil.rmtree, args=[folder], kwargs={"ignore_errors": True})
        reaper.start()
        erase(str(folder))
        assert not folder.exists()
        reaper.join()


@pytest.mark.platform("namespaces")
def test_a_host_whose_root_is_the_only_user_is_told_from_others():
    ask = f"from {is_sole_user.__module__} import is_sole_user; print(is_sole_user())"
    words = [sys.executable, "-c", ask]
    assert subprocess.run(["unshare", "-Ur", *words], capture_output=True, text=True, check=True).stdout == "True\n"
    assert not is_sole_user()
