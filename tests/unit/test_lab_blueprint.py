"""Hosts, units, faults and kinds of labs: what may be asked for, and what is said when it may not."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.foundation.errors import LabError, UsageError
from orchestrator.lab import machine
from orchestrator.lab.blueprint import (
    LabHost,
    PlacedFile,
    Unit,
    address_in,
    host_as_json,
    host_from_json,
    placed,
)
from orchestrator.lab.faults import Fault, must_be_possible, parse_fault
from orchestrator.lab.traffic_shaping import limits_towards

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "site", "address", "says"),
    [
        ("Onprem", "onprem", "10.10.1.11", "'Onprem' is no name"),
        ("a" * 64, "onprem", "10.10.1.11", "63 at most"),
        ("a--b", "onprem", "10.10.1.11", "single dashes"),
        ("a", "moon", "10.10.1.11", "no site 'moon' in the lab; there are onprem, dr"),
        ("a", "onprem", "10.20.1.11", r"10\.20\.1\.11 is not in site onprem, 10\.10\.0\.0/16"),
        ("a", "onprem", "192.168.1.1", "must be 10"),
        ("a", "onprem", "10.10.1.256", "no address of the lab"),
        ("a", "onprem", "10.10.0.1", "taken by the site's router"),
    ],
)
def test_a_host_that_cannot_be_is_refused(name, site, address, says):
    with pytest.raises(LabError, match=says):
        LabHost(name, site, address)


def test_a_host_survives_the_way_to_the_daemon():
    unit = Unit("app", "[Service]\n", {"/opt/app": PlacedFile(b"\x00\xff", 0o755)}, enabled=True)
    host = LabHost("a" * 63, "clients", "10.99.1.1", services=(unit,))
    assert host_from_json(host_as_json(host)) == host


def test_programs_may_be_executed_and_other_files_not():
    assert placed(b"#!/bin/sh\n").mode == 0o755
    assert placed(b"text").mode == 0o644


def test_addresses_map_one_to_one_on_loopback():
    assert address_in("loopback", "10.30.7.9") == "127.30.7.9"
    assert address_in("namespaces", "10.30.7.9") == "10.30.7.9"


def test_faults_are_named_in_words():
    assert parse_fault(["loss", "onprem", "dr", "20"]) == Fault("loss", ("dr", "onprem"), 20.0)
    assert parse_fault(["partition", "dr", "onprem"]).name == parse_fault(["partition", "onprem", "dr"]).name
    assert parse_fault(["disk-full", "dr-a", "/srv"]).amount == 0
    fault = parse_fault(["latency", "dr", "25"])
    assert Fault.from_json(fault.as_json()) == fault


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a fault: partition, loss"),
        (["storm"], "name a fault"),
        (["partition", "onprem"], "partition needs SITE SITE"),
        (["partition", "onprem", "onprem"], "two different sites"),
        (["partition", "onprem", "moon"], "no site 'moon'"),
        (["partition", "onprem", "dr", "3"], "takes no '3'"),
        (["loss", "onprem", "dr"], "an amount above 0, in permille"),
        (["rate", "onprem", "dr", "fast"], "'fast' is no number"),
        (["rate", "onprem", "dr", "-1"], "above 0"),
        (["read-only", "dr-a", "srv"], "absolute path"),
    ],
)
def test_wrong_words_say_what_is_needed(words, says):
    with pytest.raises(UsageError, match=says):
        parse_fault(words)


def test_a_loopback_lab_knows_what_it_cannot_have():
    must_be_possible(parse_fault(["freeze", "dr-a"]), "loopback")
    must_be_possible(parse_fault(["loss", "onprem", "dr", "20"]), "namespaces")
    with pytest.raises(LabError, match="cannot have 'loss'"):
        must_be_possible(parse_fault(["loss", "onprem", "dr", "20"]), "loopback")


def test_the_lowest_rate_towards_a_site_holds():
    rates = {("dr", "onprem"): 50.0, ("onprem",): 20.0, ("cloud",): 80.0}
    assert limits_towards("dr", rates) == {"10.10.0.0/16": 20.0, "10.30.0.0/16": 80.0}
    assert limits_towards("onprem", rates) == {"10.20.0.0/16": 50.0, "0.0.0.0/0": 20.0, "10.30.0.0/16": 80.0}
    assert limits_towards("clients", {("dr", "onprem"): 50.0}) == {}


def test_the_environment_can_name_the_kind(monkeypatch):
    monkeypatch.setenv("SKERRY_LAB", "loopback")
    assert machine.choose_kind("auto") == ("loopback", "SKERRY_LAB=loopback")
    assert machine.choose_kind("namespaces")[0] == "namespaces"
    monkeypatch.setenv("SKERRY_LAB", "clouds")
    with pytest.raises(UsageError, match="must be namespaces, loopback or auto, not 'clouds'"):
        machine.choose_kind("auto")


def test_a_missing_program_is_told_with_the_command_that_brings_it():
    error = machine.missing_packages({"sshd": "openssh-server", "ip": "iproute2"})
    assert "not on this machine: ip, sshd" in error.message
    assert error.hint.endswith("apt-get install -y --no-install-recommends iproute2 openssh-server")
    assert error.exit_code == 81


def test_a_process_is_not_mistaken_for_a_later_one_with_its_number():
    with subprocess.Popen(["sleep", "600"]) as running:
        process = machine.Process.of(running.pid)
        other = machine.Process(process.pid, process.started_ticks + 1)
        other.signal(9)
        assert process.lives()
        assert not other.lives()
        process.signal(9)
        assert running.wait() == -9
    assert not process.lives()
    process.signal(9)


def test_the_daemon_needs_nothing_but_the_standard_library():
    program = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "import orchestrator.lab.daemon\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('pydantic', 'yaml', 'click', 'rich')])"
    )
    words = [machine.SYSTEM_PYTHON, "-S", "-E", "-B", "-c", program, str(ROOT)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.platform("namespaces")
def test_a_machine_without_sshd_is_told_so():
    """In a mount namespace of its own, where sshd is covered by something that cannot be executed."""
    program = (
        "from orchestrator.lab import machine\n"
        "from orchestrator.foundation.errors import MissingPackage\n"
        "try: machine.check_programs('namespaces')\n"
        "except MissingPackage as error: print(error.message, '|', error.hint)\n"
    )
    sshd = machine.program("sshd")
    hide = f'mount --bind /dev/null "{sshd}" && exec "$@"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", hide, "sh", sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == (
        "not on this machine: sshd | apt-get install -y --no-install-recommends openssh-server"
    )
