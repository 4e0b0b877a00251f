"""`filingctl` and `archivectl`: quiesce SECONDS, resume. Speaks to the application on this host."""

import http.client
import json
import os
import sys
from pathlib import Path


def read_environment(path: Path) -> dict[str, str]:
    """KEY=value lines; the process's own environment is stronger."""
    lines = path.read_text().splitlines() if path.exists() else []
    named = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {**named, **{key: os.environ[key] for key in named if key in os.environ}}


def main(program: str, environment_file: Path, words: list[str]) -> int:
    """Exit codes: 0 done, 1 the application refuses, 2 wrong words, 3 the application does not answer."""
    usage = f"usage: {program} quiesce SECONDS | {program} resume"
    if len(words) == 2 and words[0] == "quiesce":
        try:
            body = {"seconds": float(words[1])}
        except ValueError:
            print(usage, file=sys.stderr)
            return 2
    elif words == ["resume"]:
        body = {}
    else:
        print(usage, file=sys.stderr)
        return 2
    settings = read_environment(environment_file)
    connection = http.client.HTTPConnection(
        settings["SKERRY_ADDRESS"], int(settings["SKERRY_PORT"]), timeout=10 + body.get("seconds", 0)
    )
    try:
        connection.request("POST", f"/control/{words[0]}", json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
    except OSError as error:
        print(f"{program}: the application does not answer: {error}", file=sys.stderr)
        return 3
    finally:
        connection.close()
    if answer.status != 200:
        print(f"{program}: {text}", file=sys.stderr)
        return 1
    print(text)
    return 0
