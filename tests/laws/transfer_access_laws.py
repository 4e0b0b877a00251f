"""The laws of contracts.access.TransferAccess.

Inherit, and give `access`, `transports`, `peer_user` and three hosts: `initiator`, `peer` and a `bystander`.
"""

import time

import pytest

from orchestrator.contracts.access import TransferAccess
from orchestrator.contracts.transport import Transports
from orchestrator.model.host import Host


class TransferAccessLaws:
    def test_the_peer_runs_the_forced_command_whatever_is_asked(
        self, access: TransferAccess, transports: Transports, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        forced = "printf 'forced: %s' \"$SSH_ORIGINAL_COMMAND\""
        with access.grant(initiator, peer, force_command=forced, seconds=60, peer_user=peer_user) as granted:
            answer = transports(initiator).run([*granted.ssh_words, granted.destination, "cat /etc/shadow"])
        assert answer.text == "forced: cat /etc/shadow"

    def test_words_can_be_joined_with_blanks(
        self, access: TransferAccess, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        with access.grant(initiator, peer, force_command="true", seconds=60, peer_user=peer_user) as granted:
            assert granted.ssh_words[0] == "ssh"
            assert not [word for word in granted.ssh_words if set(word) & set(" \t\n'\"\\$")]

    def test_it_holds_from_the_initiator_alone(
        self,
        access: TransferAccess,
        transports: Transports,
        initiator: Host,
        peer: Host,
        bystander: Host,
        peer_user: str,
    ) -> None:
        with access.grant(initiator, peer, force_command="echo in", seconds=60, peer_user=peer_user) as granted:
            folder = _folder(granted.ssh_words)
            copied = folder.replace("skerry-access-", "stolen-")
            transports(bystander).run(["mkdir", "-m", "700", copied])
            for name in ("key", "key-cert.pub", "known_hosts"):
                content = transports(initiator).read_file(f"{folder}/{name}")
                transports(bystander).write_file(f"{copied}/{name}", content, mode=0o600)
            stolen = [word.replace(folder, copied) for word in granted.ssh_words]
            answer = transports(bystander).run([*stolen, granted.destination, "x"], check=False)
            transports(bystander).run(["rm", "-rf", copied])
        assert answer.exit_code == 255
        assert b"Permission denied" in answer.stderr

    def test_it_does_not_hold_after_its_time(
        self, access: TransferAccess, transports: Transports, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        with access.grant(initiator, peer, force_command="echo in", seconds=1, peer_user=peer_user) as granted:
            time.sleep(2.1)
            answer = transports(initiator).run([*granted.ssh_words, granted.destination, "x"], check=False)
        assert answer.exit_code == 255
        assert b"Permission denied" in answer.stderr

    def test_nothing_is_left_when_it_ends(
        self, access: TransferAccess, transports: Transports, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        with access.grant(initiator, peer, force_command="true", seconds=60, peer_user=peer_user) as granted:
            folder = _folder(granted.ssh_words)
            assert transports(initiator).run(["stat", "-c", "%a", folder]).text == "700"
        assert transports(initiator).run(["test", "-e", folder], check=False).exit_code == 1

    def test_nothing_is_left_when_it_ends_by_an_error(
        self, access: TransferAccess, transports: Transports, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        folder = ""
        with (
            pytest.raises(ZeroDivisionError),
            access.grant(initiator, peer, force_command="true", seconds=60, peer_user=peer_user) as granted,
        ):
            folder = _folder(granted.ssh_words)
            raise ZeroDivisionError
        assert transports(initiator).run(["test", "-e", folder], check=False).exit_code == 1

    def test_two_transfers_do_not_meet(
        self, access: TransferAccess, transports: Transports, initiator: Host, peer: Host, peer_user: str
    ) -> None:
        with (
            access.grant(initiator, peer, force_command="echo one", seconds=60, peer_user=peer_user) as one,
            access.grant(initiator, peer, force_command="echo two", seconds=60, peer_user=peer_user) as two,
        ):
            assert transports(initiator).run([*two.ssh_words, two.destination]).text == "two"
            assert transports(initiator).run([*one.ssh_words, one.destination]).text == "one"


def _folder(ssh_words: tuple[str, ...]) -> str:
    identity = next(word for word in ssh_words if word.startswith("IdentityFile="))
    return identity.removeprefix("IdentityFile=").rpartition("/")[0]
