"""One disk image by each tool that people use for such things, beside ours: first copies, and copies after a change.

A gigabyte, so that the slow ones fit a quarter of an hour. Tools that are not installed are left out, and that is said.
"""

import os
import shutil
import sys
from typing import Any

from benchmarks.dataplane_hosts import KEY, ROUNDS, RSYNC, SSH, Bench, bench_hosts, beside, middle, seconds
from benchmarks.dataplane_images import change_pages, make_image, pages_with_data
from orchestrator.model.dataset import BlockVolume

COMMAND = "make bench BENCH=dataplane_peers"
IMAGE_MIB = int(os.environ.get("SKERRY_BENCH_PEER_MIB", "1024"))
VOLUME = BlockVolume(name="disk", path="/srv/bench/disk.img")
TOP = "/srv/bench"
# What a peer does not do, that ours does in the same time.
REMARKS = {
    "restic": "encrypts at rest, no image at the replica",
    "borg": "no image at the replica",
    "nbdcopy": "not encrypted, no proof",
}


class Peer:
    """A tool: what it runs, on which host, to bring the image the first time and after each change."""

    def __init__(self, program: str, words: str, fresh: str, *, at_source: bool = False) -> None:
        self.program = program
        self.words = words
        self.fresh = fresh  # on the replica, before a first copy
        self.at_source = at_source

    def bring(self, bench: Bench) -> None:
        (bench.run_at_source if self.at_source else bench.run)(self.words)


def peers(bench: Bench) -> dict[str, Peer]:
    source, replica = bench.source.address, bench.replica.address
    files = f"--sftp-key-file {KEY} --sftp-pubkey-file {KEY}-cert.pub --sftp-known-hosts-file {TOP}/known"
    sftp = f"-r sftp:root@{replica}:{TOP}/restic -o sftp.command='{SSH} root@{replica} -s sftp'"
    restic = f"export RESTIC_PASSWORD=bench; restic -q {sftp} cat config > /dev/null 2>&1 || restic -q {sftp} init"
    borg = f"export BORG_RSH='{SSH}' BORG_RELOCATED_REPO_ACCESS_IS_OK=yes; r=root@{replica}:{TOP}/borg"
    began = (
        "export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes; borg info $r > /dev/null 2>&1 || borg init -e none $r"
    )
    nbd = f"{SSH} {source} 'qemu-nbd -r -f raw -b {source} -p 10811 --fork {VOLUME.path}'"
    return {
        "rsync": Peer(
            "rsync", f"{RSYNC} -I --inplace {source}:{VOLUME.path} {TOP}/rsync.img", f"rm -f {TOP}/rsync.img"
        ),
        "tar": Peer(
            "tar",
            f"{SSH} {source} tar -C {TOP} -cSf - disk.img | tar -C {TOP}/tar -xSf -",
            f"rm -rf {TOP}/tar; mkdir {TOP}/tar",
        ),
        "nbdcopy": Peer("nbdcopy", f"{nbd}; nbdcopy nbd://{source}:10811 {TOP}/nbd.img", f"rm -f {TOP}/nbd.img"),
        "rclone": Peer(
            "rclone",
            f"rclone copyto {VOLUME.path} :sftp:{TOP}/rclone.img --sftp-host {replica} --sftp-user root {files}",
            f"rm -f {TOP}/rclone.img",
            at_source=True,
        ),
        "restic": Peer(
            "restic", f"{restic}; restic -q {sftp} backup {VOLUME.path}", f"rm -rf {TOP}/restic", at_source=True
        ),
        "borg": Peer(
            "borg",
            f"{borg}; {began}; borg create $r::a$(date +%s%N) {VOLUME.path}",
            f"rm -rf {TOP}/borg",
            at_source=True,
        ),
    }


def measured(bench: Bench, names: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of a first copy and of one after a change, by each tool and by ours."""
    image = bench.at_source(VOLUME.path)
    make_image(image, IMAGE_MIB)
    pages = len(pages_with_data(image)) // 100
    asked = peers(bench)
    fresh = {"ours": f"rm -rf {VOLUME.path} {TOP}/.skerry-points", **{name: asked[name].fresh for name in names}}
    bench.run_at_source(f"cp /root/bench/known {TOP}/known")

    def bring(name: str) -> float:
        os.sync()
        if name == "ours":
            return seconds(lambda: bench.volumes.copy(VOLUME, bench.source, bench.replica))
        return seconds(lambda: asked[name].bring(bench))

    first: dict[str, list[float]] = {name: [] for name in fresh}
    again: dict[str, list[float]] = {name: [] for name in fresh}
    for _ in range(ROUNDS):
        for name, script in fresh.items():
            bench.run(script)
            first[name].append(bring(name))
        change_pages([image], pages)
        for name in fresh:
            again[name].append(bring(name))
    return middle(first), middle(again)


def rows() -> list[dict[str, Any]]:
    with bench_hosts() as bench:
        known = {name: shutil.which(peer.program) for name, peer in peers(bench).items()}
        for name in [name for name, path in known.items() if not path]:
            print(f"  {name} is not installed, and left out", file=sys.stderr)
        names = [name for name, path in known.items() if path]
        first, again = measured(bench, names)
    return [
        beside(
            f"image of {IMAGE_MIB} MiB: {what}, beside {name}",
            taken,
            name,
            f"{name}, {REMARKS.get(name, 'no proof')}",
            COMMAND,
        )
        for taken, what in ((first, "first copy"), (again, "1 % of pages changed, found by hash"))
        for name in names
    ]
