"""A wave on real hosts: refused before its gate opens, killed on the way, stopped by a member that fails, and finished.

*archive* fails its check at the cloud on purpose and goes home; the wave goes on without it, which is no pass.
"""

import signal
import time

import pytest

from tests.scenarios.commands import await_step, begin, refused
from tests.scenarios.test_trouble import ground, on_hosts

pytestmark = on_hosts
SOAK_SECONDS_MAX = 120.0

__all__ = ["ground"]


def test_a_wave_of_two_systems(ground):
    ground.survey()
    ground.good("lab", "traffic", "start")
    planned = ground.good("plan", "wave", "autumn", "--as", "ben", "--set", "watch=2s")
    assert planned["plan"]["terms"]["soak_seconds"] == 3.0
    ground.approve(planned["digest"])
    run = ("wave", "run", "autumn", "--as", "ben")
    by_ana = ("--as", "ana", "--key", str(ground.home / "lab" / "people" / "ana"))
    refused(ground.skerry(*run), 41, "ApprovalMissing", "gate G4 is closed: nobody said go as system-owner")
    refused(ground.skerry("wave", "commit", "autumn", "--as", "ben"), 40, "GateClosed", "is not begun")
    assert ground.runs() == []
    ground.good("wave", "gate", "autumn", "G0", "--go", *by_ana)
    ground.good("wave", "gate", "autumn", "G1", "--go", "--observe", "encrypted=true", *by_ana)
    refused(ground.skerry(*run), 41, "ApprovalMissing", "gate G4 is closed: nobody said go as system-owner")
    ground.good("wave", "gate", "autumn", "G4", "--go", "--observe", "checklist_done=true", *by_ana)

    first = begin(ground.home, *run, "--json")
    try:
        await_step(ground.home, "archive", "recovery_point")
    finally:
        first.process.send_signal(signal.SIGKILL)
        first.end()
    refused(ground.skerry(*run), 62, "RolledBack", "archive is rolled back")
    status = ground.good("wave", "status", "autumn")
    states = {member["system"]: member["state"] for member in status["members"]}
    assert (status["state"], states) == ("stopped", {"filing": "paused", "archive": "rolled_back"})
    assert len(status["runs"]) == 1

    ground.good("wave", "skip", "autumn", "archive", "--because", "its index is not ready", *by_ana)
    status = ground.good(*run)
    assert status["state"] in ("soaking", "soaked")
    filing = next(member for member in status["members"] if member["system"] == "filing")
    assert (filing["state"], filing["left"]["side"]) == ("paused", "cloud")
    await_soak(ground)
    again = ground.good(*run)  # what is done is left alone, and looked at
    assert (again["runs"], again["members"][0]["changed"]) == (status["runs"], "")

    commit = ("wave", "commit", "autumn", "--as", "ben")
    refused(ground.skerry(*commit), 41, "ApprovalMissing", "gate G7 is closed")
    ground.good("wave", "gate", "autumn", "G7", "--go", "--observe", "open_problems=0", *by_ana)
    ended = ground.good(*commit)
    assert ended["state"] == "passed_with_waivers"
    report = ground.good("lab", "traffic", "report")
    assert all(report[name]["acknowledged"] > 0 for name in ("filing", "archive"))
    assert {name: report[name]["lost"] for name in ("filing", "archive")} == {"filing": 0, "archive": 0}
    ground.good("lab", "traffic", "stop")
    assert ground.good("evidence", "verify")["verified"] is True


def await_soak(ground) -> None:
    deadline = time.monotonic() + SOAK_SECONDS_MAX
    while ground.good("wave", "status", "autumn")["state"] != "soaked":
        if time.monotonic() > deadline:
            pytest.fail("the soak did not end")
        time.sleep(1)
