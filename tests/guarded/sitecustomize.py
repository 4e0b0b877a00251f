"""Python runs this before any program that a test starts, so that the guard of the tests' network holds there too."""

import importlib.util
from pathlib import Path

GUARD = importlib.util.spec_from_file_location("network_guard", Path(__file__).parent.parent / "network_guard.py")
assert GUARD is not None
assert GUARD.loader is not None
guard = importlib.util.module_from_spec(GUARD)
GUARD.loader.exec_module(guard)
guard.watch_this_process()
