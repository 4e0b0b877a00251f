"""What must fit before a standby is made: asked at both hosts, compared before the first byte is copied."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.foundation.errors import NoSpace, SourceShrank, VersionMismatch
from orchestrator.movers.postgres.cluster_host import ClusterHost

# PostgreSQL refuses to replay where one of these is smaller than it was at the primary.
AT_LEAST = (
    "max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions",
    "max_locks_per_transaction",
)  # fmt: skip
COMPILED_IN = {"block_size": "block size", "wal_block_size": "WAL block size", "segment_size": "segment size"}
# Both data directories of one system must agree in these; pg_controldata's names.
CONTROL = {
    "pg_control version number": "control file version",
    "Catalog version number": "catalog version",
    "Maximum data alignment": "data alignment",
    "Database block size": "block size",
    "Blocks per segment of large relation": "segment size",
    "WAL block size": "WAL block size",
    "Bytes per WAL segment": "WAL segment size",
    "Data page checksum version": "data checksums",
}
BACKUP_SENDERS = 2  # pg_basebackup holds one connection for the data and one for the log
_EVERYWHERE = {"c", "posix", "c.utf8"}

_SERVER = (
    "select 'version|' || current_setting('server_version_num');"
    "select 'setting|' || name || '|' || setting from pg_settings where name in ("
    "'wal_level', 'data_checksums', 'block_size', 'wal_block_size', 'segment_size', 'wal_segment_size',"
    " 'max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',"
    " 'max_locks_per_transaction', 'max_replication_slots', 'config_file', 'data_directory',"
    " 'shared_preload_libraries');"
    "select 'used|max_wal_senders|' || count(*) from pg_stat_replication;"
    "select 'used|max_replication_slots|' || count(*) from pg_replication_slots where slot_name <> :'slot';"
    "select 'tablespace|' || oid || '|' || spcname || '|' || pg_tablespace_location(oid) from pg_tablespace"
    " where spcname not in ('pg_default', 'pg_global');"
    "select 'locale|' || datcollate from pg_database where datlocprovider = 'c'"
    " union select 'locale|' || datctype from pg_database;"
    "select distinct 'collation|' || datlocprovider::text from pg_database"
    " where pg_database_collation_actual_version(oid) is not null;"
    "select 'bytes|' || coalesce(sum(pg_database_size(oid)), 0) from pg_database;"
    "select 'database|' || datname from pg_database where datallowconn and datname <> 'template0';"
)
# Of each database: what its files refer to outside of themselves. Objects that came with the server need no look.
_DATABASE = (
    "select 'extension|' || extname || '|' || extversion from pg_extension where extname <> 'plpgsql';"
    "select distinct 'library|' || probin from pg_proc where oid >= 16384 and probin is not null;"
    "select distinct 'collation|' || c.collprovider::text from pg_collation c"
    " where c.collprovider in ('c', 'i') and pg_collation_actual_version(c.oid) is not null"
    " and exists (select from pg_attribute a where a.attcollation = c.oid and a.attrelid >= 16384);"
)
# $1 binaries, $2 where the data directory will be, $3 a configuration outside of it or nothing; then
# `library:NAME` and `extension:NAME:VERSION`.
_PROBE = """\
binaries=$1 data=$2 config=$3; shift 3
echo "version|$("$binaries/postgres" --version)"
echo "machine|$(uname -m)"
echo "collation_c|$(getconf GNU_LIBC_VERSION)"
echo "collation_i|$(ldd "$binaries/postgres" | sed -n 's/.*libicui18n[.]so[.]\\([0-9]*\\).*/ICU \\1/p' | head -n 1)"
bare=$(mktemp -d) && : >"$bare/postgresql.conf"
for name in block_size wal_block_size segment_size; do
  echo "setting|$name|$("$binaries/postgres" -D "$bare" -C "$name" 2>/dev/null)"
