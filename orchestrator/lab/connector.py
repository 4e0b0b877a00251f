"""OpenSSH's way into the lab: a ProxyCommand for `ProxyUseFdpass yes` that hands over a connection the daemon made.

Started as a program (`python3 -S -E connector.py FOLDER HOST PORT`) for every connection, so it imports little. The
connected socket is received from the daemon and passed on to ssh, which owns it from then on.
"""

import array
import os
import socket
import sys

SECONDS_MAX = 15.0


def connected(folder: str, host: str, port: str) -> int:
    """The descriptor of a connection to `host` made within the lab. OSError where there is none."""
    descriptor = os.open(folder, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.settimeout(SECONDS_MAX)
        # The folder's path may be longer than a socket address holds.
        daemon.connect(f"/proc/self/fd/{descriptor}/control.sock")
        # Host names and ports from ssh hold neither quotes nor backslashes.
        daemon.sendall(f'{{"do": "connect", "host": "{host}", "port": {int(port)}}}\n'.encode())
        answer, ancillary, _, _ = daemon.recvmsg(65536, socket.CMSG_LEN(4))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return array.array("i", data)[0]
    raise OSError(refusal(answer))


def refusal(answer: bytes) -> str:
    """The daemon's words for people."""
    import json  # costs more than all else here, and is needed only now

    return str(json.loads(answer)["error"]["message"])


def main(folder: str, host: str, port: str) -> int:
    if not host.replace("-", "").replace(".", "").replace("_", "").isalnum():
        sys.stderr.write(f"skerry lab: {host!r} is no host\n")
        return 1
    try:
        descriptor = connected(folder, host, port)
    except (FileNotFoundError, ConnectionError):
        sys.stderr.write(f"skerry lab: the lab in {folder} is not up; start it with: skerry lab up\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"skerry lab: {error}\n")
        return 1
    with socket.socket(fileno=1) as to_ssh:
        to_ssh.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
