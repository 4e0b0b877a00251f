"""The lines that make a data directory a standby, as text: pure."""

import re
from collections.abc import Mapping

from orchestrator.model.dataset import PostgresCluster

# Everything we ever set; whatever an earlier life left of these is taken out first.
OURS = (
    "primary_conninfo",
    "primary_slot_name",
    "recovery_target_timeline",
    "recovery_target_lsn",
    "recovery_target_inclusive",
    "recovery_target_action",
)
_SETTING = re.compile(r"^\s*([a-z_]+)\s*=")


def quoted(value: str) -> str:
    """A value of postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def conninfo(parameters: Mapping[str, str | int]) -> str:
    """A connection string; every value quoted, so that no value can become a parameter."""
    escaped = {key: str(value).replace("\\", "\\\\").replace("'", "\\'") for key, value in parameters.items()}
    return " ".join(f"{key}='{value}'" for key, value in escaped.items())


def tls_parameters(cluster: PostgresCluster, root: str | None) -> dict[str, str]:
    """What a connection string says of encryption; nothing where the cluster leaves it to chance.

    With a password, the server must show within the encrypted channel that it knows it too (channel binding), so that
    nobody in between can be the server, whatever certificate he has.
    """
    if cluster.replication_tls == "prefer":
        return {}
    bound = {"channel_binding": "require"} if cluster.replication_password else {}
    return {"sslmode": cluster.replication_tls, **({"sslrootcert": root} if root else {}), **bound}


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """postgresql.auto.conf with `settings` in place of whatever it said about OURS; other lines stay."""
    kept = [line for line in text.splitlines() if not ((found := _SETTING.match(line)) and found[1] in OURS)]
    return "\n".join([*kept, *(f"{key} = {quoted(value)}" for key, value in settings.items())]) + "\n"


def settings_of(text: str) -> dict[str, str]:
    """What postgresql.auto.conf says about OURS."""
    out = {}
    for line in text.splitlines():
        found = _SETTING.match(line)
        if found and found[1] in OURS:
            value = line.partition("=")[2].strip()
            out[found[1]] = value[1:-1].replace("''", "'").replace("\\\\", "\\") if value.startswith("'") else value
    return out


def slot_name(standby: str) -> str:
    """The replication slot of a standby: `skerry_` and the host, in the alphabet that slots have."""
    return "skerry_" + standby.replace("-", "_")


def password_line(user: str, password: str) -> str:
    """One line of a password file, good for every server: the file itself is the standby's alone."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:{user}:{escaped}\n"
