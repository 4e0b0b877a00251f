"""Runbooks: good ones parse, bad ones are refused in the words on top of them, the schema says the same."""

import json
from pathlib import Path

import pytest

from orchestrator.foundation.errors import RunbookError
from orchestrator.foundation.limits import RUNBOOK_STEPS_MAX
from orchestrator.model.action import Wait, Watch
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
    runbook = parse_runbook(good.read_bytes(), good.name)
    assert runbook == parse_runbook(good.read_bytes(), "another name")
    assert runbook.digest != parse_runbook(good.read_bytes() + b"# a word more\n", good.name).digest


@pytest.mark.parametrize("good", sorted((ROOT / "runbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_every_step_of_a_shipped_runbook_says_its_way_back(good):
    for step in parse_runbook(good.read_bytes(), good.name).steps:
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
