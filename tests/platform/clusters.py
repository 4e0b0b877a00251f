"""Grounds for tests of databases: a PostgreSQL cluster on the hosts of the lab, made anew from one template."""

from dataclasses import dataclass

from orchestrator.contracts.authority import Order
from orchestrator.contracts.transport import Transports
from orchestrator.lab.blueprint import PlacedFile
from orchestrator.lab.town import Town
from orchestrator.model.dataset import PostgresCluster
from orchestrator.model.host import Host
from orchestrator.movers.postgres.mover import PostgresMover

BINARIES = "/usr/lib/postgresql/15/bin"
FOLDER = "/var/lib/postgresql"
DATA = f"{FOLDER}/movers"
TEMPLATE = f"{FOLDER}/movers-template"
PASSWORD = "a:b\\c'd e"  # whatever a password may hold must survive its way into the password file
PORT = 5444
HOSTS = ("onprem-a", "dr-a", "cloud-a")

UNIT = """\
[Unit]
Description=PostgreSQL of the movers' tests
[Service]
User=postgres
ExecStart={binaries}/postgres -D {data} -c listen_addresses={address} -c port={port} -c unix_socket_directories={folder}
KillSignal=SIGINT
[Install]
WantedBy=multi-user.target
"""
SETTINGS = """\
wal_level = replica
wal_log_hints = on
max_wal_senders = 10
hot_standby = on
shared_buffers = 16MB
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
wal_retrieve_retry_interval = 200ms
fsync = off
"""


@dataclass
class ClusterGround:
    town: Town
    transports: Transports
    mover: PostgresMover
    cluster: PostgresCluster

    @property
    def source(self) -> Host:
        return self.town.hosts()["onprem-a"]

    @property
    def dr(self) -> Host:
        return self.town.hosts()["dr-a"]

    @property
    def cloud(self) -> Host:
        return self.town.hosts()["cloud-a"]

    def run(self, host: Host, script: str, *, user: str = "postgres", stdin: str = "") -> str:
        words = ["sh", "-ec", script]
        return self.transports(host).run(words, user=user, stdin=stdin.encode(), timeout_seconds=120).text

    def sql(self, host: Host, statement: str, database: str = "filing") -> str:
        folder = host.path(FOLDER)
        return self.run(
            host, f"psql -XAtq -v ON_ERROR_STOP=1 -h {folder} -p {PORT} -U postgres -d {database}", stdin=statement
        )

    def write(self, host: Host, text: str) -> None:
        self.sql(host, f"insert into filings (who) values ('{text}')")

    def rows(self, host: Host) -> list[str]:
        return self.sql(host, "select who from filings order by id").splitlines()

    def obey(self, host: Host, order: Order) -> None:
        folder = host.path("/etc/skerry/fence")
        kept = order.model_dump_json(include={"number", "ticket"})
        self.run(host, f"mkdir -p -m 755 {folder}; cat > {folder}/{order.system}.lifted", user="root", stdin=kept)
        self.run(host, f"touch {folder}/{order.system}.lock", user="root")

    def prepare(self) -> None:
        """Units on every host; the template on the source."""
        for name in HOSTS:
            host = self.town.hosts()[name]
            text = UNIT.format(
                binaries=BINARIES, data=host.path(DATA), address=host.address, port=PORT, folder=host.path(FOLDER)
            )
            self.town.place(name, {"/etc/systemd/system/movers-db.service": PlacedFile(text.encode())})
            folder = host.path(FOLDER)
            owner = "-o postgres -g postgres" if host.become else ""
            # In a lab of one user id nothing can be given away, and nothing needs to be: every user there is that one.
            make = f"install -d {owner} {folder} 2>/dev/null || mkdir -p {folder}"
            self.run(host, f"systemctl daemon-reload; {make}", user="root")
        source = self.source
        template, password = source.path(TEMPLATE), PASSWORD.replace("'", "''")
        initdb = "initdb -k -A trust --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8 -U postgres --no-sync"
        hba = f"host all replicator {source.address.split('.')[0]}.0.0.0/8 scram-sha-256\n"
        self.run(
            source, f"{BINARIES}/{initdb} -D {template} >/dev/null && cat >> {template}/postgresql.conf", stdin=SETTINGS
        )
        self.run(source, f"cat >> {template}/pg_hba.conf", stdin=hba + hba.replace("all", "replication"))
        self.clear()
        self.run(source, f"cp -a {template} {source.path(DATA)}")
        self.mover.start(self.cluster, source)
        self.sql(source, f"create role replicator login replication password '{password}'", "postgres")
        self.sql(source, "create database filing", "postgres")
        self.sql(
            source,
            "create table filings (id bigserial primary key, who text); insert into filings (who) values ('first')",
        )
        self.sql(source, "create table plain (a text, b bytea); insert into plain values ('x', '\\x00ff'), ('y', null)")
        self.mover.shut_down(self.cluster, source)
        self.run(source, f"rm -rf {template} && mv {source.path(DATA)} {template}")

    def fresh(self) -> None:
        """A primary at the source, nothing anywhere else."""
        self.clear()
        self.run(self.source, f"cp -a {self.source.path(TEMPLATE)} {self.source.path(DATA)}")
        self.mover.start(self.cluster, self.source)

    def clear(self, *hosts: Host) -> None:
        """Nothing is left on these hosts, or on any."""
        for host in hosts or [self.town.hosts()[name] for name in HOSTS]:
            script = (
                f"if [ -f {host.path(DATA)}/postmaster.pid ]; then"
                f" {BINARIES}/pg_ctl -D {host.path(DATA)} -m immediate -w stop >/dev/null || true; fi"
            )
            self.run(host, script)
            self.run(host, "systemctl stop movers-db", user="root")
            self.run(host, f"rm -rf {host.path('/etc/skerry/fence')}", user="root")
            self.run(host, f"rm -rf {host.path(DATA)} {host.path(FOLDER)}/.skerry-movers*", user="root")


def make_ground(town: Town, transports: Transports) -> ClusterGround:
    cluster = PostgresCluster(
        name="register",
        data_directory=DATA,
        service="movers-db",
        port=PORT,
        databases=("filing",),
        replication_password="env:UNUSED",
    )
    return ClusterGround(town, transports, PostgresMover(transports, lambda reference: PASSWORD), cluster)
