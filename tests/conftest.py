"""What all tests share: platform tests that a machine cannot run are skipped, counted, and named at the end."""

import os
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import network_guard

network_guard.begin()

# A slow machine is no finding; how to see a finding again is printed. `make test` draws the same examples each time, so
# that it says the same of the same code; `make test-long` draws new ones.
LONG_RUN = os.environ.get("SKERRY_LONG") == "1"
hypothesis.settings.register_profile("skerry", deadline=None, print_blob=True, derandomize=not LONG_RUN)
hypothesis.settings.load_profile("skerry")

# Tests beside each other are told of a terminal that is not theirs; what a command prints must not depend on it.
os.environ.pop("COLUMNS", None)

# A shell that starts the tests in the background has interrupts ignored; every program under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def program(*names: str) -> str | None:
    """Why these programs cannot be used, or None."""
    missing = [name for name in names if not shutil.which(name, path=SYSTEM_PATH)]
    return f"not installed: {', '.join(missing)}" if missing else None


def root() -> str | None:
    return None if os.geteuid() == 0 else "needs root"


def namespaces() -> str | None:
    words = ["unshare", "-Urnmpf", "--mount-proc", "true"]
    if program("unshare", "ip") or subprocess.run(words, capture_output=True, check=False).returncode:
        return "this machine forbids user and network namespaces"
    return None


def postgresql() -> str | None:
    found = Path("/usr/lib/postgresql/15/bin/postgres").exists()
    return None if found else "not installed: PostgreSQL 15"


def kernel_knows(filesystem: str) -> str | None:
    """File systems that are modules show up only once loaded; loading needs root."""
    if os.geteuid() == 0 and shutil.which("modprobe"):
        subprocess.run(["modprobe", filesystem], capture_output=True, check=False)
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    return None if filesystem in known else f"this kernel has no {filesystem}"


def a_kernel() -> str | None:
    """Of a distribution, which machines of tests start with."""
    return (
        None
        if list(Path("/boot").glob("vmlinuz-*"))
        else "no kernel in /boot (apt-get install linux-image-cloud-amd64 brings one)"
    )


# name in @pytest.mark.platform(name): why it cannot run here, or None
PLATFORMS: dict[str, Callable[[], str | None]] = {
    "root": root,
    "ssh": lambda: program("ssh", "sshd", "ssh-keygen"),
    "rsync": lambda: program("rsync"),
    "namespaces": namespaces,
    "hosts": lambda: program("ssh", "sshd", "ip", "unshare"),
    "postgresql": postgresql,
    "btrfs": lambda: root() or program("mkfs.btrfs") or kernel_knows("btrfs"),
    "machines": lambda: root() or program("qemu-system-x86_64", "busybox", "debugfs") or a_kernel(),
    "qemu": lambda: program("qemu-storage-daemon", "qemu-img", "qemu-io"),
    "xfsprogs": lambda: program("mkfs.xfs", "xfs_db"),
    "xfs": lambda: root() or program("mkfs.xfs") or kernel_knows("xfs"),
    "zfs": lambda: root() or program("zfs") or kernel_knows("zfs"),
    "nft": lambda: program("nft"),
    "tc": lambda: program("tc"),
    "systemd": lambda: program("systemd-analyze"),
    "gcc": lambda: program("gcc"),
    "openssl": lambda: program("openssl"),
    "spin": lambda: program("spin", "gcc"),
    "chromium": lambda: program("chromium"),
    "restic": lambda: program("restic"),
    "haproxy": lambda: program("haproxy"),
    "awscli": lambda: program("aws"),
}


