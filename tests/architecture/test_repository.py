"""What the repository may not hold: traces of one machine, hosts of package indexes, values of secrets."""

import re
import tomllib

from packaging.requirements import Requirement

from tests.architecture.source_tree import ROOT, tracked_files

# Written in pieces, so that this file does not hold what it looks for.
INDEX_HOSTS = ["py" + "pi.org", "python" + "hosted.org", "deb.deb" + "ian.org", "security.deb" + "ian.org"]
MACHINE_PATHS = ["/wo" + "rk/", "/root/.py" + "env", "/home/" + "user/", "/fa" + "rm/"]
PRIVATE_KEY = re.compile(r"-----BEGIN (?:OPENSSH |RSA |EC )?PRIVATE KEY-----\n[A-Za-z0-9+/=]{20}")
AWS_KEY = re.compile(r"\bAKIA(?!IOSFODNN7EXAMPLE)[A-Z0-9]{16}\b")


def texts():
    for name in tracked_files():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            yield name, content.decode("utf-8", errors="replace")


def test_names_no_index_host():
    wrong = [(name, host) for name, text in texts() for host in INDEX_HOSTS if host in text]
    assert not wrong, "an operator's own pip and apt settings say where packages come from"


def test_names_no_path_of_one_machine():
    wrong = [(name, path) for name, text in texts() for path in MACHINE_PATHS if path in text]
    assert not wrong


def test_holds_no_private_key_and_no_cloud_key():
    wrong = [name for name, text in texts() if PRIVATE_KEY.search(text) or AWS_KEY.search(text)]
    assert not wrong


def test_every_locked_package_is_hashed():
    locks = [name for name in tracked_files() if name.startswith("requirements/") and name.endswith(".lock")]
    assert sorted(locks) == [f"requirements/{lock}.lock" for lock in ("dev", "fuzz", "runtime", "tour")]
    for name in locks:
        for entry in re.split(r"\n(?=\w)", (ROOT / name).read_text()):
            if not entry.startswith("#"):
                assert re.match(r"[\w.-]+==[\w.+!]+", entry), entry
                assert "--hash=sha256:" in entry, entry


def test_locks_agree_with_each_other():
    """The tests run on the versions that operators get."""
    pins = {
        lock: dict(re.findall(r"^([\w.-]+)==([^ ]+)", (ROOT / f"requirements/{lock}.lock").read_text(), re.MULTILINE))
        for lock in ("runtime", "tour", "dev")
    }
    assert pins["runtime"].items() <= pins["tour"].items() <= pins["dev"].items()


def test_locks_hold_what_the_project_asks_for():
    """A range that was changed without `make lock` shows here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for lock, asked in {
        "runtime": project["dependencies"],
        "tour": [*project["dependencies"], *extras["lab"], *extras["build"]],
        "dev": [*project["dependencies"], *extras["lab"], *extras["build"], *extras["dev"]],
    }.items():
        text = (ROOT / f"requirements/{lock}.lock").read_text()
        pins = dict(re.findall(r"^([\w.-]+)==([^ ]+)", text, re.MULTILINE))
        wrong = [one for one in map(Requirement, asked) if not one.specifier.contains(pins.get(one.name.lower(), "0"))]
        assert not wrong, f"run make lock: {lock} does not satisfy {wrong}"
