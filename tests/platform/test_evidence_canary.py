"""Canaries on a real host: plays and commands that print secrets leave none in what skerry keeps, says and runs."""

import base64
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import quote

import pytest

from orchestrator.contracts.playbooks import PlaybookEvent
from orchestrator.evidence.export import export_bundle
from orchestrator.evidence.recorder import open_recorder
from orchestrator.evidence.scrubber import REMOVED
from orchestrator.foundation.clock import SystemClock
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.hosts.ansible.playbooks import AnsiblePlaybooks
from orchestrator.hosts.ssh import open_transports
from orchestrator.model.event import RunEvent
from tests.fakes.staged_run import ORIGIN, make_keys, trust_policy
from tests.platform.local_sshd import LocalSshd

pytestmark = pytest.mark.platform("ssh")

RESOLVED = 'c4nary/"quoted" $HOME\\päss+word=='  # what a reference resolved to: registered with the recorder
HIDDEN = "c4nary-of-a-no-log-task-9315"  # nobody registered it: no_log alone keeps it out
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Print it
      ansible.builtin.debug: {msg: "login as app with {{ password }} at https://app:{{ password | urlencode }}@db/"}
    - name: Encode it
      ansible.builtin.debug: {msg: "Authorization: Basic {{ ('app:' + password) | b64encode }}"}
    - name: Use one that must not be told
      ansible.builtin.debug: {msg: "{{ hidden }}"}
      no_log: true
    - name: Set it on the host
      ansible.builtin.shell: 'printf "%s" "$PGPASSWORD" | tee /dev/stderr; exit 0'
      environment: {PGPASSWORD: "{{ password }}"}
    - name: Report it
      ansible.builtin.set_stats:
        per_host: true
        data: {skerry_result: {url: "postgres://app:{{ password }}@db"}}
    - name: Fail with one that must not be told
      ansible.builtin.fail: {msg: "{{ hidden }}"}
      no_log: true
      ignore_errors: true
    - name: Fail with it
      ansible.builtin.fail: {msg: "the service refuses {{ password }}"}
"""


def forms(secret: str) -> list[bytes]:
    raw = secret.encode()
    quoted = [quote(secret, safe=""), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], raw.hex()]
    coded = [base64.b64encode(raw)[:-4], base64.b64encode(b"app:" + raw)[8:-4]]
    return [raw, *(text.encode() for text in quoted), *coded]


SECRETS = [*forms(RESOLVED), *forms(HIDDEN)]


class Sampling:
    """Arguments and environment of every process that descends from this one, looked at again and again."""

    def __init__(self) -> None:
        self.seen: dict[bytes, set[str]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(0.01):
            for process in descendants(os.getpid()):
                for name in ("cmdline", "environ"):
                    try:
                        self.seen.setdefault(Path(f"/proc/{process}/{name}").read_bytes(), set()).add(name)
                    except OSError:
                        continue  # it ended meanwhile


def descendants(process: int) -> list[int]:
    found, waiting = [], [process]
    while waiting:
        parent = waiting.pop()
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
        except OSError:
            continue
        found += children
        waiting += children
    return found


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[LocalSshd]:
    server = LocalSshd(tmp_path / "sshd")
    server.start()
    yield server
    server.stop()


def test_a_real_play_and_real_commands_leave_no_secret_behind(sshd: LocalSshd, tmp_path: Path) -> None:
    home, books = tmp_path / "home", tmp_path / "books"
    books.mkdir()
    (tmp_path / "keys").mkdir()
    keys = make_keys(tmp_path / "keys")
    (books / "canary.yml").write_text(PLAY)
    ledger = home / "ledger"
    recorder = open_recorder(ledger, origin=ORIGIN, source="urn:test", clock=SystemClock(), ballast_bytes=4096)
    recorder.register_secret(RESOLVED)

    def tell(kind: str, data: dict[str, object]) -> None:
        at = "2026-11-21T22:18:00.000Z"
        recorder.record(RunEvent(type=kind, run="r", system="filing", step="drain", attempt=1, at=at, data=data))

    def on_event(event: PlaybookEvent) -> None:
        told.append(event)
        tell("ansible.event", {"playbook": "canary", **event.model_dump(mode="json", exclude_defaults=True)})

    told: list[PlaybookEvent] = []
    with Sampling() as sampling, open_transports(sshd.ssh_config, home / "run") as transports:
        playbooks = AnsiblePlaybooks(transports, books, home / "run" / "plays")
        variables = {"password": RESOLVED, "hidden": HIDDEN, "skerry_system": "filing", "skerry_side": "source"}
        result = playbooks.run("canary", hosts=[sshd.host], variables=variables, timeout_seconds=60, on_event=on_event)
        tell("playbook.finished", result.model_dump(mode="json"))
        with pytest.raises(OrchestratorError) as caught:  # a program that prints its password when it fails
            transports(sshd.host).run(["sh", "-c", "cat >&2; exit 3"], stdin=RESOLVED.encode())
        tell("step.finished", {"mode": "do", "status": "failed", "message": caught.value.message})
        recorder.keep(caught.value.message.encode() * 100, "text/plain")
    recorder.close()
    assert result.status == "failed", result.failures
    assert any(RESOLVED in event.message for event in told), "the canary sang, and the recorder heard it"
    export_bundle_of(ledger, keys, tmp_path / "bundle")

    leaks = [(event.task, event.event) for event in told if HIDDEN in event.model_dump_json()]
    assert leaks == [], "no_log is honoured before the recorder"
    searched = [path for folder in (home, tmp_path / "bundle") for path in folder.rglob("*") if path.is_file()]
    assert len(searched) > 20
    assert [str(path) for path in searched if any(form in path.read_bytes() for form in SECRETS)] == []
    assert any(REMOVED.encode() in path.read_bytes() for path in searched)
    assert not [form for form in SECRETS if form in sshd.log.read_bytes()]
    assert sum("cmdline" in kinds for kinds in sampling.seen.values()) > 3, "processes were seen while they ran"
    ours = [seen for seen in sampling.seen if b"PGPASSWORD" not in seen]  # what the play asked for on the host itself
    assert [seen[:200] for seen in ours if any(form in seen for form in SECRETS)] == []


def export_bundle_of(ledger: Path, keys: Path, out: Path) -> None:
    """The run with a beginning and an end round what was told."""
    recorder = open_recorder(ledger, origin=ORIGIN, source="urn:test", clock=SystemClock(), ballast_bytes=4096)
    recorder.register_secret(RESOLVED)
    end = {"result": "failed", "systems": {}, "reason": RESOLVED}
    recorder.record(RunEvent(type="run.finished", run="r", at="2026-11-21T22:19:00.000Z", data=end))
    recorder.close()
    export_bundle(ledger, "r", out, policy=trust_policy(ledger, keys))
