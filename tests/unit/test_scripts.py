"""The scripts that stand between a fresh machine and skerry."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    merged = {**os.environ, **environment}
    return subprocess.run(words, cwd=ROOT, env=merged, capture_output=True, text=True, check=False)


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


class TestFindPython:
    def test_takes_the_one_that_was_named(self):
        found = run("scripts/find_python", PYTHON=sys.executable)
        assert found.stdout.strip() == sys.executable

    def test_passes_over_a_shim_that_leads_nowhere(self, tmp_path):
        """Version managers put names on PATH for Pythons that are not there."""
        shim = program(tmp_path, "python3.11", "#!/bin/sh\necho 'python3.11: command not found' >&2\nexit 127\n")
        found = run("scripts/find_python", PYTHON=str(shim), PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert found.returncode == 0
        assert Path(found.stdout.strip()) != shim
        version = run(found.stdout.strip(), "-c", "import sys; print(sys.version_info >= (3, 11))")
        assert version.stdout.strip() == "True"

    def test_passes_over_one_that_is_too_old(self, tmp_path):
        old = program(tmp_path, "old", "#!/bin/sh\nexit 1\n")
        assert run("scripts/find_python", PYTHON=str(old)).stdout.strip() != str(old)


class TestSystemPackages:
    def test_says_nothing_where_everything_is_there(self):
        answer = run("scripts/system_packages", "test", "--check")
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")

    def test_refuses_words_that_it_does_not_know(self):
        answer = run("scripts/system_packages", "everything")
        assert answer.returncode == 2
        assert "usage" in answer.stderr

    def test_names_what_is_missing_and_the_command_to_run(self, tmp_path):
        """A copy of the script asks for a program that no machine has; with --check nothing is installed."""
        script = (ROOT / "scripts/system_packages").read_text().replace("rsync rsync", "rsync-of-tomorrow rsync-new")
        program(tmp_path, "find_python", (ROOT / "scripts/find_python").read_text())
        copy = program(tmp_path, "system_packages", script)
        answer = run(str(copy), "tour", "--check")
        assert answer.returncode == 81
        assert "Missing on this machine: rsync-new" in answer.stderr
        assert "apt-get install --yes --no-install-recommends rsync-new" in answer.stderr


class TestMake:
    @pytest.mark.parametrize("target", ["tour", "test", "check", "bench", "lock"])
    def test_help_names_the_target(self, target):
        assert f"make {target} " in run("make", "help").stdout

    def test_installs_again_only_when_a_lock_has_changed(self, tmp_path):
        for name in ("Makefile", "pyproject.toml", "requirements/tour.lock", "requirements/dev.lock"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
        stamps = tmp_path / ".venv/stamps"
        stamps.mkdir(parents=True)
        for name in ("venv", "tour", "dev"):
            (stamps / name).touch()
        again = run("make", "--dry-run", "-C", str(tmp_path), "test")
        assert "requirements/" not in again.stdout
        later = (stamps / "dev").stat().st_mtime + 10
        os.utime(tmp_path / "requirements/dev.lock", (later, later))
        changed = run("make", "--dry-run", "-C", str(tmp_path), "test")
        assert "requirements/dev.lock" in changed.stdout
        assert "requirements/tour.lock" not in changed.stdout


def test_the_wheel_ships_what_operators_run(tmp_path):
    """Playbooks, runbooks and inventories lie beside the package in a checkout, and within it in a wheel."""
    as_locked = ["--quiet", "--no-build-isolation", "--no-deps"]
    built = run(sys.executable, "-m", "pip", "wheel", *as_locked, "--wheel-dir", str(tmp_path), ".")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    listing = zipfile.ZipFile(wheel).namelist()
    for folder in ("playbooks", "runbooks", "inventories"):
        for path in (ROOT / folder).rglob("*.yml"):
            assert f"orchestrator/shipped/{path.relative_to(ROOT)}" in listing
    assert not [name for name in listing if name.startswith(("tests/", "benchmarks/"))]
