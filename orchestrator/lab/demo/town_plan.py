"""The lab's estate: which hosts there are, what runs on them, the cloud beside them, and the clients.

`build` may be called again at any time; it makes what is missing and leaves alone what a move has changed.
"""

import configparser
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.foundation.atomic_file import replace_file
from orchestrator.foundation.errors import LabError
from orchestrator.lab.blueprint import LabHost, PlacedFile, Unit
from orchestrator.lab.cloud import landing_zone, launch
from orchestrator.lab.cloud.images import write_image
from orchestrator.lab.demo import units
from orchestrator.lab.town import Town

REGION = "eu-central-1"
ZONE = "skerry.test"
SYSTEMS = ("filing", "archive")
PORTS = {"filing": units.APPLICATION_PORT, "archive": units.APPLICATION_PORT}
SOURCES = {"filing": "onprem-filing1", "archive": "onprem-archive1"}
CLIENTS = "clients-c1"
ADDRESSES = {
    "onprem-filing1": "10.10.1.11",
    "onprem-archive1": "10.10.1.12",
    "dr-filing1": "10.20.1.11",
    "dr-archive1": "10.20.1.12",
    CLIENTS: "10.99.1.11",
}
# Hosts of the cloud come from RunInstances; the addresses are what the estate asks for.
CLOUD_ADDRESSES = {"cloud-filing1": "10.30.1.11", "cloud-archive1": "10.30.1.12"}
ATTACHMENT_BYTES = 30_000
DOCUMENT_BYTES = 40_000
READY_SECONDS_MAX = 60.0
SEED_SECONDS_MAX = 3600.0
SOCKET_PATH_BYTES_MAX = 107


def build(town: Town, *, filings: int = 2000, documents: int = 1500, traffic_rate_per_second: float = 20.0) -> None:
    """Bring everything up: hosts, cloud, names, both systems with their data. Clients wait for `traffic_start`."""
    _check_paths(town)
    town.up(_hosts(town, traffic_rate_per_second))
    with ThreadPoolExecutor() as together:
        works = [
            together.submit(_set_up_cloud, town),
            together.submit(_set_up_filing, town, filings),
            together.submit(_set_up_archive, town, documents),
        ]
    for work in works:
        work.result()


def _set_up_cloud(town: Town) -> None:
    folder = town.folder / "cloud"
    launch.lay_out(folder)
    write_image(folder / "images", "filing", units.filing_units(), description="filing, as its package brings it")
    # Deliberately broken: after the switch its business check fails, and the way back is walked.
    write_image(folder / "images", "archive", units.archive_units(index="missing"), description="archive, no index")
    _vault_secrets(town)
    endpoint = launch.start_in_town(town, region=REGION)
    launch.control(endpoint, "/_lab/images")
    addresses = {f"{system}.{ZONE}": town.address(ADDRESSES[host]) for system, host in SOURCES.items()}
    landing_zone.lay_out(
        endpoint,
        folder / "credentials",
        region=REGION,
        network=town.address("10.30.0.0") + "/16",
        subnet=town.address("10.30.1.0") + "/24",
        zone=ZONE,
        names=addresses,
    )


def traffic_start(town: Town) -> None:
    """Clients begin, or go on."""
    for system in SYSTEMS:
        town.run_inside(CLIENTS, ["systemctl", "start", f"traffic-{system}"])


def traffic_stop(town: Town) -> None:
    """Clients end; what they were told stays in their journals."""
    for system in SYSTEMS:
        town.run_inside(CLIENTS, ["systemctl", "stop", f"traffic-{system}"])


def traffic_report(
    town: Town, *, from_time: float | None = None, to_time: float | None = None
) -> dict[str, dict[str, Any]]:
    """By system: acknowledged, lost, lost_ids, duplicates_differing, longest_gap_seconds, gap_from, gap_to, by_site.

    The live side is the one that the front name points at. Times are Unix seconds, the clients' own.
    """
    window = [f"--from={from_time}"] if from_time is not None else []
    window += [f"--to={to_time}"] if to_time is not None else []
    reports = {}
    for system in SYSTEMS:
        program = town.hosts()[CLIENTS].path("/opt/traffic/bin/traffic")
        result = town.run_inside(
            CLIENTS,
            [program, "report", system, *window],
            environment=_traffic_environment(town, system, 0.0, prefix=town.hosts()[CLIENTS].path_prefix),
            timeout_seconds=300,
            check=False,
        )
        try:
            reports[system] = json.loads(result.stdout)
        except ValueError:
            raise LabError(f"clients of {system}: {result.stderr.decode(errors='replace').strip()}") from None
        if "error" in reports[system]:
            raise LabError(f"clients of {system}: the live side does not answer: {reports[system]['error']}")
    return reports


def status(town: Town) -> dict[str, Any]:
    """The town's status, and for each system what its front says and whether clients are at work."""
    told = town.status()
    if not told["up"]:
        return told
    running = {row["name"] for row in told["hosts"]}
    systems = {}
    if CLIENTS in running:
        for system in SYSTEMS:
            active = town.run_inside(CLIENTS, ["systemctl", "is-active", f"traffic-{system}"], check=False).text
            systems[system] = {"front": f"{system}.{ZONE}", "traffic": active}
    endpoint = town.folder / "cloud" / "endpoint"
    known = endpoint.read_text().strip() if endpoint.exists() else ""
    cloud = {"endpoint": known, "answers": bool(known) and launch.answers(known)}
    return {**told, "systems": systems, "cloud": cloud}


def replicator_password(town: Town) -> Path:
    """The file with the replicator's password; made where there is none."""
    return _secret(town, "replicator", secrets.token_urlsafe(24))


