"""Limits of a worker and of a wave: which places a system needs room at, and how much there is."""

from orchestrator.engine.admission import Limits
from orchestrator.model.action import Preflight
from orchestrator.model.wave import WaveLimits, WaveTerms
from tests.fakes.plans import a_plan, a_step

PLAN = a_plan([a_step("look", Preflight())], systems=("filing", "archive"))


def wanted(limits: Limits, own: WaveLimits | None = None) -> dict[str, int]:
    plan = PLAN if own is None else PLAN.model_copy(update={"terms": WaveTerms(position=0, limits=own)})
    return limits.of(plan, plan.systems[0])


def test_without_limits_nothing_is_asked_for():
    assert wanted(Limits()) == {}
    assert wanted(Limits(), WaveLimits()) == {}


def test_sites_hosts_and_links_have_figures_of_their_own_or_the_general_one():
    assert wanted(Limits(per_site=3, sites={"dr": 1})) == {"site:cloud": 3, "site:dr": 1, "site:source": 3}
    assert wanted(Limits(hosts={"dr-filing": 1, "dr-archive": 9})) == {"host:dr-filing": 1}
    assert wanted(Limits(per_link=2, links={"dr/cloud": 1})) == {"link:dr/cloud": 1, "link:source/dr": 2}
    assert wanted(Limits(links={"cloud/source": 1})) == {}, "no hop of a move goes that way"


def test_where_worker_and_wave_both_have_a_limit_the_lower_one_holds():
    own = WaveLimits(per_site=2, links={"source/dr": 4}, hosts={"cloud-filing": 1})
    assert wanted(Limits(per_site=5, sites={"dr": 1}), own) == {
        "host:cloud-filing": 1,
        "link:source/dr": 4,
        "site:cloud": 2,
        "site:dr": 1,
        "site:source": 2,
    }


def test_a_system_whose_datasets_are_elsewhere_needs_room_there_too():
    system = PLAN.systems[0].system
    placements = {
        side: placed.model_copy(update={"datasets": {"files": f"{side.value}-archive"}})
        for side, placed in system.placements.items()
    }
    spread = PLAN.systems[0].model_copy(update={"system": system.model_copy(update={"placements": placements})})
    assert set(Limits(per_host=1).of(PLAN, spread)) == {
        f"host:{side}-{name}" for side in ("source", "dr", "cloud") for name in ("filing", "archive")
    }
