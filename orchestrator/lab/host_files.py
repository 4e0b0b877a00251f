"""What a lab host finds in its own folders when it boots: accounts, names, SSH, units, and the lab's stand-ins."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.contracts.joined_program import joined_program
from orchestrator.foundation.errors import LabError
from orchestrator.lab.blueprint import (
    CONTROLLER_SITE,
    LOOPBACK_SSH_PORT,
    LabHost,
    PlacedFile,
    address_in,
    router_of,
)
from orchestrator.lab.machine import SYSTEM_PATH, program
from orchestrator.lab.pki import make_key

UNIT_FOLDER = "/usr/local/lib/systemd/system"  # as if a package had brought them: they can be masked
PROGRAM_FOLDER = "/opt/lab/bin"
PERL = "/usr/bin/perl"  # every Debian has it; where a machine has none, hosts do without
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
DEPLOY_USER_ID = 1000

FOLDERS = (
    "etc/ssh", "etc/systemd/system/multi-user.target.wants", "home/deploy", "opt/lab/bin", "root", "run", "srv",
    "usr/local/bin", "usr/local/lib/systemd/system", "var/empty", "var/lib", "var/log", "var/tmp",
)  # fmt: skip

ACCOUNTS = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
postgres:x:101:101:PostgreSQL:/var/lib/postgresql:/bin/bash
deploy:x:1000:1000:deploy:/home/deploy:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = """root:x:0:
daemon:x:1:
{tty}sudo:x:27:deploy
www-data:x:33:
postgres:x:101:
deploy:x:1000:
nogroup:x:65534:
"""
SSHD_CONFIG = """Include {prefix}/etc/ssh/sshd_config.d/*.conf
Port {port}
ListenAddress {address}
AddressFamily inet
HostKey {prefix}/etc/ssh/ssh_host_ed25519_key
TrustedUserCAKeys {trusted}
AuthorizedKeysFile {authorized_keys}
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UseDNS no
PrintMotd no
MaxStartups 200:30:400
MaxSessions 100
LoginGraceTime 30
ClientAliveInterval 15
ClientAliveCountMax 4
Subsystem sftp internal-sftp
AcceptEnv LANG LC_*
SetEnv {environment}
"""
SSH_UNIT = """[Unit]
Description=OpenSSH server of this lab host

[Service]
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
X-LabTimestamps=yes

[Install]
WantedBy=multi-user.target
"""
SYSTEMCTL = """#!/usr/bin/python3 -ES
import sys
sys.path.insert(0, {folder!r})
from systemctl_stand_in import main
sys.exit(main(sys.argv[1:]))
"""
# Asks the host's first process, which has it all in memory: as quick as systemd's own, where Python takes three times
# as long to start as to answer. Others than root, whom that one does not hear, and the first process itself do without.
SYSTEMCTL_ASKING = """#!/usr/bin/perl
my $manager;
if ($< == 0 && socket($manager, 1, 1, 0) && connect($manager, pack("Sa*", 1, "/run/systemd/lab-manager"))) {
    syswrite($manager, join("\\0", @ARGV));
    shutdown($manager, 1);
    my $said = do { local $/; <$manager> };
    if ($said !~ s/^(\\d+) (\\d+)\\n//) {
        print STDERR "Connection to the host's first process broke\\n";
        exit 1;
    }
    print substr($said, 0, $2);
    print STDERR substr($said, $2);
    exit $1;
}
exec "/opt/lab/bin/systemctl-itself", @ARGV;
"""
# sudo as the product calls it (-n -u USER --) and as Ansible does (-H -S -n -u USER), without a setuid program.
SUDO = """#!/bin/sh
user=root
while [ $# -gt 0 ]; do
  case "$1" in
    -u|--user) user=$2; shift 2;;
    --user=*) user=${{1#--user=}}; shift;;
    -u*) user=${{1#-u}}; shift;;
    -p|--prompt) shift 2;;
    --) shift; break;;
    -*) shift;;
    [A-Za-z_]*=*) export "$1"; shift;;
    *) break;;
  esac
done
[ $# -gt 0 ] || exit 0
entry=$(getent passwd "$user") || {{ echo "sudo: unknown user $user" >&2; exit 1; }}
IFS=: read -r _ _ uid gid _ home _ <<END
$entry
END
export HOME="{prefix}$home" USER="$user" LOGNAME="$user" SUDO_USER="$(id -un)"
{change}
"""
# One user id is mapped: a nested user namespace in which that id is the wanted user's.
SUDO_BY_NAMESPACE = 'exec unshare --user --map-user="$uid" --map-group="$gid" -- "$@"'
SUDO_BY_SETPRIV = """[ "$(id -u)" = "$uid" ] && exec "$@"
exec setpriv --reuid="$uid" --regid="$gid" --init-groups {more}-- "$@\""""
# No second user id and no way to make one: the login user is all there is.
SUDO_NOBODY_ELSE = 'export HOME="$OLDHOME"; exec "$@"'
SUDO_CAPABLE = "--inh-caps=+dac_override --ambient-caps=+dac_override "

HOSTS_BEGIN, HOSTS_END = "# the lab's hosts", "# end of the lab's hosts"


@dataclass(frozen=True)
class HostStyle:
    """How hosts of a lab differ by its kind and privilege."""

    kind: str
    one_user_id: bool  # rootless namespaces: a single user id is mapped
    is_root: bool  # loopback: whether the lab's own user is root
    login: str  # the user that SSH logs in as


def write_host(tree: Path, host: LabHost, style: HostStyle, user_ca: str) -> None:
    """Bring the folders of a host into being, or up to date: its data and settings made elsewhere are left alone."""
    for name in FOLDERS:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name, content in (("passwd", ACCOUNTS), ("group", GROUP.format(tty="" if style.one_user_id else "tty:x:5:\n"))):
        if not (tree / "etc" / name).exists():
            write_whole(tree / "etc" / name, content.encode())
    shadow = "".join(f"{line.partition(':')[0]}:*:19000:0:99999:7:::\n" for line in ACCOUNTS.splitlines())
    write_whole(tree / "etc/shadow", shadow.encode(), mode=0o640)
    write_whole(tree / "etc/hostname", f"{host.name}\n".encode())
    write_whole(tree / "etc/nsswitch.conf", b"passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    controller = address_in(style.kind, router_of(CONTROLLER_SITE))
    write_whole(tree / "etc/resolv.conf", f"nameserver {controller}\noptions timeout:1 attempts:2\n".encode())
    for path in (Path("/etc/os-release"), Path("/etc/debian_version"), Path("/etc/ld.so.cache")):
        if path.exists():
            shutil.copyfile(path, tree / "etc" / path.name)
    _write_programs(tree, style)
    _write_ssh(tree, host, style, user_ca)
    for unit in host.services:
        write_files(tree, {f"{UNIT_FOLDER}/{unit.name}.service": PlacedFile(unit.text.encode()), **unit.files})
        if unit.enabled:
            enable_unit(tree, unit.name)
    if style.kind == "namespaces" and not style.one_user_id:
        os.chown(tree / "home/deploy", DEPLOY_USER_ID, DEPLOY_USER_ID)


def _write_programs(tree: Path, style: HostStyle) -> None:
    stand_in = joined_program(Path(__file__).parent / "host_programs/systemctl_stand_in")
    # A module beside its launcher: Python keeps modules compiled, and this one is asked while clients wait.
    write_whole(tree / "opt/lab/bin/systemctl_stand_in.py", stand_in)
    folder = PROGRAM_FOLDER if style.kind == "namespaces" else str(tree / "opt/lab/bin")
    itself = SYSTEMCTL.format(folder=folder).encode()
    asks = style.kind == "namespaces" and os.access(PERL, os.X_OK)
    write_whole(tree / "opt/lab/bin/systemctl-itself", itself, mode=0o755)
    write_whole(tree / "opt/lab/bin/systemctl", SYSTEMCTL_ASKING.encode() if asks else itself, mode=0o755)
    if style.kind == "namespaces":
        prefix, change = "", SUDO_BY_NAMESPACE if style.one_user_id else SUDO_BY_SETPRIV.format(more="")
    elif style.is_root:
        prefix, change = "", SUDO_BY_SETPRIV.format(more=SUDO_CAPABLE)
    else:
        prefix, change = "", SUDO_NOBODY_ELSE
    sudo = SUDO.format(prefix=prefix, change=change)
    if change is SUDO_NOBODY_ELSE:
        sudo = sudo.replace("#!/bin/sh\n", "#!/bin/sh\nOLDHOME=$HOME\n", 1)
    write_whole(tree / "opt/lab/bin/sudo", sudo.encode(), mode=0o755)


def _write_ssh(tree: Path, host: LabHost, style: HostStyle, user_ca: str) -> None:
    make_key(tree / HOST_KEY.lstrip("/"), host.name)
    if host.trusts_ca:
        write_whole(tree / "etc/ssh/user_ca.pub", f"{user_ca}\n".encode())
    loopback = style.kind == "loopback"
    prefix = str(tree) if loopback else ""
    environment = host_environment(tree, host.name, style)
    in_words = f'"{prefix}"' if " " in prefix else prefix
    config = SSHD_CONFIG.format(
        port=ssh_port(style.kind, host),
        address=address_in(style.kind, host.address) if loopback else "0.0.0.0",
        prefix=in_words,
        trusted=f"{in_words}/etc/ssh/user_ca.pub" if host.trusts_ca else "none",
        authorized_keys=f"{prefix}/root/.ssh/authorized_keys" if loopback else ".ssh/authorized_keys",
        environment=" ".join(f'"{name}={value}"' for name, value in environment.items()),
    )
    write_whole(tree / "etc/ssh/sshd_config", config.encode())
    command = f"{program('sshd')} -D -e -f {prefix}/etc/ssh/sshd_config"
    if style.one_user_id:
        # sshd as user id 0 dies in setgroups where one id is mapped; as an ordinary user it does not ask.
        command = f"{program('unshare')} --user --map-user={DEPLOY_USER_ID} --map-group={DEPLOY_USER_ID} -- {command}"
    write_files(tree, {f"{UNIT_FOLDER}/ssh.service": PlacedFile(SSH_UNIT.format(command=command).encode())})
    enable_unit(tree, "ssh")


def host_environment(tree: Path, name: str, style: HostStyle) -> dict[str, str]:
    """What every process of the host finds in its environment. On loopback it also tells whose process it is."""
    if style.kind == "namespaces":
        return {"PATH": f"{PROGRAM_FOLDER}:{SYSTEM_PATH}"}
    return {
        "PATH": f"{tree}{PROGRAM_FOLDER}:{tree}/usr/local/bin:{SYSTEM_PATH}",
        "SKERRY_LAB_PREFIX": str(tree),
        "SKERRY_LAB_FOLDER": str(tree.parents[2]),
        "SKERRY_LAB_HOST": name,
    }


def ssh_port(kind: str, host: LabHost) -> int:
    return LOOPBACK_SSH_PORT if kind == "loopback" and host.port == 22 else host.port


def enable_unit(tree: Path, name: str) -> None:
    """Start the unit at boot, unless somebody masked it."""
    link = tree / f"etc/systemd/system/multi-user.target.wants/{name}.service"
    if not link.is_symlink():
        link.symlink_to(f"{UNIT_FOLDER}/{name}.service")


def write_files(tree: Path, files: Mapping[str, PlacedFile]) -> None:
    for path, file in files.items():
        target = tree / path.lstrip("/")
        if ".." in target.parts or not path.startswith("/"):
            raise LabError(f"{path!r} is no absolute path of a host")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, file.content, mode=file.mode)


def write_host_names(tree: Path, addresses: Iterable[tuple[str, str]]) -> None:
    """Bring the lab's part of /etc/hosts up to date; what others wrote there stays."""
    path = tree / "etc/hosts"
    text = path.read_text() if path.exists() else "127.0.0.1 localhost\n"
    before, _, rest = text.partition(HOSTS_BEGIN + "\n")
    after = rest.partition(HOSTS_END + "\n")[2]
    lines = "".join(f"{address} {name}\n" for address, name in addresses)
    wanted = f"{before}{HOSTS_BEGIN}\n{lines}{HOSTS_END}\n{after}"
    if wanted != text:
        write_whole(path, wanted.encode())


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Old or new, never half; without the waiting for a disk that a lab does not need."""
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
    aside.replace(path)
