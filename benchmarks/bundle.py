"""How long an auditor waits: one bundle verified by the stand-alone verifier, start-up included."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.row import median_seconds, row
from orchestrator.evidence.export import export_bundle
from orchestrator.evidence.stand_alone import stand_alone_verifier
from tests.fakes.staged_run import StagedRun, make_keys, trust_policy

GOAL_SECONDS = 0.5
ROUNDS = 9


def rows() -> list[dict[str, Any]]:
    """A run of two systems and 19 steps, one of them rolled back; median wall time."""
    with tempfile.TemporaryDirectory(prefix="skerry-bench-bundle-") as name:
        folder = Path(name)
        (folder / "keys").mkdir()
        keys = make_keys(folder / "keys")
        staged = StagedRun(folder / "ledger", keys).go()
        policy = trust_policy(folder / "ledger", keys, rules={"approval": {"roles": ["system-owner"]}})
        (folder / "policy.json").write_bytes(policy)
        export_bundle(folder / "ledger", staged.run, folder / "bundle", policy=policy)
        verifier = folder / "skerry-verify.pyz"
        verifier.write_bytes(stand_alone_verifier())
        words = [sys.executable, str(verifier), str(folder / "bundle"), "--policy", str(folder / "policy.json")]
        ours = median_seconds(words, rounds=ROUNDS)
        bare = median_seconds([sys.executable, "-c", "import cryptography.x509"], rounds=ROUNDS)
    return [
        row(
            "verify a bundle, start-up included",
            ours=ours,
            peer=bare,
            peer_name="python importing cryptography",
            unit="s",
            goal=f"< {GOAL_SECONDS} s",
            met=ours < GOAL_SECONDS,
            command="make bench BENCH=bundle",
        )
    ]
