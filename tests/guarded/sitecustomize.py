"""Python runs this before any program that a test starts, so that the guard of the tests' network holds there too."""

import importlib.util
import sys
from pathlib import Path

# By the name under which tests know it: there is one of its error, also in processes that run tests beside each other.
NAME = "tests.network_guard"
GUARD = importlib.util.spec_from_file_location(NAME, Path(__file__).parent.parent / "network_guard.py")
assert GUARD is not None
assert GUARD.loader is not None
guard = importlib.util.module_from_spec(GUARD)
sys.modules[NAME] = guard
GUARD.loader.exec_module(guard)
guard.watch_this_process()
