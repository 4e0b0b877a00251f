"""AccountWrites and WeighWindow: what a person must know before choosing whether to go on or back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from orchestrator.contracts.drivers import Drivers
from orchestrator.contracts.handler import Deed, Emit
from orchestrator.contracts.progress import Progress, ProgressSink
from orchestrator.contracts.trees import PartedFile
from orchestrator.foundation.errors import OrchestratorError
from orchestrator.model.action import AccountWrites, WeighWindow
from orchestrator.model.dataset import FileTree, PostgresCluster
from orchestrator.model.host import Host
from orchestrator.model.outcome import Outcome, Probe
from orchestrator.model.site import Side
from orchestrator.steps.asked import asked
from orchestrator.steps.meetings import last_meeting
from orchestrator.steps.places import checks_of, clusters, host_at
from orchestrator.steps.playing import Player, variables
from orchestrator.steps.still_data import StillData, StillDataMover, still_data

PATHS_COUNTED_MAX = 1000
PATHS_NAMED_MAX = 20
FILES_TOLD = {
    "only": "only at {at}",
    "changed": "changed at {at}",
    "changed_both": "changed at both",
    "changed_unknown": "different, changed nobody knows where",
    "changed_beside": "changed at {beside}",
    "beside_only": "only at {beside}",
}
BESIDE = ("changed_beside", "beside_only")  # nothing that is here goes with them


@dataclass(frozen=True)
class AccountWritesHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT  # it only looks, and a gate judges what it saw

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, AccountWrites)
        account = account_writes(self.drivers, deed, action.at, action.beside, progress, emit)
        emit("writes.accounted", account)
        return Outcome.done(account_text(account), **account)


def account_text(account: dict[str, Any]) -> str:
    """The account in one sentence: what was counted, and of which datasets nobody knows."""
    datasets = account["datasets"]
    parts = []
    if any("transactions" in found for found in datasets.values()):
        parts.append(f"{account['bytes']} bytes of database log, {account['transactions']} transactions")
    if any("paths" in found for found in datasets.values()):
        parts.append(f"{account['paths']}{' or more' if account['more'] else ''} files{_whose(account)}")
    if any("ranges" in found for found in datasets.values()):
        parts.append(f"{sum(found.get('ranges', 0) for found in datasets.values())} ranges of volumes")
    if unknown := [name for name, found in datasets.items() if "unknown" in found]:
        parts.append(f"of {', '.join(unknown)} nobody knows how much")
    told = f"only at {account['at']}, not at {account['beside']}: {', '.join(parts) or 'nothing'}"
    elsewhere = _kinds_told(account, BESIDE)
    return told + (f"; of files, {', '.join(elsewhere)}" if elsewhere else "")


def _whose(account: dict[str, Any]) -> str:
    """How many of the files are of which kind, with their bytes; empty where there are none."""
    told = _kinds_told(account, [kind for kind in FILES_TOLD if kind not in BESIDE])
    size = sum(each.get("file_bytes", 0) for each in account["datasets"].values())
    return f" of {size} bytes ({', '.join(told)})" if told else ""


def _kinds_told(account: dict[str, Any], kinds: Sequence[str]) -> list[str]:
    counts = {kind: sum(each.get(kind, 0) for each in account["datasets"].values()) for kind in kinds}
    return [f"{count} {FILES_TOLD[kind].format_map(account)}" for kind, count in counts.items() if count]


def account_writes(
    drivers: Drivers, deed: Deed, at: Side, beside: Side, progress: ProgressSink, emit: Emit
) -> dict[str, Any]:
    """What exists only at `at`. `complete` is False where something could not be counted; `datasets` says why.

    Where two logs are one, transactions are counted by their numbers, and some of them may have changed nothing.
    """
    datasets: dict[str, dict[str, Any]] = {}
    for cluster in clusters(deed):
        progress(Progress(dataset=cluster.name, text=f"counting what only {at.value} has"))
        hosts = [host_at(deed, side, cluster.name) for side in (at, beside)]
        datasets[cluster.name] = _counted(partial(_log_between, drivers, cluster, *hosts))
    for tree in still_data(deed):
        hosts = [host_at(deed, side, tree.name) for side in (at, beside)]
        if isinstance(tree, FileTree):
            met = last_meeting(drivers, deed.system_plan.system.name, at, beside)
            datasets[tree.name] = _counted(partial(_files_between, drivers, tree, met, *hosts))
        else:
            datasets[tree.name] = _counted(partial(_ranges_between, drivers, tree, *hosts))
    return {
        "at": at.value,
        "beside": beside.value,
        "bytes": sum(found.get("bytes", 0) for found in datasets.values()),
        "transactions": sum(found.get("transactions", 0) for found in datasets.values()),
        "paths": sum(found.get("paths", 0) for found in datasets.values()),
        "more": any(found.get("more") is True for found in datasets.values()),
        "complete": all("unknown" not in found for found in datasets.values()),
        "datasets": datasets,
        "business": _last_words(drivers, deed, at, emit),
    }


def _counted(count: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A count, or why there is none: an account that is not complete is better than no account, and says so."""
    try:
        return count()
    except OrchestratorError as error:
        return {"unknown": error.message}