# Whole files that `make test` leaves to `make test-long` (SKERRY_LONG=1), so that it ends within a quarter of an hour.
# A file that is named on the command line always runs.
LONG = {
    "tests/crash/test_engine_matrix.py",
    "tests/crash/test_engine_takeover.py",
    "tests/crash/test_engine_versions.py",
    "tests/crash/test_real_matrix.py",
    "tests/crash/test_state_at_dr.py",
    "tests/crash/test_worker_commands.py",
    "tests/crash/test_workers_on_hosts.py",
    "tests/platform/test_aws_cli.py",
    "tests/platform/test_aws_console.py",
    "tests/platform/test_aws_images.py",
    "tests/platform/test_aws_isolation.py",
    "tests/platform/test_aws_kills.py",
    "tests/platform/test_aws_things.py",
    "tests/platform/test_aws_trouble.py",
    "tests/platform/test_bubble_machines.py",
    "tests/platform/test_bubbles.py",
    "tests/platform/test_haproxy_front.py",
    "tests/platform/test_hosts_town.py",
    "tests/platform/test_lab_estate.py",
    "tests/platform/test_lab_rootless.py",
    "tests/platform/test_movers_bandwidth.py",
    "tests/platform/test_movers_btrfs.py",
    "tests/platform/test_movers_devices.py",
    "tests/platform/test_movers_dirty_bitmap.py",
    "tests/platform/test_movers_extents.py",
    "tests/platform/test_movers_incremental.py",
    "tests/platform/test_movers_kills.py",
    "tests/platform/test_movers_many_files.py",
    "tests/platform/test_movers_postgres.py",
    "tests/platform/test_movers_postgres_trouble.py",
    "tests/platform/test_movers_trouble.py",
    "tests/platform/test_movers_volume_trouble.py",
    "tests/platform/test_movers_volume_windows.py",
    "tests/platform/test_movers_volumes.py",
    "tests/platform/test_movers_zfs.py",
    "tests/platform/test_route53_routing.py",
    "tests/platform/test_s3_compatible.py",
    "tests/platform/test_s3_store.py",
    "tests/platform/test_snapshots.py",
    "tests/platform/test_strict_cloud.py",
    "tests/platform/test_strict_ebs.py",
    "tests/platform/test_strict_ec2.py",
    "tests/platform/test_strict_s3.py",
    "tests/scenarios/test_drill_of_a_service.py",
    "tests/scenarios/test_drills_at_cloud.py",
    "tests/scenarios/test_drills_on_hosts.py",
    "tests/platform/test_strict_s3_wholes.py",
    "tests/scenarios/test_machine_from_base_image.py",
    "tests/scenarios/test_move_behind_a_proxy.py",
    "tests/scenarios/test_seeded_machine.py",
    "tests/scenarios/test_volume_system.py",
    "tests/scenarios/test_way_back.py",
    "tests/scenarios/test_replication.py",
    "tests/scenarios/test_switch_on_hosts.py",
    "tests/scenarios/test_wave.py",
    "tests/platform/test_vault.py",
}
LEFT_OUT: dict[str, int] = defaultdict(int)


@cache
def why_not(name: str) -> str | None:
    return PLATFORMS[name]() if name in PLATFORMS else f"unknown to tests/conftest.py: add {name!r} to PLATFORMS"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unknown = sorted(
        f"{item.nodeid}: platform({name!r})"
        for item in items
        for mark in item.iter_markers("platform")
        for name in mark.args
        if name not in PLATFORMS
    )
    if unknown:
        raise pytest.UsageError("platforms that tests/conftest.py does not know:\n" + "\n".join(unknown))
    named = any(part.endswith(".py") or "::" in part for part in config.args)
    if not LONG_RUN and not named:
        left_out = [item for item in items if item.path.relative_to(config.rootpath).as_posix() in LONG]
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)
        for item in left_out:
            LEFT_OUT[item.path.relative_to(config.rootpath).as_posix()] += 1


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("platform"):
        for name in mark.args:
            reason = why_not(name)
            if reason:
                pytest.skip(f"platform {name}: {reason}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many files of tests run beside each other. Without namespaces all labs stand on the same loopback addresses,
    one after another; more than four would want more memory than a small machine has.
    """
    return 1 if namespaces() else min(4, len(os.sched_getaffinity(0)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells the process that prints what it left out; each worker collects everything."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(LEFT_OUT)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    LEFT_OUT.update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run, so that a green line means what it seems to mean."""
    not_run: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        not_run[reason.removeprefix("Skipped: ")].append(report.nodeid)
    if LEFT_OUT:
        terminalreporter.section(f"long tests left to `make test-long`: {sum(LEFT_OUT.values())}", sep="-")
        for path, tests_count in sorted(LEFT_OUT.items()):
            terminalreporter.write_line(f"{path}: {tests_count}")
    count = sum(len(tests) for tests in not_run.values())
    terminalreporter.section(f"platform tests not run here: {count}", sep="-")
    for reason, tests in sorted(not_run.items()):
        terminalreporter.write_line(f"{reason}: {len(tests)}")
        for test in sorted(tests):
            terminalreporter.write_line(f"    {test}")
