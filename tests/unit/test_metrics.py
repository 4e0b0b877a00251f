"""Metrics: OpenMetrics text that a strict reader takes, with numbers that are what is remembered."""

import re

import pytest

from orchestrator.operations.lag import lag_of_estate
from orchestrator.operations.metrics import Family, exposition, replication_families
from tests.fakes.drivers import DR
from tests.fakes.replicated import Replicated
from tests.fakes.trees import cut_off

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?\d+(?:\.\d+)?(?:e[+-]\d+)?)")
VERIFIED = {("filing", "scrub"): "2026-11-21T22:00:00.500Z"}
KINDS = {"gauge": "", "counter": "_total"}


def read_openmetrics(text):
    """Samples by (name, labels), by the rules of OpenMetrics 1.0; ValueError for whatever breaks one."""
    lines = text.split("\n")
    if lines[-2:] != ["# EOF", ""]:
        raise ValueError("does not end with # EOF and one line break")
    samples, seen, family, kind, unit = {}, set(), "", "", ""
    for line in lines[:-2]:
        if line.startswith("# "):
            match = re.fullmatch(rf"# (HELP|TYPE|UNIT) ({NAME}) (.+)", line)
            if match is None:
                raise ValueError(f"no metadata: {line}")
            what, name, value = match.groups()
            if what == "HELP":
                if name in seen:
                    raise ValueError(f"{name} stands twice")
                seen.add(name)
                family, kind, unit = name, "", ""
            elif name != family:
                raise ValueError(f"{line} stands in the family {family}")
            elif what == "TYPE":
                kind = value if value in KINDS else ""
                if not kind or (kind == "counter" and name.endswith("_total")):
                    raise ValueError(f"bad type: {line}")
            else:
                unit = value
                if not name.endswith(f"_{unit}"):
                    raise ValueError(f"{name} does not end with its unit {unit}")
            continue
        match = SAMPLE.fullmatch(line)
        if match is None:
            raise ValueError(f"no sample: {line!r}")
        name, labels, value = match.groups()
        if not kind or name != family + KINDS[kind]:
            raise ValueError(f"{name} is no sample of {family}")
        names = re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="', labels or "")
        if len(names) != len(set(names)) or (name, labels or "") in samples:
            raise ValueError(f"told twice: {line}")
        if kind == "counter" and float(value) < 0:
            raise ValueError(f"a counter below zero: {line}")
        samples[name, labels or ""] = float(value)
    return samples


@pytest.fixture
def ground(tmp_path):
    made = Replicated(tmp_path)
    yield made
    made.store.close()


def text_of(ground):
    store, world = ground.store.replication, ground.world
    systems = lag_of_estate(ground.inventory, world.catalogue, world.authority, store, world.clock.now())
    return exposition(replication_families(systems, store.totals(), store.size(), {"filing": 2}, VERIFIED))


def test_what_is_remembered_is_told_in_openmetrics(ground):
    first, second = ground.round(), ground.round()
    with cut_off(ground.world.trees.hosts, DR):
        ground.round()
    found = read_openmetrics(text_of(ground))
    tree = 'system="filing",dataset="attachments"'
    assert found["skerry_replication_lag_seconds", tree] == 120.0
    assert found["skerry_replication_rpo_objective_seconds", tree] == 60.0
    assert found["skerry_replication_rpo_met", tree] == 0
    assert found["skerry_replication_good_timestamp_seconds", tree] > 1.7e9
    assert found["skerry_replication_rounds_total", 'system="filing",result="passed"'] == 2
    assert found["skerry_replication_rounds_total", 'system="filing",result="failed"'] == 1
    wire = found["skerry_replication_wire_bytes_total", 'system="filing",result="passed"']
    assert wire == first.bytes_wire + second.bytes_wire
    assert found["skerry_recovery_points", 'system="filing"'] == 2
    assert found["skerry_verification_passed_timestamp_seconds", 'system="filing",kind="scrub"'] == 1795298400.5


def test_what_is_not_known_is_left_out(ground):
    found = read_openmetrics(text_of(ground))
    assert not any(name == "skerry_replication_lag_seconds" for name, _ in found)
    assert found["skerry_replication_rpo_met", 'system="filing",dataset="register"'] == 0


def test_labels_are_escaped():
    family = Family("odd_bytes", "gauge", 'a "quoted"\nhelp', "bytes")
    family.add(0.25, path='a"b\\c\nd')
    text = exposition([family])
    assert read_openmetrics(text) == {("odd_bytes", r'path="a\"b\\c\nd"'): 0.25}
    assert text.splitlines()[0] == r"# HELP odd_bytes a \"quoted\"\nhelp"


@pytest.mark.parametrize(
    "text",
    ["a 1\n", "# EOF", "# HELP a x\n# TYPE a counter\na 1\n# EOF\n", "# HELP a x\n# TYPE a gauge\na 1\na 2\n# EOF\n",
     "# HELP a x\n# TYPE a gauge\n# UNIT a bytes\na 1\n# EOF\n", "# HELP a x\n# TYPE a gauge\na 1 \n# EOF\n"],
)  # fmt: skip
def test_the_reader_of_these_tests_is_strict(text):
    with pytest.raises(ValueError):
        read_openmetrics(text)
