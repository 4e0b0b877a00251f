"""`skerry --help` answers at once: whoever imports the command line pays for nothing that a command alone needs."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

# Measured in the lab's set-up: each costs 30 to 800 ms of a start.
LATE = [
    "ansible", "ansible_runner", "asyncio", "boto3", "botocore", "cryptography", "dbos", "flask", "jinja2", "moto",
    "psycopg", "pydantic", "requests", "rfc3161_client", "rich", "securesystemslib", "sqlalchemy", "tenacity", "yaml",
]  # fmt: skip


@pytest.mark.skipif(find_spec("orchestrator.cli") is None, reason="no command line in this tree")
@pytest.mark.parametrize("words", [[], ["--help"]], ids=["import", "help"])
def test_imports_nothing_that_a_command_alone_needs(words):
    program = (
        "import json, sys\n"
        "from orchestrator.cli.app import main\n"
        f"sys.argv = ['skerry', *{words!r}]\n"
        "try:\n"
        "    main() if sys.argv[1:] else None\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    loaded = {name.split(".")[0] for name in json.loads(answer.stdout.splitlines()[-1])}
    assert not loaded & set(LATE)
