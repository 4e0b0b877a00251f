"""User data of new machines, run by a real shell against an sshd that answers as the script's world says."""

import subprocess

import pytest
from pydantic import ValidationError

from orchestrator.foundation.errors import PlanningError
from orchestrator.model.system import MachineSpec
from orchestrator.targets.aws.user_data import first_boot_script

CA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL our CA"
# `sshd -T` as OpenSSH answers: the first value wins; the folder is read where the file says so.
SSHD = """#!/bin/sh
files=ETC/sshd_config
grep -q ^Include ETC/sshd_config && files="ETC/sshd_config.d/*.conf ETC/sshd_config"
found=$(cat $files 2>/dev/null | sed -n 's/^TrustedUserCAKeys //p' | head -n 1)
echo "port 22"
echo "trustedusercakeys ${found:-none}"
"""


@pytest.fixture
def machine(tmp_path):
    """Runs user data with /etc/ssh elsewhere; `told` is what it asked of the system's programs."""
    ssh, programs = tmp_path / "ssh", tmp_path / "bin"
    ssh.mkdir()
    programs.mkdir()
    told = tmp_path / "told"
    for name in ("systemctl", "apt-get"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{told}\n')
    (programs / "sshd").write_text(SSHD.replace("ETC", str(ssh)))
    for program in programs.iterdir():
        program.chmod(0o755)

    def boot(config, *packages):
        if config is not None:
            (ssh / "sshd_config").write_text(config)
        script = first_boot_script(CA, packages).replace("/etc/ssh", str(ssh))
        path = {"PATH": f"{programs}:/usr/bin:/bin"}
        subprocess.run(["sh", "-c", script], check=True, env=path, capture_output=True, timeout=30)
        answer = subprocess.run([programs / "sshd", "-T"], env=path, check=True, capture_output=True, text=True)
        trusted = answer.stdout.split("trustedusercakeys ")[1].strip()
        return (ssh.parent / trusted).read_text().splitlines(), told.read_text().splitlines()

    return boot


@pytest.mark.parametrize("config", ["Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n", "Port 22\nMatch User a\n"])
def test_a_ca_is_trusted_whether_or_not_the_image_reads_the_folder(machine, config):
    assert machine(config) == ([CA], ["systemctl reload ssh"])
    assert machine(None)[0] == [CA]  # a second first boot adds nothing


def test_a_ca_that_the_image_trusts_already_stays(machine, tmp_path):
    other = tmp_path / "ssh" / "their_ca.pub"
    other.write_text("ssh-ed25519 AAAAtheirs\n")
    trusted, _ = machine(f"TrustedUserCAKeys {other}\n")
    assert trusted == ["ssh-ed25519 AAAAtheirs", CA]
    assert machine(None)[0] == trusted


def test_what_the_image_lacks_is_installed_after_the_ca_is_trusted(machine):
    _, told = machine("Port 22\n", "rsync", "postgresql-15")
    assert told == [
        "systemctl reload ssh",
        "apt-get -q update",
        "apt-get -q -y install --no-install-recommends rsync postgresql-15",
    ]


def test_nothing_to_do_is_no_user_data_and_nothing_can_be_smuggled_in():
    assert first_boot_script("") == ""
    assert "apt-get" in first_boot_script("", ["rsync"])
    for key in ("ssh-ed25519 A\nssh-ed25519 B", "ssh-ed25519 A'; reboot; '"):
        with pytest.raises(ValueError, match="one public key line"):
            first_boot_script(key)
    with pytest.raises(ValidationError):
        MachineSpec(image="a", subnet="b", security_group="c", packages=("rsync; reboot",))


def test_more_than_aws_takes_is_refused():
    with pytest.raises(PlanningError, match="would be told 20"):
        first_boot_script(CA, last="x" * 20_000)
