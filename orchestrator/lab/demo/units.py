"""The units of the demo systems, and the files that belong to them."""

from pathlib import Path

from orchestrator.lab.blueprint import PlacedFile, Unit

PROGRAMS = Path(__file__).parent / "programs"
HOST_ENVIRONMENT = "/etc/skerry/host.env"
APPLICATION_PORT = 8080
DATABASE_DIRECTORY = "/var/lib/postgresql/filing"
DATABASE_PORT = 5432
DATABASE_SOCKETS = "/run/filing-db"
DATABASE_SOCKET = f"{DATABASE_SOCKETS}/.s.PGSQL.{DATABASE_PORT}"
ATTACHMENTS = "/srv/filing/attachments"
DOCUMENTS = "/srv/archive/documents"

LAUNCHER = """#!/usr/bin/python3 -SE
import sys
from pathlib import Path

home = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(home / "lib"))
from demo_programs import {module}

{call}
"""
MAIN = "{module}.main()"
MAIN_WITH_WORDS = "sys.exit({module}.main(sys.argv[1:]))"
CONTROL = 'sys.exit(control.main("{name}", home.parent.parent / "etc/skerry/host.env", sys.argv[1:]))'

FOLDERS_UNIT = """[Unit]
Description=Folders of {system}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/opt/{system}/bin/folders {owner} {folders}
[Install]
WantedBy=multi-user.target
"""
DATABASE_UNIT = f"""[Unit]
Description=PostgreSQL of filing
After=filing-folders.service
[Service]
Type=simple
User=postgres
EnvironmentFile={HOST_ENVIRONMENT}
RuntimeDirectory=filing-db
ExecStartPre=/opt/filing/bin/stale-lock {DATABASE_DIRECTORY}
ExecStart=/usr/lib/postgresql/15/bin/postgres -D {DATABASE_DIRECTORY} -c listen_addresses=${{SKERRY_ADDRESS}} \\
    -c port={DATABASE_PORT} -c unix_socket_directories={DATABASE_SOCKETS}
KillMode=mixed
KillSignal=SIGINT
TimeoutStopSec=60
[Install]
WantedBy=multi-user.target
"""
DATABASE_INIT_UNIT = f"""[Unit]
Description=First making of filing's cluster
[Service]
Type=oneshot
User=postgres
EnvironmentFile={HOST_ENVIRONMENT}
ExecStart=/opt/filing/bin/filing-setup initdb {DATABASE_DIRECTORY} ${{SKERRY_NETWORK}}
"""
FILING_UNIT = f"""[Unit]
Description=Filing, an application that takes tax filings
Requires=filing-db.service
After=filing-db.service
[Service]
Type=simple
EnvironmentFile={HOST_ENVIRONMENT}
Environment=FILING_ATTACHMENTS={ATTACHMENTS} FILING_DATABASE_SOCKET={DATABASE_SOCKET}
ExecStart=/opt/filing/bin/filing-app
TimeoutStopSec=40
[Install]
WantedBy=multi-user.target
"""
ARCHIVE_UNIT = f"""[Unit]
Description=Archive, a file share
After=archive-folders.service
[Service]
Type=simple
EnvironmentFile={HOST_ENVIRONMENT}
EnvironmentFile=-/etc/archive/archive.env
Environment=ARCHIVE_DOCUMENTS={DOCUMENTS}
ExecStart=/opt/archive/bin/archive-app
TimeoutStopSec=40
[Install]
WantedBy=multi-user.target
"""
TRAFFIC_UNIT = """[Unit]
Description=Clients of {system}
[Service]
Type=simple
EnvironmentFile=/etc/traffic/{system}.env
ExecStart=/opt/traffic/bin/traffic run {system}
TimeoutStopSec=20
[Install]
WantedBy=multi-user.target
"""


def filing_units() -> tuple[Unit, ...]:
    """Filing's units for any site; none of them starts by itself but the one that makes folders."""
    files = _programs(
        "filing",
        {
            "filing-app": ("filing_app", MAIN),
            "filingctl": ("control", CONTROL),
            "filing-setup": ("filing_setup", MAIN_WITH_WORDS),
            "stale-lock": ("stale_lock", MAIN_WITH_WORDS),
            "folders": ("folders", MAIN_WITH_WORDS),
        },
    )
    folders = FOLDERS_UNIT.format(system="filing", owner="postgres", folders="/var/lib/postgresql")
    attachments = FOLDERS_UNIT.format(system="filing", owner="root", folders=f"/srv/filing {ATTACHMENTS}")
    return (
        Unit("filing-folders", folders, files, enabled=True),
        Unit("filing-attachments", attachments, enabled=True),
        Unit("filing-db", DATABASE_UNIT),
        Unit("filing-db-init", DATABASE_INIT_UNIT),
        Unit("filing-app", FILING_UNIT),
    )


def archive_units(*, index: str = "ready") -> tuple[Unit, ...]:
    """Archive's units for any site. `index` is what it will say of its index; anything but `ready` fails its check."""
    files = _programs(
        "archive",
        {
            "archive-app": ("archive_app", MAIN),
            "archivectl": ("control", CONTROL),
            "archive-setup": ("archive_setup", MAIN_WITH_WORDS),
            "folders": ("folders", MAIN_WITH_WORDS),
        },
    )
    settings = {"/etc/archive/archive.env": PlacedFile(f"ARCHIVE_INDEX={index}\n".encode())}
    folders = FOLDERS_UNIT.format(system="archive", owner="root", folders=f"/srv/archive {DOCUMENTS}")
    return (
        Unit("archive-folders", folders, {**files, **settings}, enabled=True),
        Unit("archive-share", ARCHIVE_UNIT),
    )


def traffic_units(environments: dict[str, dict[str, str]]) -> tuple[Unit, ...]:
    """One generator per system; `environments` holds what each is told."""
    programs = _programs("traffic", {"traffic": ("traffic", MAIN_WITH_WORDS)})
    units = []
    for system, environment in sorted(environments.items()):
        files = {**programs, f"/etc/traffic/{system}.env": environment_file(environment)}
        units.append(Unit(f"traffic-{system}", TRAFFIC_UNIT.format(system=system), files))
    return tuple(units)


def host_environment(site: str, address: str, network: str) -> dict[str, PlacedFile]:
    """What the units of a host must know of it."""
    known = {
        "SKERRY_SITE": site,
        "SKERRY_ADDRESS": address,
        "SKERRY_PORT": str(APPLICATION_PORT),
        "SKERRY_NETWORK": network,
    }
    return {HOST_ENVIRONMENT: environment_file(known)}


def environment_file(values: dict[str, str]) -> PlacedFile:
    return PlacedFile("".join(f"{name}={value}\n" for name, value in sorted(values.items())).encode())


def _programs(system: str, launchers: dict[str, tuple[str, str]]) -> dict[str, PlacedFile]:
    files = {
        f"/opt/{system}/lib/demo_programs/{path.name}": PlacedFile(path.read_bytes())
        for path in sorted(PROGRAMS.glob("*.py"))
    }
    for name, (module, call) in launchers.items():
        text = LAUNCHER.format(module=module, call=call.format(module=module, name=name))
        files[f"/opt/{system}/bin/{name}"] = PlacedFile(text.encode(), 0o755)
    return files
