"""What a new machine does at its first boot: it trusts our SSH CA for logins, and nothing else is changed."""

_SCRIPT = """#!/bin/sh
# Trust certificates of one CA for logins; keys in the image stay as they are.
set -eu
umask 022
cat >/etc/ssh/skerry_user_ca.pub <<'KEY'
{key}
KEY
if ! grep -Eiqs '^[[:space:]]*TrustedUserCAKeys[[:space:]]' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf
then
    mkdir -p /etc/ssh/sshd_config.d
    echo 'TrustedUserCAKeys /etc/ssh/skerry_user_ca.pub' >/etc/ssh/sshd_config.d/50-skerry.conf
    systemctl reload ssh 2>/dev/null || systemctl reload sshd
fi
"""


def first_boot_script(user_ca: str) -> str:
    """User data for one machine; empty where there is no CA to trust. Holds no secret: a CA's public key line."""
    if not user_ca:
        return ""
    if "\n" in user_ca.strip() or "'" in user_ca:
        raise ValueError("the SSH user CA must be one public key line")
    return _SCRIPT.format(key=user_ca.strip())
