"""Guards of starts: playbooks/files/fence.py as hosts get it, on real files, and the fake of it, by the same laws.

What a unit's guard says is asked of the line that the drop-in has, as systemd would run it.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.drivers import SOURCE, FakeWorld
from tests.fakes.playbooks import PlayFails
from tests.laws.starts_laws import Refused, StartsLaws

PROGRAM = Path(__file__).resolve().parents[2] / "playbooks" / "files" / "fence.py"
SERVICES = PROGRAM.with_name("services.py")
UNITS = ("filing-app", "filing-db")
DATA = "/var/lib/postgresql/filing"
# Units that are there, enabled and stopped; what is started is written down.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$0.log"
verb=$1; shift
[ "$verb" = start ] && [ -x "$0.while-starting" ] && "$0.while-starting"
[ "$verb" = reset-failed ] && { echo "Unit is not loaded."; exit 1; }
for unit in "$@"; do
    case "$verb $unit" in
        show*.service) echo LoadState=loaded; echo ActiveState=failed; echo UnitFileState=enabled ;;
    esac
done
exit 0
"""


class RealHost:
    """A prefix on this machine. Its boots end when its /run is emptied, as a real host's is."""

    def __init__(self, folder: Path) -> None:
        self.prefix, self.programs = folder / "host", folder / "bin"
        self.programs.mkdir()
        (self.programs / "systemctl").write_text(SYSTEMCTL)
        (self.programs / "systemctl").chmod(0o755)
        (self.prefix / DATA[1:]).mkdir(parents=True)

    def order(self, do: str, ticket: int = 0, boot: str = "", program: Path = PROGRAM) -> dict[str, Any]:
        services = [{"name": UNITS[0], "port": 1, "address": "127.0.0.1"}]
        asked = {"do": do, "prefix": str(self.prefix), "system": "filing", "number": 1, "ticket": ticket, "boot": boot}
        databases = [{"name": UNITS[1], "data_directory": DATA}]
        asked |= {"side": "source", "at": "", "services": services, "databases": databases}
        if program is SERVICES:
            asked["services"] = []
        environment = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"}
        words = [sys.executable, "-I", "-S", str(program), json.dumps(asked)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(done.stderr)
        report: dict[str, Any] = json.loads(done.stdout)["report"]
        return report

    def look(self) -> dict[str, Any]:
        return self.order("look")

    def guard(self, boot: str) -> None:
        self.order("guard", boot=boot)

    def permit(self, boot: str, ticket: int) -> dict[str, Any]:
        return self.order("permit", ticket, boot)

    def fence(self, ticket: int) -> None:
        self.order("fence", ticket)

    def unfence(self, ticket: int) -> None:
        self.order("unfence", ticket)

    def unguard(self) -> None:
        self.order("unguard")

    def recover(self, ticket: int) -> dict[str, Any]:
        return self.order("recover", ticket)

    def while_starting(self, line: str) -> None:
        """Have systemctl run a line of shell before it starts anything."""
        hook = self.programs / "systemctl.while-starting"
        hook.write_text(f"#!/bin/sh\n{line}\n")
        hook.chmod(0o755)

    def guards(self, unit: str) -> str:
        """What systemd would run before it starts the unit, as a line of shell."""
        folder = self.prefix / f"etc/systemd/system/{unit}.service.d"
        lines = [line for drop_in in sorted(folder.iterdir()) for line in drop_in.read_text().splitlines()]
        return " && ".join(line.removeprefix("ExecStartPre=") for line in lines if line.startswith("ExecStartPre="))

    def power_cycle(self) -> None:
        shutil.rmtree(self.prefix / "run", ignore_errors=True)

    def starts(self, unit: str) -> bool:
        folder = self.prefix / f"etc/systemd/system/{unit}.service.d"
        for drop_in in sorted(folder.iterdir()) if folder.is_dir() else []:
            for line in drop_in.read_text().splitlines():
                if line.startswith("ExecStartPre="):
                    words = shlex.split(line.removeprefix("ExecStartPre="))
                    if subprocess.run(words, capture_output=True, check=False).returncode:
                        return False
        return True

    @property
    def may_start(self) -> bool:
        """Both units: they are let, or kept, together."""
        [said] = {self.starts(unit) for unit in UNITS}
        return said

    def by_hand(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = ["/bin/sh", str(self.prefix / "opt/skerry/permit-starts"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    @property
    def log(self) -> list[str]:
        return (self.programs / "systemctl.log").read_text().splitlines()


class FakeHost:
    """The source of the fakes' world."""

    def __init__(self) -> None:
        self.world = FakeWorld()

    def order(self, do: str, ticket: int = 0, boot: str = "") -> dict[str, Any]:
        fence = {"number": 1, "side": "source", "at": "", "ticket": ticket}
        values = {"skerry_system": "filing", "skerry_fence": fence, "skerry_boots": {SOURCE.name: boot}}
        try:
            return self.world.playbooks.plays[do](SOURCE, {**values, "skerry_services": []})
        except PlayFails as error:
            raise Refused(str(error)) from error

    look, guard, permit = RealHost.look, RealHost.guard, RealHost.permit
    fence, unfence, unguard = RealHost.fence, RealHost.unfence, RealHost.unguard
    recover = RealHost.recover

    def power_cycle(self) -> None:
        self.world.reboot(SOURCE)

    @property
    def may_start(self) -> bool:
        return self.world.may_start(SOURCE.name)


class TestTheProgram(StartsLaws):
    @pytest.fixture
    def host(self, tmp_path):
        return RealHost(tmp_path)

    def test_a_permit_starts_what_would_have_started_with_the_host_databases_first(self, host):
        host.guard(host.look()["boot"])
        host.power_cycle()
        assert host.permit(host.look()["boot"], 5)["started"] == ["filing-db", "filing-app"]
        assert host.log[-1] == "start filing-db.service filing-app.service"

    def test_a_guard_starts_nothing_and_refuses_nothing_while_it_is_put(self, host):
        """The permit stands before the guard does."""
        host.guard(host.look()["boot"])
        assert not any(line.startswith("start") for line in host.log)
        assert host.log[-1] == "daemon-reload"
        logged = len(host.log)
        host.guard(host.look()["boot"])
        assert host.log[logged:] == [line for line in host.log[logged:] if line.startswith("show")]

    def test_a_standby_starts_in_any_boot(self, host):
        host.guard(host.look()["boot"])
        host.power_cycle()
        (host.prefix / DATA[1:] / "standby.signal").touch()
        assert (host.starts("filing-db"), host.starts("filing-app")) == (True, False)

    def test_a_permit_that_a_boot_left_behind_is_worth_nothing(self, host):
        """Where /run outlives a boot: the kernel has another name for the new one."""
        host.guard(host.look()["boot"])
        permit = host.prefix / "run/skerry/permits/filing"
        permit.write_text("0c6f4a1e-0000-4000-8000-000000000000 left over\n")
        assert not host.may_start
        assert not host.look()["permitted"]

    def test_what_starts_services_permits_them_where_they_are_guarded(self, host):
        host.order("start", 3, program=SERVICES)
        assert not (host.prefix / "run/skerry/permits").exists()
        host.guard(host.look()["boot"])
        host.power_cycle()
        host.order("start", 5, program=SERVICES)
        assert host.may_start

    def test_a_look_tells_by_which_number_the_side_was_let_serve_last(self, host):
        assert host.look()["let_by"] == 0
        host.fence(3)
        assert host.look()["let_by"] == 0
        host.unfence(7)
        assert host.look()["let_by"] == 1

    def test_a_unit_that_came_later_is_guarded_at_the_next_look(self, host):
        host.guard(host.look()["boot"])
        shutil.rmtree(host.prefix / "etc/systemd/system/filing-app.service.d")
        assert not host.look()["guarded"]

    def test_a_person_permits_on_the_host_and_says_why(self, host):
        host.guard(host.look()["boot"])
        host.power_cycle()
        done = host.by_hand("filing", "Ana Ruiz", "the line is cut; Ben at DR says nobody took over")
        assert done.returncode == 0, done.stderr
        assert host.may_start
        [line] = host.look()["by_hand"]
        assert line.endswith("Ana Ruiz: the line is cut; Ben at DR says nobody took over")
        host.power_cycle()
        assert not host.may_start

    @pytest.mark.parametrize("words", ["", "filing", "filing ana", "filing '' why", "filing ana ''"])
    def test_a_person_who_does_not_say_who_and_why_permits_nothing(self, host, words):
        host.guard(host.look()["boot"])
        host.power_cycle()
        assert host.by_hand(*shlex.split(words)).returncode == 2
        assert not host.may_start

    def test_a_person_permits_nothing_behind_a_fence_nor_of_a_system_that_is_not_there(self, host):
        host.guard(host.look()["boot"])
        host.fence(3)
        done = host.by_hand("filing", "ana", "why")
        assert (done.returncode, "fenced" in done.stderr) == (1, True)
        assert host.by_hand("archive", "ana", "why").returncode == 1
        assert host.look()["by_hand"] == []

    @pytest.mark.parametrize("guarded", [True, False])
    def test_a_held_back_database_starts_behind_its_fence_while_it_is_recovered_and_no_service_does(
        self, host, tmp_path, guarded
    ):
        if guarded:
            host.guard(host.look()["boot"])
        host.fence(3)
        host.power_cycle()
        told = tmp_path / "told"
        tries = [f"({host.guards(unit)}) && echo {unit} >> {told}" for unit in UNITS]
        host.while_starting("\n".join(tries))
        assert host.recover(5)["started"] == ["filing-db"]
        assert told.read_text().split() == ["filing-db"]
        assert host.log[-1] == "start filing-db.service"
        assert not any(host.starts(unit) for unit in UNITS), "once it runs nobody else starts it"

    def test_what_a_recovery_left_behind_that_was_killed_opens_nothing(self, host):
        host.guard(host.look()["boot"])
        host.fence(3)
        host.power_cycle()
        host.while_starting("kill -9 $(ps -o ppid= -p $PPID)")
        with pytest.raises(Refused):
            host.recover(5)
        assert list((host.prefix / "run/skerry/permits").iterdir()) != []
        assert not any(host.starts(unit) for unit in UNITS)


class TestTheFake(StartsLaws):
    @pytest.fixture
    def host(self):
        return FakeHost()
