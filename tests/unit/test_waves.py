"""waves.yml: what hangs together stays together, windows hold, and whatever is wrong is told with file and line."""

from datetime import datetime
from pathlib import Path

import pytest

from orchestrator.foundation.errors import PlanningError
from orchestrator.foundation.written_file import Finding
from orchestrator.inventory.load import load_inventory
from orchestrator.model.step import Deadline
from orchestrator.model.wave import WaveLimits
from orchestrator.planning.bound_groups import bonds_of
from orchestrator.planning.compile import compile_plan
from orchestrator.planning.runbook import parse_runbook
from orchestrator.planning.wave_file import parse_wave_file
from orchestrator.planning.wave_proposal import propose_waves
from orchestrator.planning.waves import WaveProgram, judge_waves, refuse_past
from tests.fakes.large_estate import an_estate
from tests.fakes.surveys import healthy

ROOT = Path(__file__).parents[2]
RUNBOOK = parse_runbook((ROOT / "runbooks" / "migrate.yml").read_bytes(), "migrate.yml", inputs={"commit-within": "3d"})

GOOD = """\
waves:
  calendars:
    nights: {days: [sat, sun], start: 22:00, end: 04:00, time_zone: Europe/Zurich}
  freezes:
    - {name: year-end, start: 2026-12-18T00:00, end: 2027-01-10T00:00, time_zone: Europe/Zurich, because: closing}
  limits: {per_site: 4, per_link: 2}
  gates:
    G4:
      title: Readiness
      criteria:
        - {id: checklist, step: said, observed: checklist_done, comparison: equal, expected: true}
    G7:
      criteria:
        - {id: unchanged, step: members, observed: changed, comparison: at_most, expected: 0}
  order:
    - wave: pilot
      outcome: one group lives at the cloud
      systems: [s0, s1, s2, s3]
      window: {calendar: nights, date: 2026-11-28}
      rollback: 30m
      reserve: 15m
      soak: 2d
      entry: [G4]
      exit: [G7]
    - wave: rest
      systems: [s4, s5, s6, s7]
      window: {start: 2026-12-05T22:00, end: 2026-12-06T04:00, time_zone: Europe/Zurich}
      rollback: 30m
      limits: {per_site: 2}
"""


@pytest.fixture(scope="module")
def estate():
    return an_estate(8)


def judged(text: str, estate) -> tuple[WaveProgram | None, list[Finding]]:
    findings: list[Finding] = []
    file = parse_wave_file(text.encode(), "waves.yml", findings)
    return (judge_waves(file, estate, findings) if file is not None else None), findings


def program_of(text: str, estate) -> WaveProgram:
    program, findings = judged(text, estate)
    assert not findings, findings
    assert program is not None
    return program


def refusal(estate, old: str, new: str) -> str:
    """All that is said of the good file with one piece of text changed."""
    assert old in GOOD
    program, findings = judged(GOOD.replace(old, new, 1), estate)
    assert program is None
    return "\n".join(str(finding) for finding in sorted(findings))


def line_of(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if words in line)


def test_a_good_file_becomes_waves_with_their_terms(estate):
    program = program_of(GOOD, estate)
    pilot, rest = program.waves
    assert program.names == ["pilot", "rest"]
    assert pilot.systems[0] == "s0"  # the others need it
    assert pilot.terms.window is not None
    # 22:00 in Zurich's winter is 21:00 UTC.
    assert pilot.terms.window.start == "2026-11-28T21:00:00.000Z"
    assert pilot.terms.window.end == "2026-11-29T03:00:00.000Z"
    assert (pilot.terms.soak_seconds, pilot.terms.rollback_seconds, pilot.terms.reserve_seconds) == (172800, 1800, 900)
    assert [gate.id for gate in (*pilot.terms.entry, *pilot.terms.exit)] == ["G4", "G7"]
    assert (pilot.terms.before, rest.terms.before) == (None, "pilot")
    assert rest.terms.limits == WaveLimits(per_site=2, per_link=2)
    assert program.before("rest") == pilot


def test_the_same_file_gives_the_same_terms(estate):
    assert program_of(GOOD, estate) == program_of(GOOD, estate)


CRITERIA = GOOD[GOOD.index("      criteria:") : GOOD.index("\n    G7:")]

