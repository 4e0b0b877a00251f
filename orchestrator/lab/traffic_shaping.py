"""Lines between sites made slow, lossy, late or cut: from the list of faults to rules of the lab's router.

All rules are made anew at every change, so what is in force is what the list says. Traffic of the lab's controller
(to and from a site's own router address) stays out of it, except under a rate for the whole site.
"""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.foundation.errors import LabError
from orchestrator.lab.blueprint import SITE_OCTETS, network_of, router_of
from orchestrator.lab.faults import Fault
from orchestrator.lab.machine import SYSTEM_PATH, SYSTEM_PYTHON, missing_packages

PARTITION_RULE_PRIORITY = 100
UNLIMITED_MEGABIT = 100_000
PUMP_START_SECONDS_MAX = 5.0


class Run(Protocol):
    def __call__(self, words: Sequence[str], *, stdin: str = "") -> str: ...


class Shaping:
    """The router's rules. Needs the plumbing that the ground of namespaces makes: gw-SITE, bq-SITE, br-SITE."""

    def __init__(self, run: Run, start_pump: Callable[[Sequence[str]], "subprocess.Popen[bytes]"]) -> None:
        self._run = run
        self._start_pump = start_pump
        self._partitions: set[tuple[str, ...]] = set()
        self._losses: dict[tuple[str, ...], float] = {}
        self._rates: dict[tuple[str, ...], float] = {}
        self._latencies: dict[str, float] = {}
        self._pumps: dict[str, subprocess.Popen[bytes]] = {}

    def apply(self, faults: Sequence[Fault]) -> None:
        """Make these faults so, and no others."""
        partitions = {fault.where for fault in faults if fault.kind == "partition"}
        losses = {fault.where: fault.amount for fault in faults if fault.kind == "loss"}
        rates = {fault.where: fault.amount for fault in faults if fault.kind in ("rate", "site-rate")}
        latencies = {fault.where[0]: fault.amount for fault in faults if fault.kind == "latency"}
        self._set_partitions(partitions)
        if losses != self._losses:
            self._set_losses(losses)
        if rates != self._rates:
            self._set_rates(rates)
        for site in SITE_OCTETS:
            if latencies.get(site) != self._latencies.get(site):
                self._set_latency(site, latencies.get(site, 0.0))

    def _set_partitions(self, wanted: set[tuple[str, ...]]) -> None:
        for pairs, verb in ((wanted - self._partitions, "add"), (self._partitions - wanted, "del")):
            for one, other in pairs:
                # By the leg a packet comes in on: what the lab itself sends comes in on none.
                for source, target in ((one, other), (other, one)):
                    rule = ["iif", f"gw-{source}", "to", network_of(target), "blackhole"]
                    self._run(["ip", "rule", verb, "pref", str(PARTITION_RULE_PRIORITY), *rule])
        self._partitions = wanted

    def _set_losses(self, wanted: dict[tuple[str, ...], float]) -> None:
        if shutil.which("nft", path=SYSTEM_PATH) is None:
            raise missing_packages({"nft": "nftables"})
        rules = "".join(
            f"  iifname gw-{source} oifname gw-{target} numgen random mod 1000 < {min(permille, 1000):.0f} drop\n"
            for (one, other), permille in wanted.items()
            for source, target in ((one, other), (other, one))
        )
        chain = f" chain forward {{\n  type filter hook forward priority 0; policy accept;\n{rules} }}\n"
        anew = f"add table inet lab\ndelete table inet lab\ntable inet lab {{\n{chain}}}\n"
        self._run(["nft", "-f", "-"], stdin=anew)
        self._losses = wanted

    def _set_rates(self, wanted: dict[tuple[str, ...], float]) -> None:
        if shutil.which("tc", path=SYSTEM_PATH) is None:
            raise missing_packages({"tc": "iproute2"})
        for site in SITE_OCTETS:
            limits = limits_towards(site, wanted)
            device = f"gw-{site}"
            if any(site in where for where in self._rates):
                self._run(["tc", "qdisc", "del", "dev", device, "root"])
            if not limits:
                continue
            lines = [f"qdisc add dev {device} root handle 1: htb default 1"]
            lines += [f"class add dev {device} parent 1: classid 1:1 htb rate {UNLIMITED_MEGABIT}mbit"]
            for number, (source, megabit) in enumerate(sorted(limits.items(), reverse=True), start=2):
                # In reverse, so that 0.0.0.0/0 comes last: the first filter that matches decides.
                # A short queue: a long one would turn a slow line into a late one.
                lines += [
                    f"class add dev {device} parent 1: classid 1:{number} htb rate {megabit:g}mbit burst 64k",
                    f"qdisc add dev {device} parent 1:{number} bfifo limit 256k",
                    f"filter add dev {device} parent 1: protocol ip u32 match ip src {source} flowid 1:{number}",
                ]
            self._run(["tc", "-b", "-"], stdin="\n".join(lines) + "\n")
        self._rates = wanted

    def _set_latency(self, site: str, milliseconds: float) -> None:
        """By a program between the router's leg and the site's bridge: netem is in few kernels of small machines."""
        pump = self._pumps.pop(site, None)
        if pump is not None:
            pump.kill()
            pump.wait()
            if pump.stdout is not None:
                pump.stdout.close()
            self._run(["ip", "-b", "-"], stdin=f"link del nb-{site}\nlink set bq-{site} master br-{site}\n")
        self._latencies.pop(site, None)
        if not milliseconds:
            return
        lines = [f"link add nb-{site} type veth peer name nq-{site}", f"link set nq-{site} master br-{site} up"]
        lines += [f"link set nb-{site} up", f"link set bq-{site} nomaster"]
        self._run(["ip", "-b", "-"], stdin="\n".join(lines) + "\n")
        program = str(Path(__file__).with_name("latency_pump.py"))
        words = [SYSTEM_PYTHON, "-S", "-E", "-B", program, f"bq-{site}", f"nb-{site}", str(milliseconds)]
        pump = self._start_pump([*words, router_of(site)])
        self._pumps[site] = pump
        self._latencies[site] = milliseconds
        if pump.stdout is None or pump.stdout.readline() != b"ready\n":
            self._set_latency(site, 0.0)
            raise LabError(f"latency for {site} could not be made: {program} ended; see daemon.log")


def limits_towards(site: str, rates: dict[tuple[str, ...], float]) -> dict[str, float]:
    """Source network → megabit per second, for what the router sends into `site`. The lowest of several rates holds."""
    found: dict[str, float] = {}
    for where, megabit in rates.items():
        if where == (site,):
            sources = [other for other in SITE_OCTETS if other != site]
        elif len(where) == 1:
            sources = [where[0]]
        elif site in where:
            sources = [other for other in where if other != site]
        else:
            continue
        if len(where) == 1 and site == where[0]:
            sources = ["*"]
        for source in sources:
            network = "0.0.0.0/0" if source == "*" else network_of(source)
            found[network] = min(megabit, found.get(network, megabit))
    return found
