"""Runbooks: good ones parse, bad ones are refused in the words on top of them, the schema says the same."""

import json
from pathlib import Path

import pytest

from orchestrator.foundation.errors import RunbookError
from orchestrator.foundation.limits import RUNBOOK_STEPS_MAX
from orchestrator.model.action import Replicate, Wait, Watch
from orchestrator.model.runbook import Runbook
from orchestrator.operations.plan import closure_of, read_runbook
from orchestrator.planning.runbook import parse_runbook, runbook_schema

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "good_runbooks" / "small.yml"
GOOD = [SMALL, *sorted((ROOT / "runbooks").glob("*.yml"))]
BAD = sorted((ROOT / "tests" / "bad_runbooks").glob("*.yml"))


def expected_words(text: str) -> list[str]:
    lines = text.splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith("# ")), len(lines))
    return [line.removeprefix("# ") for line in lines[:count]]


@pytest.mark.parametrize("bad", BAD, ids=lambda path: path.stem)
def test_a_bad_runbook_is_refused_in_the_words_on_top_of_it(bad):
    content = bad.read_bytes()
    with pytest.raises(RunbookError) as caught:
        parse_runbook(content, bad.name)
    assert str(caught.value).splitlines() == expected_words(content.decode())
    assert caught.value.exit_code == 11


@pytest.mark.parametrize("good", GOOD, ids=lambda path: path.stem)
def test_a_good_runbook_parses_and_names_its_bytes(good):
    def read(content: bytes, name: str) -> Runbook:
        return parse_runbook(content, name, read=lambda path: (good.parent / path).read_bytes())

    runbook = read(good.read_bytes(), good.name)
    assert runbook == read(good.read_bytes(), "another name")
    assert runbook.digest != read(good.read_bytes() + b"# a word more\n", good.name).digest