REFUSED = {
    "unknown system": ("[s0, s1, s2, s3]", "[s0, s1, s2, s33]", "systems: [s0", ("no system is called s33", "s3")),
    "system in two waves": ("[s4, s5, s6, s7]", "[s4, s5, s6, s7, s3]", "[s4", ("s3 is in wave pilot already",)),
    "hard dependency torn": (
        "[s0, s1, s2, s3]",
        "[s0, s1, s2]",
        "[s0, s1, s2]",
        ("system s0 (wave pilot) moves with s3, which is in no wave: s3 depends hard on s0; put both into one wave",),
    ),
    "wave twice": ("wave: rest", "wave: pilot", "systems: [s4", ("wave pilot is there twice",)),
    "gate without criteria": (
        CRITERIA,
        "      criteria: []",
        "G4:",
        ("gate G4 has no criteria",),
    ),
    "gate that is not there": ("exit: [G7]", "exit: [G6]", "exit: [G6]", ("gate G6 has no criteria below gates",)),
    "gate at the wrong end": ("exit: [G7]", "exit: [G4]", "exit: [G4]", ("G4 cannot stand at a wave's exit",)),
    "nobody in the role": (
        "      title: Readiness\n",
        "      title: Readiness\n      roles: [system-owners]\n",
        "roles: [system-owners]",
        ("nobody in people.yml is system-owners", "did you mean 'system-owner'?"),
    ),
    "too few persons": (
        "      title: Readiness\n",
        "      title: Readiness\n      persons_min: 3\n",
        "G4:",
        ("asks for 3 persons, 2 are able",),
    ),
    "criterion that asks nobody": ("step: said", "step: sad", "step: sad", ("asks sad", "did you mean 'said'?")),
    "unknown calendar": ("calendar: nights", "calendar: night", "calendar: night", ("calendar night", "'nights'")),
    "calendar that is closed that day": (
        "date: 2026-11-28",
        "date: 2026-11-27",
        "date: 2026-11-27",
        ("next 2026-11-28",),
    ),
    "unknown time zone": (
        "04:00, time_zone: Europe/Zurich}\n  freezes",
        "04:00, time_zone: Europe/Zuerich}\n  freezes",
        "nights:",
        ("no time zone is called 'Europe/Zuerich'",),
    ),
    "window that ends before it starts": (
        "end: 2026-12-06T04:00",
        "end: 2026-12-05T04:00",
        "end: 2026-12-05T04:00",
        ("the window of wave rest ends at 2026-12-05 04:00, which is not after its start",),
    ),
    "window with an offset": ("2026-12-05T22:00", "2026-12-05T22:00+01:00", "+01:00", ("without an offset",)),
    "overlapping freeze": (
        "start: 2026-12-18T00:00",
        "start: 2026-12-06T01:00",
        "wave: rest",
        ("overlaps the freeze year-end", "closing", "move the window"),
    ),
    "window without rollback": (
        "      rollback: 30m\n      limits",
        "      limits",
        "2026-12-05T22:00",
        ("rollback: 30m",),
    ),
    "window shorter than its rollback": (
        "rollback: 30m\n      reserve: 15m",
        "rollback: 5h\n      reserve: 1h",
        "calendar: nights, date",
        ("21600s long", "leave no time to cut over"),
    ),
    "window before the soak is over": (
        "soak: 2d",
        "soak: 8d",
        "2026-12-05T22:00",
        ("is over before wave pilot can have passed its soak (not before 2026-12-06T21:00Z)",),
    ),
    "limit of a site that is not there": (
        "{per_site: 4, per_link: 2}",
        "{per_site: 4, sites: {hom: 2}}",
        "hom: 2",
        ("no site is called hom", "'home'"),
    ),
    "limit of half a link": (
        "{per_site: 4, per_link: 2}",
        "{links: {home/sper: 2}}",
        "home/sper",
        ("no site is called sper",),
    ),
    "unknown key": ("    - wave: rest\n", "    - wave: rest\n      sytems: [s4]\n", "sytems", ("sytems", "'systems'")),
    "freeze of an unknown system": ("because: closing}", "because: closing, systems: [s44]}", "s44", ("s44",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_told_with_file_line_and_remedy(estate, name):
    old, new, where, said = REFUSED[name]
    told = refusal(estate, old, new)
    changed = GOOD.replace(old, new, 1)
    wanted = line_of(changed, where)
    if name == "overlapping freeze":
        wanted = line_of(changed, "2026-12-05T22:00")
    elif name == "wave twice":
        wanted = len(changed.splitlines()) - 4
    assert any(line.startswith(f"waves.yml:{wanted}: ") for line in told.splitlines()), f"line {wanted}: {told}"
    for words in said:
        assert words in told


def test_systems_on_one_host_of_the_source_move_together(tmp_path):
    estate = load_inventory(ROOT / "tests" / "good_inventories" / "small", home=tmp_path)
    torn = "waves:\n  order:\n    - {wave: one, systems: [billing]}\n    - {wave: two, systems: [ledger]}\n"
    program, findings = judged(torn, estate)
    assert program is None
    (finding,) = findings
    assert str(finding) == (
        "waves.yml:4: system ledger (wave two) moves with billing, which is in wave one: both are on host home-web1; "
        "put both into one wave, or name the host below separable with the reason"
    )
    allowed = "  separable: [{host: home-web1, because: two containers}]\n  order:"
    assert judged(torn.replace("  order:", allowed), estate)[0] is not None


def test_a_volume_that_two_systems_have_is_a_bond(estate):
    from orchestrator.model.dataset import BlockVolume
    from orchestrator.model.system import Placement

    disk = BlockVolume(name="disk", path="/dev/vg0/data")
    systems = dict(estate.systems)
    for name in ("s0", "s4"):
        system = systems[name]
        placements = {
            side: Placement(host=placed.host, datasets={"disk": "home-7"} if side.value == "source" else {})
            for side, placed in system.placements.items()
        }
        changed = {"datasets": (*system.datasets, disk), "placements": placements}
        systems[name] = system.model_copy(update=changed)
    shared = estate.model_copy(update={"systems": systems})
    program, findings = judged(GOOD, shared)
    assert program is None
    told = "\n".join(map(str, findings))
    assert "both have volume /dev/vg0/data of host home-7" in told
    assert "put both into one wave" in told


def test_a_declared_bond_is_told_where_it_was_declared(estate):
    bound = "  bound:\n    - {name: export-list, systems: [s0, s4], because: one list of exports}\n  order:"
    text = GOOD.replace("  order:", bound, 1)
    program, findings = judged(text, estate)
    assert program is None
    assert str(findings[0]) == (
        f"waves.yml:{line_of(text, 'export-list')}: system s4 (wave rest) moves with s0, which is in wave pilot: "
        "bound by export-list; put both into one wave"
    )


def test_a_soft_need_that_comes_later_and_systems_left_out_are_told_and_stop_nothing(estate):
    text = "waves:\n  order:\n    - {wave: late-first, systems: [s4, s5, s6, s7]}\n"
    program, findings = judged(text, estate)
    assert program is not None
    assert not findings
    assert [str(warning) for warning in program.warnings] == [
        "waves.yml:2: 4 systems that move are in no wave: s0, s1, s2, s3"
    ]
    both = text + "    - {wave: then, systems: [s0, s1, s2, s3]}\n"
    warned = program_of(both, estate).warnings
    assert [str(warning) for warning in warned] == [
        "waves.yml:3: s4 moves in late-first, before s0 (wave then), on which it depends"
    ]


def test_a_window_that_is_over_or_nearly_so_is_refused_at_planning(estate):
    pilot = program_of(GOOD, estate).waves[0]

    def at(text: str) -> list[str]:
        return [str(finding) for finding in refuse_past("waves.yml", 9, pilot, datetime.fromisoformat(text))]

    assert at("2026-11-28T20:00:00+00:00") == []
    assert at("2026-11-29T02:14:00+00:00") == []
    assert at("2026-11-29T02:30:00+00:00") == [
        "waves.yml:9: 1800s are left of the window of wave pilot, less than its rollback and reserve"
    ]
    assert at("2026-11-29T03:00:00+00:00") == [
        "waves.yml:9: the window of wave pilot was over at 2026-11-29T03:00:00.000Z; give it another"
    ]


class TestPlansOfWaves:
    def plan(self, estate, facts, wave):
        return compile_plan(
            RUNBOOK, estate, facts, systems=wave.systems, wave=wave.name, author="ben", closure={}, terms=wave.terms
        )

    def test_a_plan_is_bound_to_the_terms_of_its_wave(self, estate):
        pilot = program_of(GOOD, estate).waves[0]
        facts = healthy(estate)
        plan = self.plan(estate, facts, pilot)
        assert plan.terms == pilot.terms
        other = pilot.terms.model_copy(update={"soak_seconds": 1.0})
        changed = plan.model_copy(update={"terms": other})
        assert type(plan).model_validate(changed.model_dump(mode="json")).digest != plan.digest

    def test_service_is_interrupted_only_within_the_window_and_with_time_for_the_way_back(self, estate):
        pilot = program_of(GOOD, estate).waves[0]
        plan = self.plan(estate, healthy(estate), pilot)
        gates = {step.id: step.gate for step in plan.systems[0].steps if step.gate is not None}
        drain, switch = gates["drain"], gates["switch_front"]
        assert [(criterion.step, criterion.observed) for criterion in drain.criteria] == [
            ("window", "open"),
            ("window", "spare_seconds"),
        ]
        assert {"digests_equal", "window_is_open", "time_for_the_way_back"} <= {each.id for each in switch.criteria}
        assert "window_is_open" not in {each.id for each in gates["commit"].criteria}

    def test_a_plan_without_a_wave_has_the_form_that_it_always_had(self, estate):
        plan = compile_plan(RUNBOOK, estate, healthy(estate), systems=["s0"], wave="w", author="ben", closure={})
        assert "terms" not in plan.model_dump(mode="json")
        assert plan.systems[0].steps == RUNBOOK.steps

    def test_a_soak_that_outlasts_the_commit_deadline_of_the_runbook_is_refused(self, estate):
        pilot = program_of(GOOD, estate).waves[0]
        in_time = Deadline(after="switch_front", seconds=3600)
        steps = [
            step if step.id != "commit" else step.model_copy(update={"not_later_than": in_time})
            for step in RUNBOOK.steps
        ]
        runbook = RUNBOOK.model_copy(update={"steps": tuple(steps)})
        with pytest.raises(PlanningError, match="step commit must have passed 3600s after switch_front, but the wave"):
            compile_plan(
                runbook,
                estate,
                healthy(estate),
                systems=pilot.systems,
                wave="pilot",
                author="ben",
                closure={},
                terms=pilot.terms,
            )

    def test_a_window_that_the_last_delta_does_not_fit_into_is_refused(self, estate):
        pilot = program_of(GOOD, estate).waves[0]
        facts = healthy(estate)
        host = facts.hosts["home-0"]
        slow = host.datasets["files"].model_copy(update={"detail": {"changed_bytes_per_second": "49999000"}})
        hosts = {**facts.hosts, "home-0": host.model_copy(update={"datasets": {"files": slow}})}
        with pytest.raises(PlanningError, match=r"system s0: the last delta alone takes .* the window leaves 18900s"):
            compile_plan(
                RUNBOOK,
                with_patience(estate),
                facts.model_copy(update={"hosts": hosts}),
                systems=pilot.systems,
                wave="pilot",
                author="ben",
                closure={},
                terms=pilot.terms,
            )


def with_patience(estate):
    """The same estate with objectives that any delta fits into."""
    from orchestrator.model.system import Objectives

    lenient = Objectives(rto=10**6, rpo=10**6, mtpd=10**7)
    systems = {name: system.model_copy(update={"objectives": lenient}) for name, system in estate.systems.items()}
    return estate.model_copy(update={"systems": systems})


class TestProposals:
    def test_groups_stay_whole_and_what_is_needed_comes_first(self):
        estate = an_estate(40)
        waves = propose_waves(estate, bonds_of(estate), systems_max=8)
        place = {name: number for number, wave in enumerate(waves) for name in wave}
        assert set(place) == set(estate.systems)
        assert all(len(wave) <= 8 for wave in waves)
        for system in estate.systems.values():
            for needed in system.depends_on:
                assert place[needed.system] <= place[system.name]
                assert needed.kind == "soft" or place[needed.system] == place[system.name]

    def test_a_group_larger_than_a_wave_gets_one_of_its_own(self):
        estate = an_estate(7, group=5)
        assert [len(wave) for wave in propose_waves(estate, bonds_of(estate), systems_max=3)] == [5, 2]

    def test_simple_ones_first_and_what_has_a_wave_is_left_alone(self):
        estate = an_estate(3, group=1)
        apart = {
            name: system.model_copy(update={"depends_on": ()}) for name, system in reversed(estate.systems.items())
        }
        free = estate.model_copy(update={"systems": apart})
        assert propose_waves(free, (), systems_max=1) == [["s0"], ["s1"], ["s2"]]  # low, moderate, high
        assert propose_waves(free, (), systems_max=1, assigned=frozenset({"s1"})) == [["s0"], ["s2"]]

    def test_groups_that_need_each_other_are_proposed_all_the_same(self):
        estate = an_estate(4, group=2, needs=[("s1", "s2", "soft"), ("s3", "s0", "soft")])
        waves = propose_waves(estate, bonds_of(estate), systems_max=2)
        assert sorted(name for wave in waves for name in wave) == ["s0", "s1", "s2", "s3"]

    def test_a_proposal_is_a_lawful_file(self):
        estate = an_estate(24)
        waves = propose_waves(estate, bonds_of(estate), systems_max=6)
        text = "waves:\n  order:\n" + "".join(
            f"    - {{wave: w{number}, systems: [{', '.join(names)}]}}\n" for number, names in enumerate(waves)
        )
        assert program_of(text, estate).warnings == ()
