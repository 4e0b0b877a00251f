"""The laws of contracts.host_keys.HostKeyRing. Inherit, and give `ring` and `ring_again` (the same, reopened)."""

from collections.abc import Callable

import pytest

from orchestrator.contracts.host_keys import HostKeyRing
from orchestrator.foundation.errors import AccessDenied
from orchestrator.model.host import Host

ONE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFmZ2MbxG5N3Ic0vG0k0n1yXx4b1i3N8yq5sB1f6tq3h"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAqXr0c2m1n4s7b9dQ2w6y8z0A1C3E5G7I9K1M3O5Q7S"
CLOUD = Host(name="cloud-a", site="cloud", address="10.30.1.11")
NEIGHBOUR = Host(name="cloud-b", site="cloud", address="10.30.1.12", port=2222)


class HostKeyRingLaws:
    def test_a_host_never_learned_has_no_fingerprint(self, ring: HostKeyRing) -> None:
        assert list(ring.fingerprints(CLOUD)) == []

    def test_what_was_learned_is_told_and_durable(
        self, ring: HostKeyRing, ring_again: Callable[[], HostKeyRing]
    ) -> None:
        ring.learn(CLOUD, [ONE + " root@cloud-a"])
        told = list(ring.fingerprints(CLOUD))
        assert len(told) == 1
        assert told[0].startswith("SHA256:")
        assert list(ring_again().fingerprints(CLOUD)) == told

    def test_learning_the_same_again_changes_nothing(self, ring: HostKeyRing) -> None:
        ring.learn(CLOUD, [ONE, OTHER])
        before = list(ring.fingerprints(CLOUD))
        ring.learn(CLOUD, [ONE, OTHER])
        assert list(ring.fingerprints(CLOUD)) == before
        assert len(before) == 2

    def test_other_keys_replace_those_of_a_machine_that_was_made_anew(self, ring: HostKeyRing) -> None:
        ring.learn(CLOUD, [ONE])
        ring.learn(NEIGHBOUR, [ONE])
        first = list(ring.fingerprints(CLOUD))
        ring.learn(CLOUD, [OTHER])
        assert list(ring.fingerprints(CLOUD)) != first
        assert len(ring.fingerprints(CLOUD)) == 1
        assert list(ring.fingerprints(NEIGHBOUR)) == first

    @pytest.mark.parametrize("keys", [[], ["not a key"], ["ssh-ed25519 AAAA"]])
    def test_no_key_and_no_real_key_are_refused(self, ring: HostKeyRing, keys: list[str]) -> None:
        with pytest.raises(AccessDenied):
            ring.learn(CLOUD, keys)
        assert list(ring.fingerprints(CLOUD)) == []
