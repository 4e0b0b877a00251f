"""The database that workers on several machines share, as people name it; never with its password.

    postgresql://skerry@db.example/skerry                                  PGPASSFILE or ~/.pgpass has the password
    postgresql:///?service=skerry                                          a service of PGSERVICEFILE
    postgresql://skerry@db.example/skerry?secret=file:/etc/skerry/db       the password is that secret
"""

import os
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from orchestrator.foundation.errors import UsageError

VARIABLE = "SKERRY_DATABASE"
_REFERENCE = "secret"


def named_database() -> str:
    """The shared database that this process was told of, without a password; empty: SQLite, in the home."""
    named = os.environ.get(VARIABLE, "")
    return check_database(named) if named else ""


def check_database(named: str) -> str:
    """`named`, where it can be used. Raises UsageError, which never repeats a password."""
    try:
        parts = urlsplit(named)
        password = parts.password or dict(parse_qsl(parts.query)).get("password")
    except ValueError as error:
        raise UsageError(f"the database cannot be understood: {error}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise UsageError(
            f"the database is named {parts.scheme or 'without a kind'}:…; it must be postgresql://USER@HOST/NAME",
            hint="Without --database the state is a file in the home, for one worker.",
        )
    if password is not None:
        raise UsageError(
            "the name of the database holds a password, which other processes of this machine can see",
            hint="Take it out: PGPASSFILE, a service (?service=NAME) or ?secret=file:PATH keeps it.",
        )
    return named


def with_password(named: str, secret_of: Callable[[str], str]) -> str:
    """The URL to connect with. `secret_of` gives the value of the reference behind `?secret=`."""
    parts = urlsplit(named)
    asked = parse_qsl(parts.query, keep_blank_values=True)
    references = [value for name, value in asked if name == _REFERENCE]
    if not references:
        return named
    query = urlencode([(name, value) for name, value in asked if name != _REFERENCE])
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(secret_of(references[0]), safe='')}@{place}", query=query))