done
rm -rf "$bare"
if [ -n "$config" ] && [ -r "$config" ]; then
  echo "config|$config"
  for name in AT_LEAST; do
    echo "setting|$name|$("$binaries/postgres" -D "${config%/*}" -C "$name" 2>/dev/null)"
  done
fi
parent=$data
while [ ! -d "$parent" ]; do parent=${parent%/*}; [ -n "$parent" ] || parent=/; done
echo "free|$(df -P -k "$parent" | sed -n 2p | tr -s ' ' | cut -d ' ' -f 4)"
locale -a | sed 's/^/locale|/'
lib=$("$binaries/pg_config" --pkglibdir) share=$("$binaries/pg_config" --sharedir)/extension
for each; do
  kind=${each%%:*} name=${each#*:}
  case $kind in
    library)
      case $name in /*) path=$name ;; *) path=$lib/${name#'$libdir/'} ;; esac
      [ -e "$path" ] || [ -e "$path.so" ] || echo "no_library|$name" ;;
    extension)
      version=${name#*:} name=${name%%:*}
      if [ -e "$share/$name--$version.sql" ] || ls "$share/$name"--*"--$version.sql" >/dev/null 2>&1; then :; else
        echo "no_extension|$name|$version|$(sed -n "s/^default_version *= *'\\(.*\\)'.*/\\1/p" "$share/$name.control")"
      fi ;;
  esac
done
""".replace("AT_LEAST", " ".join(AT_LEAST))


@dataclass(frozen=True)
class Tablespace:
    """One that lies outside of the data directory. `location` is its folder at the host that was asked."""

    oid: str
    name: str
    location: str


@dataclass
class UpstreamFacts:
    """What a running server says of itself, and its machine of its programs."""

    host: str
    major: int = 0
    machine: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    tablespaces: list[Tablespace] = field(default_factory=list)
    locales: set[str] = field(default_factory=set)
    # By provider (`c` the C library, `i` ICU): the version that sorts text which an index may depend on.
    collations: dict[str, str] = field(default_factory=dict)
    extensions: set[tuple[str, str]] = field(default_factory=set)
    libraries: set[str] = field(default_factory=set)
    bytes_total: int = 0

    @property
    def configuration_elsewhere(self) -> str:
        """The configuration file where it is outside of the data directory, so that no base backup brings it."""
        file, data = self.settings["config_file"], self.settings["data_directory"]
        return "" if file.startswith(data.rstrip("/") + "/") else file


@dataclass
class StandbyFacts:
    """What the machine of a standby that is yet to be made has."""

    host: str
    version: str = ""
    machine: str = ""
    configuration: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    locales: set[str] = field(default_factory=set)
    collations: dict[str, str] = field(default_factory=dict)
    libraries_missing: list[str] = field(default_factory=list)
    extensions_missing: list[tuple[str, str, str]] = field(default_factory=list)  # name, version wanted, default there
    bytes_free: int | None = None


Misfit = tuple[str, str]  # what differs, with both values; what to do


def check_fit(upstream: ClusterHost, standby: ClusterHost, slot: str) -> list[Tablespace]:
    """Raise VersionMismatch with everything that does not fit, or NoSpace; give the tablespaces that are to be moved.

    `slot` is the standby's own slot: it is not counted as taken.
    """
    facts = ask_upstream(upstream, slot)
    there = ask_standby(standby, facts, path_at(upstream, standby, facts.configuration_elsewhere))
    name = standby.cluster.name
    found = misfits(facts, there)
    if found:
        message = "\n".join(f"{name}: {what}" for what, _ in found)
        raise VersionMismatch(message, hint=" ".join(dict.fromkeys(remedy for _, remedy in found)))
    if not facts.tablespaces and there.bytes_free is not None and there.bytes_free < facts.bytes_total:
        raise NoSpace(
            f"{there.host}: {name} has {facts.bytes_total} bytes at {facts.host}, and {there.bytes_free} are free"
        )
    return facts.tablespaces


def path_at(upstream: ClusterHost, standby: ClusterHost, path: str) -> str:
    """A path that the upstream's server names, as the standby's machine calls it."""
    prefix = upstream.host.path_prefix
    plain = path.removeprefix(prefix) if prefix and path.startswith(prefix + "/") else path
    return standby.host.path(plain) if plain else ""


def ask_upstream(upstream: ClusterHost, slot: str) -> UpstreamFacts:
    facts = UpstreamFacts(upstream.host.name)
    databases: list[str] = []
    rows = upstream.sql_when_up(f"\\set slot '{slot}'\n{_SERVER}").splitlines()
    while rows:
        key, *values = rows.pop(0).split("|")
        match key:
            case "version":
                facts.major = int(values[0]) // 10000
            case "setting":
                facts.settings[values[0]] = values[1]
            case "used":
                facts.used[values[0]] = int(values[1])
            case "tablespace":
                facts.tablespaces.append(Tablespace(values[0], values[1], "|".join(values[2:])))
            case "locale":
                facts.locales.add(values[0])
            case "collation":
                facts.collations[values[0]] = ""
            case "bytes":
                facts.bytes_total = int(values[0])
            case "extension":
                facts.extensions.add((values[0], values[1]))
            case "library":
                facts.libraries.add(values[0])
            case "database":
                databases.append("|".join(values))
                rows += upstream.sql(_DATABASE, database=databases[-1]).splitlines()
    preloaded = facts.settings.get("shared_preload_libraries", "").split(",")
    facts.libraries |= {name.strip().strip('"') for name in preloaded if name.strip()}
    machine = _probe(upstream, [])
    facts.machine = machine.machine
    facts.collations = {provider: machine.collations.get(provider, "") for provider in facts.collations}
    return facts


def ask_standby(standby: ClusterHost, upstream: UpstreamFacts, configuration: str) -> StandbyFacts:
    wanted = [f"library:{name}" for name in sorted(upstream.libraries)]
    wanted += [f"extension:{name}:{version}" for name, version in sorted(upstream.extensions)]
    return _probe(standby, wanted, configuration)


def _probe(cluster: ClusterHost, wanted: Sequence[str], configuration: str = "") -> StandbyFacts:
    words = ["sh", "-c", _PROBE, "probe", cluster.binaries, cluster.data, configuration, *wanted]
    facts = StandbyFacts(cluster.host.name)
    for line in cluster.run(words).text.splitlines():
        key, *values = line.split("|")
        match key:
            case "version":
                facts.version = values[0].removeprefix("postgres (PostgreSQL) ")
            case "machine":
                facts.machine = values[0]
            case "collation_c" | "collation_i":
                facts.collations[key[-1]] = values[0]
            case "setting":
                facts.settings[values[0]] = values[1]
            case "config":
                facts.configuration = values[0]
            case "free":
                facts.bytes_free = int(values[0]) * 1024 if values[0].isdigit() else None
            case "locale":
                facts.locales.add(values[0])
            case "no_library":
                facts.libraries_missing.append(values[0])
            case "no_extension":
                facts.extensions_missing.append((values[0], values[1], values[2]))
    return facts


def misfits(upstream: UpstreamFacts, standby: StandbyFacts) -> list[Misfit]:
    """Everything that would keep the standby from working, or from being right. Pure."""
    here, there = upstream.host, standby.host
    if not standby.version:
        return [(f"{there} has no PostgreSQL, {here} runs {upstream.major}", f"Install PostgreSQL {upstream.major}.")]
    found: list[Misfit] = []
    if standby.version.split(".")[0] != str(upstream.major):
        remedy = f"Install PostgreSQL {upstream.major} on {there}; a standby is of the primary's major version."
        found.append((f"{here} runs PostgreSQL {upstream.major}, {there} has {standby.version}", remedy))
    if standby.machine != upstream.machine:
        remedy = f"Take a host of {upstream.machine} for the standby, or move the data by dump and restore."
        found.append((f"{here} is {upstream.machine}, {there} is {standby.machine}", remedy))
    return [
        *found,
        *_settings(upstream, standby),
        *_text(upstream, standby),
        *_missing(upstream, standby),
        *_places(upstream),
    ]


def _settings(upstream: UpstreamFacts, standby: StandbyFacts) -> Iterable[Misfit]:
    here, there = upstream.host, standby.host
    settings = upstream.settings
    for name, title in COMPILED_IN.items():
        if standby.settings.get(name) != settings[name]:
            remedy = f"Install a PostgreSQL on {there} that is built as the one of {here} is."
            values = f"{settings[name]} at {here}, {standby.settings.get(name) or 'unknown'} at {there}"
            yield f"{title} is {values}", remedy
    if settings["wal_level"] == "minimal":
        remedy = f"Set wal_level to replica on {here} and restart its server."
        yield f"wal_level is minimal at {here}; a standby at {there} needs replica or logical", remedy
    for name, needed in (("max_wal_senders", BACKUP_SENDERS), ("max_replication_slots", 1)):
        limit, used = int(settings[name]), upstream.used.get(name, 0)
        if limit - used < needed:
            remedy = f"Raise {name} on {here} and restart its server."
            yield f"{name} is {limit} at {here}, {used} are taken; {there} needs {needed}", remedy
    file = upstream.configuration_elsewhere
    if file and not standby.configuration:
        remedy = f"Put the configuration of the unit on {there}, with values no smaller than those of {here}."
        yield f"{here} reads {file}, outside of its data directory; {there} has no such file", remedy
    for name in AT_LEAST if file and standby.configuration else ():
        value = standby.settings.get(name, "")
        if not value.isdigit() or int(value) < int(settings[name]):
            remedy = f"Raise {name} in {standby.configuration} on {there}."
            yield f"{name} is {settings[name]} at {here}, {value or 'unknown'} at {there}", remedy


def _text(upstream: UpstreamFacts, standby: StandbyFacts) -> Iterable[Misfit]:
    here, there = upstream.host, standby.host
    known = {plain_locale(value) for value in standby.locales} | _EVERYWHERE
    for value in sorted(upstream.locales):
        if value and plain_locale(value) not in known:
            yield f"{here} uses the locale {value}, {there} lacks it", f"Install the locale {value} on {there}."
    for provider, version in sorted(upstream.collations.items()):
        other = standby.collations.get(provider, "")
        if other != version:
            values = f"{version or 'an unknown version'} at {here}, {other or 'an unknown version'} at {there}"
            remedy = (
                f"Take the operating system release of {here} for {there}: indexes on text would be in the wrong"
                " order there. Or move the data by dump and restore."
            )
            yield f"text is sorted by {values}", remedy


def _missing(upstream: UpstreamFacts, standby: StandbyFacts) -> Iterable[Misfit]:
    here, there = upstream.host, standby.host
    for name, version, other in standby.extensions_missing:
        has = f"has {other}" if other else "lacks it"
        yield f"{here} uses the extension {name} {version}, {there} {has}", f"Install {name} {version} on {there}."
    for name in standby.libraries_missing:
        remedy = f"Install on {there} the package that holds {name}."
        yield f"{here} uses the library {name}, {there} lacks it", remedy


def _places(upstream: UpstreamFacts) -> Iterable[Misfit]:
    data = upstream.settings["data_directory"].rstrip("/")
    for space in upstream.tablespaces:
        if not space.location.startswith("/") or f"{space.location}/".startswith(f"{data}/"):
            remedy = f"Move it out: ALTER TABLESPACE cannot, so make a new one on {upstream.host} and move its tables."
            yield f"the tablespace {space.name} lies within the data directory ({space.location or 'in place'})", remedy


def refuse_another_cluster(upstream: ClusterHost, standby: ClusterHost) -> None:
    """Raise SourceShrank where the replica is of another cluster than the source has.

    One that was made anew, because a disk is not mounted, must not take the place of all that was replicated.
    """
    key = "Database system identifier"
    if standby.control()[key] != upstream.control()[key]:
        raise SourceShrank(
            f"{standby.cluster.name}: {upstream.host.name} has another cluster (system identifier "
            f"{upstream.control()[key]}) than {standby.host.name} is a replica of ({standby.control()[key]})",
            hint=f"See that every disk is mounted at {upstream.host.name}. If its cluster was made anew on purpose, "
            f"remove {standby.data} on {standby.host.name}, then run the same command again. Nothing was copied.",
        )


def compare_control(upstream: ClusterHost, standby: ClusterHost) -> None:
    """Raise VersionMismatch where the data directories of one system differ in what cannot be replicated."""
    found = control_misfits(upstream.control(), standby.control())
    if found:
        here, there, name = upstream.host.name, standby.host.name, standby.cluster.name
        lines = [f"{name}: {title} is {one} at {here}, {other} at {there}" for title, one, other in found]
        hint = (
            f"Make both alike (pg_checksums on the stopped one), or remove {standby.data} on {there} to copy it anew."
        )
        raise VersionMismatch("\n".join(lines), hint=hint)


def control_misfits(upstream: Mapping[str, str], standby: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(what, value at the upstream, value at the standby) of two control files of one system. Pure."""
    return [
        (title, upstream.get(key, "unknown"), standby.get(key, "unknown"))
        for key, title in CONTROL.items()
        if upstream.get(key) != standby.get(key)
    ]


def plain_locale(name: str) -> str:
    return name.lower().replace("-", "")
