"""Secret references resolve to values in memory, and no message ever repeats a value."""

import pytest

from orchestrator.foundation.errors import SecretUnavailable
from orchestrator.inventory.secrets import SecretFileIsOpen, SecretResolver

VALUE = "correct horse battery staple"


@pytest.fixture
def resolve(tmp_path):
    return SecretResolver(tmp_path, environment={"TOKEN": VALUE, "EMPTY": ""})


def written(folder, mode, content=VALUE + "\n"):
    path = folder / "secret"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_variable_is_read(resolve):
    assert resolve("env:TOKEN") == VALUE


def test_a_private_file_is_read_without_its_last_line_break(resolve, tmp_path):
    written(tmp_path, 0o600)
    assert resolve(f"file:{tmp_path}/secret") == VALUE


def test_home_stands_for_the_folder_of_all_state(resolve, tmp_path):
    written(tmp_path, 0o400)
    assert resolve("file:${SKERRY_HOME}/secret") == VALUE


def test_spaces_and_earlier_line_breaks_belong_to_the_secret(resolve, tmp_path):
    written(tmp_path, 0o600, " a\n b \n\n")
    assert resolve(f"file:{tmp_path}/secret") == " a\n b \n"


def test_a_file_open_to_its_group_is_read_with_a_warning(resolve, tmp_path):
    written(tmp_path, 0o640)
    with pytest.warns(SecretFileIsOpen, match="open to its group"):
        assert resolve(f"file:{tmp_path}/secret") == VALUE


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
def test_a_file_open_to_everybody_is_refused(resolve, tmp_path, mode):
    written(tmp_path, mode)
    with pytest.raises(SecretUnavailable, match="open to everybody") as caught:
        resolve(f"file:{tmp_path}/secret")
    assert "chmod 600" in caught.value.hint


def test_a_command_is_run_without_a_shell(resolve, tmp_path):
    assert resolve("command:printf %s 'a b'") == "a b"
    assert resolve("command:echo $(id)") == "$(id)"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:NOBODY", "has no variable NOBODY"),
        ("env:EMPTY", "the secret is empty"),
        ("file:/nowhere/at/all", "No such file or directory"),
        ("command:false", "exit code 1"),
        ("command:/nowhere/at/all", "cannot be run"),
        ("command:'unclosed", "cannot be run"),
        ("command:", "cannot be run"),
        ("aws-kms:arn:aws:kms:sky-1:1:key/2", "nothing here can ask AWS KMS"),
    ],
)
def test_what_cannot_be_had_is_told(resolve, reference, words):
    with pytest.raises(SecretUnavailable, match=words) as caught:
        resolve(reference)
    assert caught.value.exit_code == 13


def test_no_message_repeats_what_a_failing_command_printed(resolve):
    with pytest.raises(SecretUnavailable) as caught:
        resolve("command:sh -c 'echo hunter2; echo hunter2 >&2; exit 3'")
    said = str(caught.value).replace("command:sh -c 'echo hunter2; echo hunter2 >&2; exit 3'", "")
    assert "hunter2" not in said


def test_a_value_where_a_reference_belongs_is_not_repeated(resolve):
    with pytest.raises(SecretUnavailable) as caught:
        resolve("hunter2")
    assert "hunter2" not in str(caught.value)


def test_kms_is_asked_where_a_resolver_was_given(tmp_path):
    resolve = SecretResolver(tmp_path, open_kms=lambda key: f"opened {key}")
    assert resolve("aws-kms:key/2") == "opened key/2"


def test_a_huge_file_is_no_secret(resolve, tmp_path):
    written(tmp_path, 0o600, "x" * 70_000)
    with pytest.raises(SecretUnavailable, match="longer than 64 KiB"):
        resolve(f"file:{tmp_path}/secret")
