"""Graphs of names, also long ones."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.foundation.name_graph import ancestors, circles_in, in_order, levels

NAMES = [f"n{number}" for number in range(8)]


@pytest.mark.parametrize(
    ("graph", "ordered"),
    [
        ({"a": ["b"], "b": []}, ["b", "a"]),
        ({"a": [], "b": []}, ["a", "b"]),
        ({"a": ["elsewhere"], "b": ["a"]}, ["a", "b"]),
        ({"a": ["b"], "b": ["a"], "c": []}, ["c"]),
        ({}, []),
    ],
)
def test_order(graph, ordered):
    assert in_order(graph) == ordered


def test_two_circles_are_two():
    graph = {"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"], "e": ["a", "c"]}
    assert list(circles_in(graph)) == [["a", "b", "a"], ["c", "d", "c"]]


def test_side_by_side():
    graph = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    assert levels(graph) == [["a"], ["b", "c"], ["d"]]
    assert ancestors(graph)["d"] == {"a", "b", "c"}


def test_a_chain_of_ten_thousand_is_no_trouble():
    graph = {f"n{number}": [f"n{number + 1}"] for number in range(10_000)}
    assert in_order(graph)[-1] == "n0"
    circle = {**graph, "n10000": ["n0"]}
    assert len(next(circles_in(circle))) == 10_002


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3)))
def test_every_name_is_ordered_or_behind_a_circle(graph):
    ordered = in_order(graph)
    place = {name: position for position, name in enumerate(ordered)}
    for name in ordered:
        assert all(place[needed] < place[name] for needed in graph[name] if needed in graph)
    circles = list(circles_in(graph))
    assert bool(circles) == (len(ordered) < len(graph))
    for circle in circles:
        assert circle[0] == circle[-1]
        assert all(after in graph[before] for before, after in pairwise(circle))