def _log_between(drivers: Drivers, cluster: PostgresCluster, newer: Host, older: Host) -> dict[str, Any]:
    found = drivers.databases.log_alone(cluster, newer, older)
    counted = {"bytes": found.bytes, "transactions": found.transactions, "parted": found.parted}
    return counted | ({"from": found.start, "to": found.end} if found.bytes else {})


def _files_between(
    drivers: Drivers, tree: FileTree, met: datetime | None, newer: Host, older: Host
) -> dict[str, Any]:
    """Files that differ, each counted once, by whose change it is since both sides were the same."""
    files = drivers.trees.parted(tree, newer, older, limit=PATHS_COUNTED_MAX)
    met_ns = None if met is None else int(met.timestamp() * 1e9)
    kinds = [kind_of_change(file, met_ns) for file in files]
    host = {"at": newer.name, "beside": older.name}
    named = [
        f"{file.path}: {FILES_TOLD[kind].format_map(host)}" for file, kind in zip(files, kinds, strict=True)
    ]
    return {
        "paths": sum(kind not in BESIDE for kind in kinds),
        **{kind: kinds.count(kind) for kind in FILES_TOLD if kind in kinds},
        "file_bytes": sum(
            file.one.bytes for file, kind in zip(files, kinds, strict=True) if file.one and kind not in BESIDE
        ),
        "named": named[:PATHS_NAMED_MAX],
        "more": len(files) >= PATHS_COUNTED_MAX,
    }


def kind_of_change(file: PartedFile, met_ns: int | None) -> str:
    """One of FILES_TOLD. Copies keep a file's time, so one that is later than the last of them was written since."""
    if file.other is None:
        return "only"
    if file.one is None:
        return "beside_only"
    if met_ns is None:
        return "changed_unknown"
    return {
        (True, True): "changed_both",
        (True, False): "changed",
        (False, True): "changed_beside",
        (False, False): "changed_unknown",
    }[file.one.mtime_ns > met_ns, file.other.mtime_ns > met_ns]


def _ranges_between(drivers: Drivers, volume: StillData, newer: Host, older: Host) -> dict[str, Any]:
    ranges = list(StillDataMover(drivers).differences(volume, newer, older, limit=PATHS_COUNTED_MAX))
    return {"ranges": len(ranges), "named": ranges[:PATHS_NAMED_MAX], "more": len(ranges) >= PATHS_COUNTED_MAX}


def _last_words(drivers: Drivers, deed: Deed, side: Side, emit: Emit) -> dict[str, Any]:
    """What the business checks answer at `side`: control totals, the last receipt's number."""
    checks = checks_of(deed, ("business",))
    if not checks:
        return {}
    player = Player(drivers)
    try:
        values = variables(deed, side, fence=player.fence_of(deed, side), checks=checks)
        played = player.run_prepared(deed, "check", side, emit, hosts=[host_at(deed, side)], values=values)
    except OrchestratorError as error:
        return {"unknown": error.message}
    return {"hosts": played.results, "passed": played.status == "successful"}


@dataclass(frozen=True)
class WeighWindowHandler:
    drivers: Drivers

    def probe(self, deed: Deed) -> Probe:
        return Probe.ABSENT

    def act(self, deed: Deed, progress: ProgressSink, emit: Emit) -> Outcome:
        action = asked(deed, WeighWindow)
        began = deed.earlier.get(action.since, {}).get("started_at")
        if not began:
            return Outcome.failed(
                f"nobody knows when {action.since} began, so what is left of the window cannot be told",
                hint="Name a step in `since` that notes when it started, such as the drain.",
            )
        measured = self.drivers.catalogue.get("way_back", deed.system_plan.system.name) or {}
        way_back = max(action.rollback, float(measured.get("seconds", 0.0)))
        used = (self.drivers.clock.now() - datetime.fromisoformat(began)).total_seconds()
        remaining = round(action.window - used, 3)
        observed = {
            "window_seconds": action.window,
            "used_seconds": round(used, 3),
            "remaining_seconds": remaining,
            "rollback_seconds": way_back,
            "rollback_measured": measured,
            "reserve_seconds": action.reserve,
            "spare_seconds": round(remaining - way_back - action.reserve, 3),
        }
        emit("window.weighed", observed)
        return Outcome.done(f"{observed['spare_seconds']:g} s to spare, a way back and a reserve taken off", **observed)
