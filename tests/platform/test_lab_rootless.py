"""The lab as an ordinary user has it: where the tests run as root, its own tests are run once more as such a user."""

import os
import pwd
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDINARY_USER = "skuser"
SYSTEM_PYTHON = "/usr/bin/python3"
TESTS = ["tests/platform/test_lab_town.py", "tests/platform/test_lab_faults.py", "tests/unit/test_lab_systemctl.py"]


def ordinary_user() -> pwd.struct_passwd:
    """The account; made where it is missing, as any administrator would make one."""
    try:
        return pwd.getpwnam(ORDINARY_USER)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", ORDINARY_USER], check=True)
        return pwd.getpwnam(ORDINARY_USER)


@pytest.mark.timeout(600)
@pytest.mark.platform("root", "hosts", "namespaces")
def test_the_lab_needs_no_privilege(tmp_path_factory: pytest.TempPathFactory) -> None:
    user = ordinary_user()
    packages = sysconfig.get_path("purelib")
    # The user may see neither this checkout nor our Python: both are bound where they can be, in a mount namespace of
    # their own, and the system's Python runs the tests where it is of our version.
    version = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=True
    )
    if version.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip(f"{SYSTEM_PYTHON} is another version of Python than this one, whose packages it would need")
    home = Path("/tmp") / f"rootless-{os.getpid()}"  # a place that every user may enter
    home.mkdir(mode=0o755)
    try:
        for name in ("checkout", "packages", "scratch"):
            (home / name).mkdir()
        os.chown(home / "scratch", user.pw_uid, user.pw_gid)
        script = (
            'set -e; home=$2; uid=$4; gid=$5; mount --bind "$1" "$home/checkout"; mount --bind "$3" "$home/packages";'
            ' cd "$home/checkout"; shift 5;'
            ' exec setpriv --reuid="$uid" --regid="$gid" --clear-groups env -i HOME="$home/scratch" USER=skuser'
            ' PATH=/usr/local/bin:/usr/bin:/bin TMPDIR="$home/scratch" LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1'
            ' PYTHONPATH="$home/checkout:$home/packages" "$@"'
        )
        words = ["unshare", "-m", "sh", "-c", script, "sh", str(ROOT), str(home), packages, str(user.pw_uid)]
        pytest_words = [SYSTEM_PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "120", *TESTS]
        done = subprocess.run(
            [*words, str(user.pw_gid), *pytest_words], capture_output=True, text=True, timeout=560, check=False
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "not run here: 0" in done.stdout, done.stdout[-2000:]
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)
