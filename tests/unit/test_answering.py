"""How programs that stay on a host say their answers: in lines that are heard whole."""

import json

import pytest

from orchestrator.movers.host_programs.answering import PART_CHARACTERS, say_answer


@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_long_lists_are_said_in_parts_that_make_up_the_whole(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{number:05d}/a name" for number in range(count)]
    say_answer(7, {"digest": "d", "changed": names})
    lines = [line.partition(" ") for line in capsys.readouterr().out.splitlines()]
    parts = [json.loads(text) for kind, _, text in lines if kind == "part"]
    assert lines[-1][0] == "answer"
    assert json.loads(lines[-1][2]) == {"digest": "d", "number": 7}
    assert [name for part in parts for name in part["values"]] == names
    assert {(part["number"], part["key"]) for part in parts} == {(7, "changed")}
    assert max(len(text) for _, _, text in lines) < PART_CHARACTERS + 200
