"""Tables for sampling in a spreadsheet: UTF-8 with a mark, CRLF, no cell that a spreadsheet would run as a formula."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.evidence.merkle import leaf_hash
from orchestrator.evidence.reading.controls import controls_of
from orchestrator.evidence.reading.material import Material

_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


def _cell(value: Any) -> str:
    text = str(value)
    return "'" + text if text.startswith(_RUN_BY_SPREADSHEETS) else text


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return stream.getvalue().encode("utf-8-sig")


def events_table(material: Material) -> bytes:
    head = ["log_index", "seq", "time_utc", "type", "subject", "host", "task", "result", "leaf_sha256"]
    rows = []
    for event, entry in zip(material.story.events, material.entries, strict=True):
        data = event.data
        result = data.get("status", data.get("result", data.get("rc", "")))
        values = (data.get("host", ""), data.get("task", ""), result, leaf_hash(entry).hex())
        rows.append((event.index, event.seq, event.time, event.type, event.subject, *values))
    return table(head, rows)


def steps_table(material: Material) -> bytes:
    head = ["system", "step", "mode", "attempt", "status", "start_utc", "end_utc", "seconds", "message", "controls"]
    rows = []
    for system in material.story.systems.values():
        for each in system.attempts:
            controls = controls_of(str((each.started.data.get("action") or {}).get("verb")))
            ended = each.finished.time if each.finished else ""
            figures = (each.status, each.started.time, ended, f"{each.seconds:.3f}", each.message)
            entries = f"{each.started.index}-{each.last_index}"
            rows.append((system.name, each.step, each.mode, each.number, *figures, " ".join(controls), entries))
    return table([*head, "log_entries"], rows)
