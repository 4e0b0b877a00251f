"""The errors that the words of our programs on hosts stand for."""

from orchestrator.foundation.errors import (
    DataError,
    HostUnreachable,
    NoSpace,
    OrchestratorError,
    RunInProgress,
    SourceChanged,
    SourceShrank,
)
from orchestrator.model.dataset import BlockVolume, FileTree
from orchestrator.model.host import Host
from orchestrator.movers.host_orders import is_open
from orchestrator.movers.source_line import refuse_access


def trouble(dataset: FileTree | BlockVolume, host: Host, source: Host | None, kind: str, why: str) -> OrchestratorError:
    """The error for what a program on `host` said; `source` is the other end of a transfer."""
    path = host.path(dataset.path)
    if kind == "busy":
        return RunInProgress(f"{dataset.name} is being copied to {host.name} by another run")
    if kind == "open":
        return is_open(dataset, host, why)
    if kind == "full":
        return NoSpace(f"{host.name}: no room for {dataset.name} at {path}: {why}")
    if kind == "moved":
        return SourceChanged(f"{(source or host).name}: {dataset.name} {why}; {host.name} is as it was")
    if kind == "shrank" and source is not None:
        return SourceShrank(
            f"{dataset.name} at {source.name} {why}; {host.name} is as it was",
            hint=f"See that the right disk is at {source.name}:{source.path(dataset.path)}. If it is meant: skerry "
            f"replicate run SYSTEM --accept-shrinkage {dataset.name} --because WHY; or clear it at {host.name}.",
        )
    if kind == "link" and source is not None:
        refuse_access(f"{dataset.name} from {source.name} to {host.name}", why)
        return HostUnreachable(f"copy of {dataset.name} from {source.name} to {host.name} broke off: {why}")
    if kind == "source" and source is not None:
        return DataError(f"{source.name}: {dataset.name} cannot be read: {why}")
    return DataError(f"{host.name}: {dataset.name} at {path}: {why}")
