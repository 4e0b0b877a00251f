"""A plan on paper: as a table, as a drawing, and in the sections of a contingency plan."""

import json
import re

from tests.unit.test_bad_input import desk, keys

__all__ = ["desk", "keys"]  # fixtures

# NIST SP 800-34 Rev. 1, appendix A
SECTIONS = [
    *("1", "1.1", "1.2", "1.3", "2", "2.1", "2.2", "2.3", "3", "3.1", "3.2", "3.3", "4", "4.1", "4.2", "4.3"),
    *("5", "5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "5.7", "5.8", "5.9", "5.10"),
]


def shown(desk, form):
    digest = desk.plan()
    code, out, err = desk.run("plan", "show", digest, "--form", form)
    assert (code, err) == (0, "")
    return digest, out


def test_an_outline_has_every_section_and_says_where_the_plan_says_nothing(desk):
    digest, out = shown(desk, "outline")
    assert re.findall(r"^#+ ([0-9.]+) ", out, re.MULTILINE) == SECTIONS
    assert digest in out
    by_title = dict(re.findall(r"^### ([0-9.]+)[^\n]*\n\n(.*?)(?=\n\n#|\Z)", out, re.MULTILINE | re.DOTALL))
    assert by_title["5.5"] == "The plan says nothing of it."
    assert "drain, after catch_up_cloud, check_source" in by_title["4.1"]
    assert "way back: start source" in by_title["4.2"]
    assert "G5 before switch_front" in by_title["4.3"]
    assert "commit is the point of no return" in by_title["4.3"]
    assert by_title["5.2"].startswith("- verify_digests: ")
    assert "ledger: nobody approved as system-owner" in by_title["3.1"]


def test_a_graph_shows_gates_ways_back_and_how_far_the_approval_is(desk):
    _, out = shown(desk, "graph")
    [line] = [line for line in out.splitlines() if "switch_front" in line]
    assert "◆ G5" in line
    assert "↩ switch front source" in line
    assert "nobody approved" in out


def test_a_plan_of_files_that_changed_since_says_that_it_may_not_run_whoever_approves(desk):
    digest = desk.plan()
    written = desk.estate / "group_vars" / "skerry" / "systems.yml"
    assert json.loads(desk.run("plan", "show", digest, "--json")[1])["approval"]["outdated"] == ""
    written.write_text(written.read_text() + "# any edit\n")
    outdated = f"plan {digest} was made from other files: the inventory changed since"
    assert json.loads(desk.run("plan", "show", digest, "--json")[1])["approval"]["outdated"] == outdated
    shown_now = " ".join(desk.run("plan", "show", digest)[1].split())
    assert f"the plan may not run, whoever approves: {outdated}" in shown_now
