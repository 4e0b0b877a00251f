"""A home with a lab in it, and the real command line, in processes of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.lab.demo import town_plan
from orchestrator.lab.town import Town, open_town

ROOT = Path(__file__).resolve().parents[2]
WORDS = "import sys; from orchestrator.cli.app import main; sys.exit(main())"
COMMAND_SECONDS_MAX = 600.0


@dataclass
class Office:
    """A home with a lab in it, and the command line."""

    home: Path
    town: Town

    def begin(self, *words: str, home: Path | None = None) -> "subprocess.Popen[str]":
        environment = {**os.environ, "SKERRY_HOME": str(home or self.home)}
        line = [sys.executable, "-c", WORDS, *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    def skerry(self, *words: str, code: int | None = 0, home: Path | None = None) -> dict[str, Any]:
        """What the command answers, or what it complains of where another code than 0 is expected."""
        process = self.begin(*words, "--json", home=home)
        out, err = process.communicate(timeout=COMMAND_SECONDS_MAX)
        assert code is None or process.returncode == code, (words, process.returncode, out[-3000:], err[-3000:])
        text = err.splitlines()[-1] if process.returncode else out if "\n{" not in out.strip() else out.splitlines()[-1]
        return {"exit_code": process.returncode, **json.loads(text)} if text.strip() else {}

    def key(self, person: str) -> list[str]:
        return ["--as", person, "--key", str(self.home / "lab" / "people" / person)]

    def switch(self, kind: str, *words: str, code: int = 0) -> dict[str, Any]:
        """Ask for a switch, have its plan approved, and let it run."""
        refused = self.skerry(kind, "filing", "--as", "ben", *words, code=41)
        digest = next(word for word in refused["message"].split() if word.startswith("sha256:"))
        self.skerry("approve", digest, *self.key("ana"))
        return self.skerry(kind, "filing", "--as", "ben", *words, code=code)

    def state(self, status: dict[str, Any]) -> str:
        return str(status["systems"][0]["state"])

    def await_filings(self, count: int = 5, *, site: str) -> None:
        """Clients are served, at that site."""
        began, until = time.time(), time.monotonic() + 120
        while True:
            told = town_plan.traffic_report(self.town, from_time=began)["filing"]
            if told["acknowledged"] >= count:
                assert set(told["by_site"]) == {site}, told["by_site"]
                return
            assert time.monotonic() < until, told
            time.sleep(0.3)

    def nothing_is_lost(self) -> None:
        told = town_plan.traffic_report(self.town)["filing"]
        assert (told["lost"], told["duplicates_differing"]) == (0, 0), told

    def is_active(self, host: str, unit: str) -> bool:
        return self.town.run_inside(host, ["systemctl", "is-active", unit], check=False).text == "active"


@contextmanager
def open_office(*, filings: int, documents: int) -> Iterator[Office]:
    """A lab with clients at work, for the length of the block; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="sk", ignore_cleanup_errors=True) as folder:
        here = Office(Path(folder), open_town(Path(folder) / "lab"))
        try:
            here.skerry("lab", "up", "--filings", str(filings), "--documents", str(documents))
            town_plan.traffic_start(here.town)
            yield here
        finally:
            here.skerry("lab", "down", "--purge", code=None)
