"""Tells what a machine uses while it is looked at, second by second, as one JSON object. Sent to the host; only looks.

Usage: python3 - REQUEST, a JSON object:
  seconds          how long it is looked at
  paths            whose file systems count as its disk
"""

import json
import os
import platform
import re
import sys
import time

SECTOR_BYTES = 512
DISK = re.compile(r"(sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme\d+n\d+|dasd[a-z]+)$")  # whole disks: partitions would count twice
CPU_BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq; see proc(5)


def main() -> int:
    asked = json.loads(sys.argv[1])
    until = time.monotonic() + asked["seconds"]
    cpus, rates, memory = [0.0], [0.0], [memory_used()]
    before = counters()
    while True:
        time.sleep(min(1.0, max(0.05, until - time.monotonic())))
        now = counters()
        seconds = now[0] - before[0]
        cpus.append(min((now[1] - before[1]) / seconds, os.cpu_count() or 1))  # ticks are coarser than the clock
        rates.append((now[2] - before[2]) / seconds)
        memory.append(memory_used())
        before = now
        if now[0] >= until:
            break
    used: dict[int, int] = {}
    for path in asked["paths"]:
        place = existing(path)
        held = os.statvfs(place)
        used[os.stat(place).st_dev] = (held.f_blocks - held.f_bfree) * held.f_frsize
    answer = {
        "vcpus_busy": max(cpus),
        "memory_bytes": max(memory),
        "disk_bytes_per_second": max(rates),
        "disk_bytes": sum(used.values()),
        "architecture": platform.machine(),
    }
    print("result " + json.dumps(answer))
    return 0


def existing(path: str) -> str:
    """The nearest folder above that is there."""
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
    return path or "/"


def counters() -> tuple[float, float, float]:
    """(now, seconds of all processors that were busy, bytes that disks read and wrote), each since some moment."""
    ticks = [int(word) for word in lines_of("/proc/stat")[0].split()[1:]]
    busy = sum(ticks[number] for number in CPU_BUSY) / os.sysconf("SC_CLK_TCK")
    rows = [line.split() for line in lines_of("/proc/diskstats")]
    sectors = sum(int(row[5]) + int(row[9]) for row in rows if DISK.match(row[2]))
    return time.monotonic(), busy, float(sectors * SECTOR_BYTES)


def memory_used() -> int:
    """What could not be given to somebody else: all but what the kernel says is available."""
    known = dict(line.split(":", 1) for line in lines_of("/proc/meminfo") if ":" in line)
    return (int(known["MemTotal"].split()[0]) - int(known["MemAvailable"].split()[0])) * 1024


def lines_of(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read().splitlines()


if __name__ == "__main__":
    sys.exit(main())