@pytest.mark.parametrize("good", sorted((ROOT / "runbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_every_step_of_a_shipped_runbook_says_its_way_back(good):
    for step in read_runbook(good).steps:
        assert step.inverse.action is not None or len(step.inverse.none_because) > 10
        assert step.title
        assert 0 < step.timeout <= 24 * 3600


def test_what_a_runbook_is_for_is_optional_and_the_shipped_move_says_it():
    assert parse_runbook(SMALL.read_bytes(), "small.yml").scope is None
    scope = parse_runbook((ROOT / "runbooks" / "migrate.yml").read_bytes(), "migrate.yml").scope
    assert scope is not None
    assert scope.bia_ref
    assert scope.assumptions
    assert scope.success_criteria
    assert [each.role for each in scope.participants]


def test_an_input_keeps_its_type_and_wins_over_its_default():
    usual = parse_runbook(SMALL.read_bytes(), "small.yml").steps[2].action
    given = parse_runbook(SMALL.read_bytes(), "small.yml", inputs={"pause": "2m"}).steps[2].action
    assert isinstance(usual, Wait)
    assert isinstance(given, Wait)
    assert (usual.seconds, given.seconds) == (5, 120)


def test_an_input_that_the_runbook_does_not_have_is_refused():
    with pytest.raises(RunbookError, match=r"small\.yml:6: has no input 'pauses'; did you mean 'pause'\?"):
        parse_runbook(SMALL.read_bytes(), "small.yml", inputs={"pauses": 1})


def test_the_watch_of_the_shipped_migration_can_be_made_longer():
    content = (ROOT / "runbooks" / "migrate.yml").read_bytes()
    runbook = parse_runbook(content, "migrate.yml", inputs={"watch": "2h"})
    actions = [step.action for step in runbook.steps if isinstance(step.action, Watch)]
    assert [action.seconds for action in actions] == [7200]


def test_too_many_steps_are_refused_before_they_are_judged():
    steps = "".join(f"  - {{id: s{number}}}\n" for number in range(RUNBOOK_STEPS_MAX + 1))
    with pytest.raises(RunbookError, match=f"more than {RUNBOOK_STEPS_MAX}"):
        parse_runbook(f"id: many\nsteps:\n{steps}".encode(), "many.yml")


def test_the_schema_knows_the_keys_and_the_verbs_that_the_parser_knows():
    schema = json.loads(json.dumps(runbook_schema()))
    assert "digest" not in schema["properties"]
    assert set(schema["required"]) == {"id", "version", "title", "kind", "author", "steps"}
    assert schema["additionalProperties"] is False
    step = schema["$defs"]["Step"]
    assert step["properties"]["timeout"]["anyOf"][1]["type"] == "string"
    verbs = step["properties"]["action"]["discriminator"]["mapping"]
    assert {"preflight", "replicate", "carry_back", "commit"} <= set(verbs)


def test_the_schema_beside_the_documents_is_the_programs_own():
    written = (ROOT / "docs" / "runbook.schema.json").read_text()
    made = json.dumps(runbook_schema(), indent=2) + "\n"
    assert written == made, "make it anew: skerry runbook schema > docs/runbook.schema.json"


@pytest.mark.parametrize("shipped", sorted((ROOT / "runbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_every_shipped_runbook_is_planned_whole(shipped):
    """Owner, verifier, a bound and what success is, for each step; a gate before clients move and before the end."""
    found = read_runbook(shipped)
    assert found.kind == shipped.stem.partition("-")[0]  # drill-at-cloud is a drill
    for step in found.steps:
        assert step.owner_role
        assert step.verifier_role
        assert step.success_criteria or step.evidence_required or found.kind == "migrate", step.id
    switches = [step for step in found.steps if step.action.verb in ("switch_front", "commit")]
    assert all(step.gate is not None and step.gate.criteria for step in switches)


def test_a_cutover_is_committed_in_time_or_comes_back():
    commit = next(step for step in read_runbook(ROOT / "runbooks" / "cutover.yml").steps if step.id == "commit")
    assert commit.not_later_than is not None
    assert (commit.not_later_than.after, commit.not_later_than.seconds) == ("switch_front", 4 * 3600)


# -- includes

HEAD = 'version: "1.0"\ntitle: A title\nkind: drill\nauthor: ada\n'
LOOK = "{title: Look, phase: prepare, action: {verb: preflight}, inverse: {none_because: it only looks}, "
COPY = (
    "{title: Copy, phase: replicate, action: {verb: replicate, source: source, replica: '${to}'}, "
    "inverse: {none_because: a replica harms nothing}, "
)
STEPS_OF_PART = f"  - {COPY}id: copy}}\n  - {COPY}id: again, needs: [copy]}}\n"
PART = f"id: part\n{HEAD}inputs:\n  to: {{default: dr}}\nsteps:\n{STEPS_OF_PART}"


def whole(includes: str, **files: str) -> Runbook:
    """A runbook with one step of its own, `look`, that includes."""
    content = f"id: whole\n{HEAD}includes:\n{includes}steps:\n  - {LOOK}id: look}}\n"
    read = {f"{name.replace('__', '/')}.yml": text.encode() for name, text in files.items()}
    return parse_runbook(content.encode(), "runbooks/whole.yml", read=read.get)


def refusals(includes: str, **files: str) -> list[str]:
    with pytest.raises(RunbookError) as caught:
        whole(includes, **files)
    return str(caught.value).splitlines()


def test_what_is_included_becomes_part_of_the_graph():
    found = whole("  - {file: part.yml, inputs: {to: cloud}, needs: [look]}\n", part=PART)
    assert [(step.id, step.needs) for step in found.steps] == [
        ("look", ()),
        ("copy", ("look",)),
        ("again", ("copy",)),
    ]
    copied = found.steps[1].action
    assert isinstance(copied, Replicate)
    assert copied.replica == "cloud"
    assert list(found.included) == ["part.yml"]


def test_an_included_file_that_is_edited_is_another_plan(tmp_path):
    content = f"id: whole\n{HEAD}includes:\n  - file: parts/part.yml\nsteps:\n  - {LOOK}id: look}}\n"
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole.yml").write_text(content)
    part = tmp_path / "parts" / "part.yml"
    part.write_text(PART)

    def closure() -> dict[str, str]:
        return closure_of(read_runbook(tmp_path / "whole.yml"), tmp_path / "whole.yml", lambda name: name)

    before = closure()
    assert set(before) == {"whole.yml", "included/parts/part.yml"}
    part.write_text(PART + "# a word more\n")
    assert closure()["included/parts/part.yml"] != before["included/parts/part.yml"]
    assert closure()["whole.yml"] == before["whole.yml"]
    part.unlink()
    part.symlink_to("/etc/hostname")
    with pytest.raises(RunbookError, match=r"parts/part\.yml is not there"):
        closure()


def test_problems_within_an_included_file_are_told_with_its_own_line():
    bad = PART.replace("verb: replicate", "verb: replicat", 1)
    (line,) = refusals("  - file: parts/part.yml\n", parts__part=bad)
    assert line.startswith("runbooks/parts/part.yml:9: steps[copy].action: must be one of")


def test_a_step_that_two_files_have_is_refused_with_both_places():
    twice = PART.replace("id: again", "id: look")
    said = refusals("  - file: part.yml\n", part=twice)
    assert "runbooks/whole.yml:9: step look is there twice (first in runbooks/part.yml:10)" in said


def test_files_that_include_each_other_are_refused():
    inner = f"id: part\n{HEAD}includes:\n  - file: whole.yml\nsteps:\n  - {COPY.replace('${to}', 'dr')}id: copy}}\n"
    assert refusals("  - file: part.yml\n", part=inner) == [
        "runbooks/part.yml:7: files include each other in a circle: whole.yml → part.yml → whole.yml"
    ]


def test_a_file_that_is_included_twice_and_inputs_that_it_has_not_are_refused():
    said = refusals("  - {file: part.yml, inputs: {too: cloud}}\n  - file: part.yml\n", part=PART)
    assert said == [
        "runbooks/whole.yml:7: part.yml has no input 'too'; did you mean 'to'? (it has: to)",
        "runbooks/whole.yml:8: part.yml is included twice; its steps would be there twice",
    ]


def test_what_an_include_waits_for_must_be_a_step():
    said = refusals("  - {file: part.yml, needs: [lok]}\n", part=PART)
    assert said == [
        "runbooks/whole.yml:7: what part.yml begins with needs lok, which is no step; did you mean 'look'?"
    ]
