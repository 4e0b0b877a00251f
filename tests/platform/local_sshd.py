"""A real sshd on loopback for one test: own host key, own user CA, own log; ends with the test."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model.host import Host


def keygen(*words: str) -> None:
    subprocess.run(["ssh-keygen", "-q", *words], check=True, capture_output=True)


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class LocalSshd:
    """`start` it, give `host` and `ssh_config` to the code under test, `stop` it."""

    folder: Path
    address: str = "127.0.0.1"
    port: int = 0
    extra: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> Host:
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        return Host(name="local-a", site="onprem", address=self.address, port=self.port, user=user)

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def user_ca(self) -> Path:
        return self.folder / "user_ca"

    @property
    def log(self) -> Path:
        return self.folder / "sshd.log"

    def known_line(self) -> str:
        key = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        return f"[{self.address}]:{self.port} {key}\n"

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port(self.address)
        for name in ("host_key", "user_ca", "id"):
            if not (self.folder / name).exists():
                keygen("-t", "ed25519", "-N", "", "-f", str(self.folder / name))
        keygen("-s", str(self.user_ca), "-I", "operator", "-n", self.host.user, str(self.folder / "id.pub"))
        (self.folder / "known_hosts").write_text(self.known_line())
        (self.folder / "sshd_config").write_text(
            f"ListenAddress {self.address}\nPort {self.port}\nHostKey {self.folder}/host_key\nPidFile none\nUsePAM no\n"
            f"TrustedUserCAKeys {self.user_ca}.pub\nAuthorizedKeysFile none\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nUseDNS no\nMaxStartups 200:30:400\nStrictModes no\n"
            f"PermitRootLogin prohibit-password\nLogLevel VERBOSE\n{self.extra}"
        )
        self.ssh_config.write_text(
            f"Host *\n  IdentityFile {self.folder}/id\n  IdentitiesOnly yes\n"
            f'  UserKnownHostsFile "{self.folder}/known_hosts"\n  GlobalKnownHostsFile /dev/null\n'
        )

    def start(self) -> None:
        self.prepare()
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or "/usr/sbin/sshd"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sshd, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((self.address, self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End the listener and every connection it took: what a host that lost power looks like, nearly."""
        if self.process is None:
            return
        # An ordinary user's sshd serves a connection by two processes, and the inner one outlives the outer.
        for child in sshd_below(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
        self.process.kill()
        self.process.wait()
        self.process = None


@contextmanager
def sshd_pair(folder: Path) -> Iterator[tuple[LocalSshd, LocalSshd]]:
    """Two of them at addresses of their own, under one user CA; the configuration of the first reaches both."""
    one, other = (LocalSshd(folder / name, address) for name, address in (("one", "127.0.0.1"), ("other", "127.0.0.2")))
    try:
        one.start()
        other.folder.mkdir()
        for name in ("user_ca", "user_ca.pub"):
            shutil.copy2(one.folder / name, other.folder / name)
        other.start()
        with (one.folder / "known_hosts").open("a") as known:
            known.write(other.known_line())
        yield one, other
    finally:
        one.stop()
        other.stop()


def sshd_below(pid: int) -> list[int]:
    """The sshd processes that this one started, and those that these started; not what they run for others."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if Path(f"/proc/{child}/comm").read_text().startswith("sshd"):
                found += [*sshd_below(int(child)), int(child)]
    return found