def _vault_secrets(town: Town) -> None:
    """What the vault of the lab's inventory refers to: the password of the copies, and the keys of the bucket."""
    written = configparser.ConfigParser(interpolation=None)
    written.read(town.folder / "cloud" / "credentials")
    _secret(town, "vault_password", secrets.token_urlsafe(24))
    _secret(town, "vault_access_key", written["default"]["aws_access_key_id"])
    _secret(town, "vault_secret_key", written["default"]["aws_secret_access_key"])


def _secret(town: Town, name: str, value: str) -> Path:
    """The file with a secret; where it is there already it keeps its value."""
    path = town.folder / "secrets" / name
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, value.encode() + b"\n", mode=0o600)
    return path


# -- hosts


def _hosts(town: Town, traffic_rate_per_second: float) -> list[LabHost]:
    hosts = []
    for name, address in ADDRESSES.items():
        site = name.split("-", 1)[0]
        if name == CLIENTS:
            told = {system: _traffic_environment(town, system, traffic_rate_per_second) for system in SYSTEMS}
            hosts.append(LabHost(name, "clients", address, services=units.traffic_units(told)))
            continue
        services = units.filing_units() if "filing" in name else units.archive_units()
        first, *rest = services
        environment = units.host_environment(site, town.address(address), site_networks(town))
        with_environment = Unit(first.name, first.text, {**first.files, **environment}, first.enabled)
        hosts.append(LabHost(name, site, address, services=(with_environment, *rest)))
    return hosts


def site_networks(town: Town) -> str:
    """The network that all sites lie in."""
    return "127.0.0.0/8" if town.kind == "loopback" else "10.0.0.0/8"


def _traffic_environment(town: Town, system: str, rate_per_second: float, *, prefix: str = "") -> dict[str, str]:
    return {
        "TRAFFIC_NAME": f"{system}.{ZONE}",
        "TRAFFIC_PORT": str(PORTS[system]),
        "TRAFFIC_DNS": town.controller_address,
        "TRAFFIC_DNS_PORT": str(launch.dns_port(town)),
        "TRAFFIC_RATE": f"{rate_per_second:g}",
        "TRAFFIC_JOURNAL": f"{prefix}/var/lib/traffic/{system}/journal.jsonl",
    }


def _check_paths(town: Town) -> None:
    """On loopback the database's socket lies below the lab's folder, and socket paths are short."""
    path = town.path_on_machine("onprem-filing1", units.DATABASE_SOCKET)
    if town.kind == "loopback" and len(str(path)) > SOCKET_PATH_BYTES_MAX:
        raise LabError(
            f"{town.folder} is too deep for a lab on loopback: the path of a socket below it has more than "
            f"{SOCKET_PATH_BYTES_MAX} bytes",
            hint="Choose a shorter SKERRY_HOME.",
        )


# -- systems


def _set_up_filing(town: Town, filings: int) -> None:
    name = SOURCES["filing"]
    host = town.hosts()[name]
    if _is_done(town, name):
        return
    setup, socket = host.path("/opt/filing/bin/filing-setup"), host.path(units.DATABASE_SOCKET)
    for unit in ("filing-folders", "filing-attachments", "filing-db-init", "filing-db"):
        town.run_inside(name, ["systemctl", "start", unit])
    password = replicator_password(town).read_bytes()
    _until_it_works(town, name, [setup, "schema", socket], stdin=password)
    words = [setup, "seed", socket, str(filings), str(ATTACHMENT_BYTES), host.path(units.ATTACHMENTS)]
    town.run_inside(name, words, timeout_seconds=SEED_SECONDS_MAX)
    town.run_inside(name, ["systemctl", "enable", "filing-db", "filing-app"])
    town.run_inside(name, ["systemctl", "start", "filing-app"])
    _await_port(town, name)
    _mark_done(town, name)


def _set_up_archive(town: Town, documents: int) -> None:
    name = SOURCES["archive"]
    host = town.hosts()[name]
    if _is_done(town, name):
        return
    town.run_inside(name, ["systemctl", "start", "archive-folders"])
    words = ["seed", str(documents), str(DOCUMENT_BYTES), host.path(units.DOCUMENTS)]
    town.run_inside(name, [host.path("/opt/archive/bin/archive-setup"), *words], timeout_seconds=SEED_SECONDS_MAX)
    town.run_inside(name, ["systemctl", "enable", "archive-share"])
    town.run_inside(name, ["systemctl", "start", "archive-share"])
    _await_port(town, name)
    _mark_done(town, name)


DONE_MARK = "/var/lib/skerry-lab-set-up"


def _is_done(town: Town, name: str) -> bool:
    """Once a system was set up, its place is the estate's business: a move may have stopped it here on purpose."""
    path = town.hosts()[name].path(DONE_MARK)
    return town.run_inside(name, ["test", "-e", path], check=False).exit_code == 0


def _mark_done(town: Town, name: str) -> None:
    town.place(name, {DONE_MARK: PlacedFile(b"")})


def _until_it_works(town: Town, name: str, words: list[str], *, stdin: bytes) -> None:
    until = time.monotonic() + READY_SECONDS_MAX
    while True:
        result = town.run_inside(name, words, stdin=stdin, check=False)
        if result.exit_code == 0:
            return
        if time.monotonic() > until:
            raise LabError(f"{name}: {words[1]}: {result.stderr.decode(errors='replace').strip()[-1000:]}")
        time.sleep(0.1)


def _await_port(town: Town, name: str) -> None:
    until = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            town.connect(name, units.APPLICATION_PORT).close()
        except LabError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return
