"""Says words to a HAProxy's runtime API, and keeps what they did over its restart.

This file is sent to hosts as it stands and run by their own Python (3.9 or newer): standard library only. Those
who speak to one HAProxy through it do so in turn, so that the state file never tells of less than was answered.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys

ANSWER_SECONDS_MAX = 10
ANSWER_BYTES_MAX = 16 * 1024 * 1024
STATE_WORDS = "show servers state"


def ask(path: str, words: str) -> str:
    answer = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS_MAX)
        connection.connect(path)
        connection.sendall(words.encode() + b"\n")
        while piece := connection.recv(65536):
            answer += piece
            if len(answer) > ANSWER_BYTES_MAX:
                raise OSError("the answer to %r does not end" % words)
    return answer.decode(errors="replace").strip()


def keep(path: str, state: str) -> None:
    """The whole state, durable, in place of what was kept before."""
    unfinished = path + ".new"
    with open(unfinished, "w") as stream:
        stream.write(state + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(unfinished, path)


def main() -> None:
    request = json.loads(sys.argv[1])
    with open(request["socket"] + ".skerry", "a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        said = [ask(request["socket"], words) for words in request["words"]]
        state = ask(request["socket"], STATE_WORDS)
        if request["words"] and request["state_file"]:
            keep(request["state_file"], state)
    sys.stdout.write("result " + json.dumps({"said": said, "state": state}) + "\n")


if __name__ == "__main__":
    main()
