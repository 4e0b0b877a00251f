"""playbooks/files/fence.py as hosts get it, with a systemctl that keeps states: what it asks, when it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "playbooks" / "files" / "fence.py"
# States are files: UNIT.active, UNIT.enabled. A unit without a file UNIT is not there.
SYSTEMCTL = """#!/bin/sh
cd "${0%/*}/states" || exit 9
echo "$*" >> ../log
verb=$1; shift
[ -e "refuses-$verb" ] && { echo "Access denied"; exit 4; }
for unit in "$@"; do
    case "$unit" in -*) continue ;; esac
    case "$verb" in
        show)
            if [ -e "$unit" ]; then echo LoadState=loaded; else echo LoadState=not-found; fi
            if [ -e "$unit.active" ]; then echo ActiveState=active; else echo ActiveState=inactive; fi
            if [ -e "$unit.enabled" ]; then echo UnitFileState=enabled; else echo UnitFileState=disabled; fi
            echo "Warning: something = of no concern" ;;
        stop) rm -f "$unit.active" ;;
        disable) [ -e "$unit" ] || { echo "Unit file $unit does not exist."; exit 1; }; rm -f "$unit.enabled" ;;
        enable) touch "$unit.enabled" ;;
    esac
done
"""


class OneHost:
    def __init__(self, folder: Path, *units: str) -> None:
        self.prefix, self.programs = folder / "host", folder / "bin"
        self.states = self.programs / "states"
        self.states.mkdir(parents=True)
        (self.programs / "systemctl").write_text(SYSTEMCTL)
        (self.programs / "systemctl").chmod(0o755)
        own = self.prefix / "etc/systemd/system"  # an administrator's own units: systemd refuses to mask them
        own.mkdir(parents=True)
        self.units = units
        for unit in units:
            (own / f"{unit}.service").write_text("")
            for suffix in ("", ".active", ".enabled"):
                (self.states / f"{unit}.service{suffix}").touch()

    def order(self, do: str, ticket: int = 1) -> "subprocess.CompletedProcess[str]":
        services = [{"name": unit, "port": 1, "address": "127.0.0.1"} for unit in self.units]
        asked: dict[str, Any] = {"do": do, "prefix": str(self.prefix), "system": "filing", "number": 1}
        asked |= {"ticket": ticket, "side": "source", "at": "", "services": services, "databases": []}
        environment = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"}
        words = [sys.executable, "-I", "-S", str(PROGRAM), json.dumps(asked)]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    @property
    def told(self) -> list[str]:
        return [line.split()[0] for line in (self.programs / "log").read_text().splitlines()]

    @property
    def fenced(self) -> bool:
        return (self.prefix / "etc/skerry/fence/filing.json").exists()


@pytest.fixture
def host(tmp_path):
    return OneHost(tmp_path, "first", "second")


def test_all_services_are_stopped_and_disabled_and_seen_to_be_whatever_else_is_said(host):
    done = host.order("fence")
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["report"]["services"]
    assert {name: (each["active"], each["enabled"]) for name, each in services.items()} == {
        "first": ("inactive", False),
        "second": ("inactive", False),
    }
    assert host.told == ["disable", "show", "stop", "stop", "show"]


def test_a_side_that_was_drained_is_fenced_with_two_questions(host):
    for unit in host.units:
        (host.states / f"{unit}.service.active").unlink()
    assert host.order("fence").returncode == 0
    assert host.told == ["disable", "show"]
    assert json.loads(host.order("fence").stdout)["changed"] is False


def test_one_that_started_again_behind_the_record_is_stopped_again(host):
    assert host.order("fence").returncode == 0
    (host.states / "second.service.active").touch()
    done = host.order("fence", ticket=2)
    assert json.loads(done.stdout)["report"]["services"]["second"]["active"] == "inactive"
    assert not (host.states / "second.service.active").exists()


def test_a_unit_that_is_not_there_is_refused_and_the_record_stands(host):
    (host.states / "second.service").unlink()
    done = host.order("fence")
    assert done.returncode == 1
    assert "unit second.service does not exist on this host" in done.stderr
    assert host.fenced


@pytest.mark.parametrize("verb", ["disable", "stop", "show"])
def test_a_host_that_refuses_is_no_fenced_host(host, verb):
    (host.states / f"refuses-{verb}").touch()
    done = host.order("fence")
    assert done.returncode == 1
    assert "ended with 4: Access denied" in done.stderr


def test_lifting_enables_all_at_once_and_a_second_time_changes_nothing(host):
    assert host.order("fence").returncode == 0
    assert json.loads(host.order("unfence", ticket=2).stdout)["changed"] is True
    assert all((host.states / f"{unit}.service.enabled").exists() for unit in host.units)
    assert host.told[-1] == "enable"
    assert json.loads(host.order("unfence", ticket=2).stdout)["changed"] is False
    assert not host.fenced


def test_a_mask_is_lifted_with_the_fence(host):
    assert host.order("fence").returncode == 0
    mask = host.prefix / "etc/systemd/system/second.service"
    mask.unlink()
    mask.symlink_to("/dev/null")
    assert json.loads(host.order("unfence", ticket=2).stdout)["changed"] is True
    assert host.told[-1] == "enable"
    assert not mask.is_symlink()
    assert (host.prefix / "etc/systemd/system/first.service").exists()
