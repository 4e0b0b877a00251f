"""The verifier by itself: `python3 skerry-verify.pyz [PATH] [--policy FILE] [--json]`, and the making of that file.

It holds what verifying imports and nothing else of skerry. It needs Python 3.11 and `cryptography`; `rfc3161-client`
too where there are timestamps to judge.
"""

import argparse
import ast
import io
import sys
import time
import zipfile
from pathlib import Path

from orchestrator.evidence.bundle import is_bundle
from orchestrator.evidence.show import verify_and_show
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.foundation.printable import printable_lines

PACKAGE = "orchestrator"
_MAIN = "from orchestrator.evidence.stand_alone import main\n\nraise SystemExit(main())\n"
_MADE = (1980, 1, 1, 0, 0, 0)  # the same bytes from the same source
_SHEBANG = b"#!/usr/bin/env python3\n"


def main(words: list[str] | None = None) -> int:
    """Verify what the command line names; the exit code is the error's."""
    began = time.perf_counter()
    parser = argparse.ArgumentParser(
        prog="skerry-verify",
        description="Verify a bundle of evidence, or a ledger's whole log, offline.",
        epilog="Exit codes: 0 verified; 2 wrong use; 52 the log does not verify; 53 the policy is not satisfied.",
    )
    parser.add_argument("path", nargs="?", type=Path, default=Path(), help="a bundle's or a ledger's folder [.]")
    parser.add_argument("--policy", type=Path, help="the auditor's own trust policy")
    parser.add_argument("--held", type=Path, help="a listing of locked copies that you pulled (whole log only)")
    parser.add_argument("--without-reading-copies", action="store_true", help="a bundle's evidence alone")
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object")
    asked = parser.parse_args(words)
    try:
        verify_and_show(
            asked.path,
            asked.policy,
            bundle=is_bundle(asked.path),
            as_json=asked.as_json,
            began=began,
            say=_say,
            held_file=asked.held,
            judge_copies=not asked.without_reading_copies,
        )
    except OrchestratorError as error:
        hint = f"HINT: {printable_lines(error.hint)}\n" if error.hint else ""
        sys.stderr.write(f"skerry-verify: {printable_lines(error.message)}\n{hint}")
        return error.exit_code
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def modules_of_the_verifier() -> dict[str, Path]:
    """Module → file of all that verifying imports of skerry, packages on the way included."""
    root = Path(__file__).resolve().parents[1]
    found: dict[str, Path] = {}
    waiting = [f"{PACKAGE}.evidence.stand_alone"]
    while waiting:
        name = waiting.pop()
        path = root.joinpath(*name.split(".")[1:])
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in found or not path.exists():
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0]] if "." in name else []
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def stand_alone_verifier() -> bytes:
    """skerry-verify.pyz: the same bytes each time it is made from one source."""
    root = Path(__file__).resolve().parents[2]
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in modules_of_the_verifier().values()}
    files["__main__.py"] = _MAIN.encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _MADE), content, zipfile.ZIP_DEFLATED)
    return _SHEBANG + stream.getvalue()
