"""The host keys that skerry learned itself obey the laws of a host key ring."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.hosts.host_keys import LearnedHostKeys
from orchestrator.hosts.known_hosts import keys_of, trusted_lines
from orchestrator.model.host import Host
from tests.laws.host_key_ring_laws import CLOUD, NEIGHBOUR, ONE, HostKeyRingLaws


class TestLearnedHostKeys(HostKeyRingLaws):
    @pytest.fixture
    def ring(self, tmp_path: Path) -> LearnedHostKeys:
        return LearnedHostKeys(tmp_path / "home" / "learned_host_keys")

    @pytest.fixture
    def ring_again(self, ring: LearnedHostKeys) -> Callable[[], LearnedHostKeys]:
        return lambda: LearnedHostKeys(ring.file)

    def test_openssh_reads_the_file(self, ring: LearnedHostKeys) -> None:
        ring.learn(CLOUD, [ONE])
        ring.learn(NEIGHBOUR, [ONE])
        assert keys_of(trusted_lines("10.30.1.11", [ring.file])) == [ONE]
        assert keys_of(trusted_lines("[10.30.1.12]:2222", [ring.file])) == [ONE]
        assert keys_of(trusted_lines("10.30.1.12", [ring.file])) == []
        assert ring.file.stat().st_mode & 0o777 == 0o600

    def test_hosts_learned_at_once_are_all_kept(self, ring: LearnedHostKeys) -> None:
        hosts = [Host(name=f"cloud-x{number}", site="cloud", address=f"10.30.2.{number}") for number in range(1, 13)]
        threads = [threading.Thread(target=ring.learn, args=(host, [ONE])) for host in hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(ring.fingerprints(host)) for host in hosts] == [1] * 12
