"""The first copy of a file tree beside the tools people would use: tar, rclone, restic, borg."""

import shlex
from collections.abc import Callable
from typing import Any

from benchmarks.dataplane_hosts import KEY, ROUNDS, SSH, Bench, bench_hosts, beside, medians
from benchmarks.dataplane_tree import TREE, Deed, anew, nothing, prepared, verify, what

COMMAND = "make bench BENCH=dataplane_tree_peers"
NAMES = {
    "tar": "tar over ssh, no proof",
    "rclone": "rclone copy by SFTP, 8 at once, no owners nor links",
    "restic": "restic backup by SFTP",
    "borg": "borg create by SSH, lz4, not encrypted",
}


def login(bench: Bench) -> str:
    return (
        f"--sftp-host {bench.source.address} --sftp-user root --sftp-key-file {KEY} --sftp-pubkey-file {KEY}-cert.pub"
    )


def peers(bench: Bench) -> dict[str, Deed]:
    """A copy by rclone, pulled; backups by restic and borg at the replica, which has the same tree and cores."""
    address = bench.source.address
    # It has no word for the cipher, and takes AES-GCM by itself.
    rclone = f"rclone --config /dev/null -q copy --transfers 8 --checkers 8 -l {login(bench)} :sftp:{TREE.path}"
    restic = (
        "export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=/srv/bench/cache;"
        f" restic -q -o sftp.command={shlex.quote(f'{SSH} {address} -s sftp')} -r sftp:{address}:/srv/bench/restic"
    )
    borg = (
        f"export BORG_RSH={shlex.quote(SSH)} BORG_BASE_DIR=/srv/bench/borg-base"
        " BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes;"
    )
    repository = f"ssh://root@{address}/srv/bench/borg"

    def fresh(name: str, begin: str) -> Callable[[], None]:
        clear = f"{SSH} {address} rm -rf /srv/bench/{name}; rm -rf /srv/bench/cache /srv/bench/borg-base"
        return lambda: bench.run(f"{clear}; {begin}")

    tar = f"mkdir /srv/bench/tar; {SSH} {address} tar -C {TREE.path} -cf - . | tar -C /srv/bench/tar -xf -"
    return {
        "tar": (anew(bench, "tar"), lambda: bench.run(tar)),
        "rclone": (anew(bench, "rclone"), lambda: bench.run(f"{rclone} /srv/bench/rclone")),
        "restic": (fresh("restic", f"{restic} init"), lambda: bench.run(f"{restic} backup {TREE.path}")),
        "borg": (
            fresh("borg", f"{borg} borg init -e none {repository}"),
            lambda: bench.run(f"{borg} borg create {repository}::one {TREE.path}"),
        ),
    }


def rclone_check(bench: Bench) -> Deed:
    script = (
        f"rclone --config /dev/null -q check --download --checkers 8 -l {login(bench)} :sftp:{TREE.path} {TREE.path}"
    )
    return nothing, lambda: bench.run(script)


def rows() -> list[dict[str, Any]]:
    with bench_hosts() as bench:
        ours = prepared(bench)
        found = medians(ROUNDS, {"ours": ours, **peers(bench)})
        checked = medians(ROUNDS, {"ours": (nothing, lambda: verify(bench)), "rclone": rclone_check(bench)})
    copied, verified = f"{what()}: first copy with SHA-256 at both ends", f"{what()}: verification of both ends"
    return [
        *(beside(f"{copied}, beside {peer}", found, peer, name, COMMAND) for peer, name in NAMES.items()),
        beside(verified, checked, "rclone", "rclone check --download", COMMAND, times_as_fast=4.0),
    ]
