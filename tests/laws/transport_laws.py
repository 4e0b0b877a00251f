"""The laws of contracts.transport. Inherit, and give the fixtures named in each class."""

import threading
import time

import pytest

from orchestrator.contracts.transport import Transport
from orchestrator.foundation.errors import (
    AccessDenied,
    CommandFailed,
    CommandTimedOut,
    HostKeyMismatch,
    HostUnreachable,
)

AWKWARD_WORDS = ["a b", "$HOME", "`id`", "it's", '"', "", "*", "a\nb", ";", "ü", "\\", "-n", "%s", "~", "!x", "{a,b}"]


class TransportLaws:
    """Fixtures: `transport`, and `folder`, an empty folder on its host."""

    def test_words_arrive_as_they_are(self, transport: Transport) -> None:
        answer = transport.run(["printf", "[%s]", *AWKWARD_WORDS])
        assert answer.stdout.decode() == "".join(f"[{word}]" for word in AWKWARD_WORDS)

    def test_standard_input_arrives_whole_and_comes_back_whole(self, transport: Transport) -> None:
        content = bytes(range(256)) * 4096  # 1 MiB with every byte
        assert transport.run(["cat"], stdin=content).stdout == content

    def test_a_command_without_input_sees_its_end_at_once(self, transport: Transport) -> None:
        assert transport.run(["cat"], timeout_seconds=10).stdout == b""

    def test_another_code_than_zero_raises_and_names_host_and_code(self, transport: Transport) -> None:
        with pytest.raises(CommandFailed) as caught:
            transport.run(["sh", "-c", "exit 3"])
        assert transport.host.name in caught.value.message
        assert "3" in caught.value.message

    @pytest.mark.parametrize("code", [1, 2, 124, 126, 127, 137, 254, 255])
    def test_any_code_is_given_where_it_is_not_checked(self, transport: Transport, code: int) -> None:
        assert transport.run(["sh", "-c", f"exit {code}"], check=False).exit_code == code

    def test_a_missing_program_is_a_failed_command(self, transport: Transport) -> None:
        with pytest.raises(CommandFailed):
            transport.run(["no-such-program-anywhere"])

    def test_a_command_that_outlives_its_time_is_ended(self, transport: Transport) -> None:
        started = time.monotonic()
        with pytest.raises(CommandTimedOut, match="sleep"):
            transport.run(["sleep", "60"], timeout_seconds=0.3)
        assert time.monotonic() - started < 10

    def test_the_host_is_of_use_after_a_time_out(self, transport: Transport) -> None:
        with pytest.raises(CommandTimedOut):
            transport.run(["sleep", "60"], timeout_seconds=0.2)
        assert transport.run(["printf", "on"]).text == "on"

    def test_lines_are_told_as_they_come(self, transport: Transport) -> None:
        lines: list[str] = []
        transport.run(["printf", "10%%\r20%%\rdone\nlast"], on_line=lines.append)
        assert lines == ["10%", "20%", "done", "last"]

    def test_the_environment_is_given(self, transport: Transport) -> None:
        answer = transport.run(["printenv", "SKERRY_LAW"], environment={"SKERRY_LAW": "a b;c"})
        assert answer.text == "a b;c"

    def test_commands_run_beside_each_other(self, transport: Transport) -> None:
        answers: dict[int, str] = {}

        def ask(number: int) -> None:
            answers[number] = transport.run(["printf", "%s", str(number)]).text

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {number: str(number) for number in range(12)}

    def test_a_file_is_read_as_it_was_written(self, transport: Transport, folder: str) -> None:
        content = b"line\n\0\xff" * 1000
        transport.write_file(f"{folder}/a file", content)
        assert transport.read_file(f"{folder}/a file") == content

    def test_an_empty_file_is_written(self, transport: Transport, folder: str) -> None:
        transport.write_file(f"{folder}/empty", b"")
        assert transport.read_file(f"{folder}/empty") == b""

    def test_a_file_is_replaced_with_the_mode_asked_for(self, transport: Transport, folder: str) -> None:
        transport.write_file(f"{folder}/f", b"one", mode=0o600)
        transport.write_file(f"{folder}/f", b"two", mode=0o640)
        assert transport.read_file(f"{folder}/f") == b"two"
        assert transport.run(["stat", "-c", "%a", f"{folder}/f"]).text == "640"

    def test_writing_leaves_nothing_beside_the_file(self, transport: Transport, folder: str) -> None:
        transport.write_file(f"{folder}/only", b"x")
        assert transport.run(["ls", "-A", folder]).text == "only"

    def test_a_missing_file_is_a_failed_command(self, transport: Transport, folder: str) -> None:
        with pytest.raises(CommandFailed):
            transport.read_file(f"{folder}/missing")

    def test_a_file_in_a_missing_folder_is_not_written(self, transport: Transport, folder: str) -> None:
        with pytest.raises(CommandFailed):
            transport.write_file(f"{folder}/missing/f", b"x")

    def test_a_file_larger_than_asked_for_is_refused(self, transport: Transport, folder: str) -> None:
        transport.write_file(f"{folder}/large", b"x" * 100)
        with pytest.raises(CommandFailed, match="larger than 99 bytes"):
            transport.read_file(f"{folder}/large", bytes_max=99)
        assert len(transport.read_file(f"{folder}/large", bytes_max=100)) == 100

    def test_a_transport_that_forgot_its_connections_goes_on(self, transport: Transport) -> None:
        transport.run(["true"])
        transport.forget()
        assert transport.run(["printf", "again"]).text == "again"


class ReachingLaws:
    """Fixtures: transports `unreachable` (no host), `mistaken` (another host key), `refused` (our key refused)."""

    def test_a_host_that_is_not_there_is_unreachable(self, unreachable: Transport) -> None:
        with pytest.raises(HostUnreachable) as caught:
            unreachable.run(["true"])
        assert unreachable.host.name in caught.value.message
        assert caught.value.retryable

    def test_another_host_key_is_refused_and_the_expected_fingerprint_named(self, mistaken: Transport) -> None:
        with pytest.raises(HostKeyMismatch, match="SHA256:") as caught:
            mistaken.run(["true"])
        assert "expected" in caught.value.message
        assert not caught.value.retryable

    def test_a_refused_key_is_access_denied(self, refused: Transport) -> None:
        with pytest.raises(AccessDenied) as caught:
            refused.run(["true"])
        assert refused.host.name in caught.value.message

    def test_files_meet_the_same_errors(self, unreachable: Transport, mistaken: Transport, refused: Transport) -> None:
        with pytest.raises(HostUnreachable):
            unreachable.read_file("/etc/hostname")
        with pytest.raises(HostKeyMismatch):
            mistaken.write_file("/tmp/x", b"secret")
        with pytest.raises(AccessDenied):
            refused.read_file("/etc/hostname")
