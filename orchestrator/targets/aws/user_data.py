"""What a new machine does at its first boot: it trusts our SSH CA for logins, and installs what was asked for.

Rules: no secret stands in it, for whoever may describe the machine can read it; run twice it changes nothing more.
"""

from collections.abc import Sequence

from orchestrator.foundation.errors import PlanningError

BYTES_MAX = 16 * 1024  # EC2 user guide, "Run commands when you launch an EC2 instance"
_BEGIN = """#!/bin/sh
set -eu
umask 022
PATH=$PATH:/usr/sbin:/sbin
"""
_TRUST = """
# Certificates of one CA may log in; keys in the image stay as they are.
key='{key}'
ca=/etc/ssh/skerry_user_ca.pub
trusted() {{ sshd -T 2>/dev/null | sed -n 's/^trustedusercakeys //p' | grep -vx none || true; }}
echo "$key" >"$ca"
found=$(trusted)
if [ -n "$found" ]
then
    grep -qxF "$key" "$found" || echo "$key" >>"$found"
else
    mkdir -p /etc/ssh/sshd_config.d
    echo "TrustedUserCAKeys $ca" >/etc/ssh/sshd_config.d/50-skerry.conf
    # OpenSSH before 8.2, and images with a configuration of their own, do not read that folder.
    [ "$(trusted)" = "$ca" ] || sed -i "1i TrustedUserCAKeys $ca" /etc/ssh/sshd_config
fi
systemctl reload ssh 2>/dev/null || systemctl reload sshd
"""
_INSTALL = """
if command -v apt-get >/dev/null
then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q -y install --no-install-recommends {packages}
else
    dnf -q -y install {packages}
fi
"""


def first_boot_script(user_ca: str, packages: Sequence[str] = (), *, last: str = "") -> str:
    """User data for one machine; empty where there is nothing to do. `user_ca` is a CA's public key line.

    `last` is more shell. PlanningError for more than AWS takes.
    """
    if "\n" in user_ca.strip() or "'" in user_ca:
        raise ValueError("the SSH user CA must be one public key line")
    trust = _TRUST.format(key=user_ca.strip()) if user_ca else ""
    install = _INSTALL.format(packages=" ".join(packages)) if packages else ""
    script = _BEGIN + trust + install + last if trust or install or last else ""
    if len(script.encode()) > BYTES_MAX:
        raise PlanningError(
            f"a machine would be told {len(script.encode())} bytes at its first boot, and AWS takes {BYTES_MAX}",
            hint="Most of it are the checks of the system: have fewer of them, or shorter ones.",
        )
    return script
