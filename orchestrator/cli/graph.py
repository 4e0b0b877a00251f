"""A runbook's graph: levels in a terminal, boxes and lines as SVG. The same drawing twice gives the same bytes."""

from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

from rich.text import Text
from rich.tree import Tree

from orchestrator.cli.plan_show import action_text
from orchestrator.foundation.name_graph import ancestors, levels
from orchestrator.model.runbook import Runbook
from orchestrator.model.step import Step

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 250, 62, 40, 46, 24
_HEADING_LETTER_WIDTH = 9  # at 16 px, half bold
_PHASE_HUES = {
    "prepare": 215, "replicate": 200, "seed": 190, "freeze": 45, "quiesce": 35, "final_sync": 28, "verify_data": 280,
    "fence_source": 5, "promote": 330, "start": 140, "verify_service": 270, "switch_traffic": 120, "observe": 165,
    "commit": 100, "closure": 90, "rollback": 0,
}  # fmt: skip


def direct_needs(steps: Sequence[Step]) -> dict[str, list[str]]:
    """What each step waits for, without what another of its needs waits for already."""
    graph = {step.id: step.needs for step in steps}
    before = ancestors(graph)
    return {
        step.id: [need for need in step.needs if not any(need in before[other] for other in step.needs)]
        for step in steps
    }


def graph_as_data(runbook: Runbook) -> dict[str, Any]:
    """What `skerry runbook graph --json` prints."""
    needs = direct_needs(runbook.steps)
    return {
        "runbook": runbook.id,
        "levels": levels(needs),
        "edges": [[need, step.id] for step in runbook.steps for need in needs[step.id]],
    }


def graph_as_text(heading: str, steps: Sequence[Step]) -> Tree:
    """A tree of levels: steps of one level may run side by side. What a step needs is told if it is not just above."""
    by_id = {step.id: step for step in steps}
    needs = direct_needs(steps)
    tree = Tree(Text(heading, style="bold"), guide_style="dim")
    above: list[str] = []
    for level in levels(needs):
        for step_id in level:
            step = by_id[step_id]
            line = Text(step.id, style="bold" if step.gate else "")
            line.append(f"  {action_text(step.action)}", style="default")
            if step.gate:
                line.append(f"  ◆ {step.gate.id}", style="yellow")
            if step.inverse.action is not None:
                line.append(f"  ↩ {action_text(step.inverse.action)}", style="cyan")
            if step.point_of_no_return:
                line.append("  point of no return", style="red")
            if needs[step_id] != above:
                line.append(f"  after {', '.join(needs[step_id]) or 'nothing'}", style="dim")
            tree.add(line)
            above = [step_id]
    return tree


def graph_as_svg(runbook: Runbook) -> str:
    """The graph as a picture: top to bottom, ways back in the boxes, gates as diamonds before them."""
    rows = levels(direct_needs(runbook.steps))
    widest = max(len(row) for row in rows)
    heading = escape(f"{runbook.id} {runbook.version}: {runbook.title}")
    width = 2 * _MARGIN + max(widest * _BOX_WIDTH + (widest - 1) * _GAP_X, _HEADING_LETTER_WIDTH * len(heading))
    height = 2 * _MARGIN + 36 + len(rows) * _BOX_HEIGHT + (len(rows) - 1) * _GAP_Y
    places: dict[str, tuple[float, float]] = {}
    for depth, row in enumerate(rows):
        row_width = len(row) * _BOX_WIDTH + (len(row) - 1) * _GAP_X
        for index, step_id in enumerate(row):
            left = (width - row_width) / 2 + index * (_BOX_WIDTH + _GAP_X)
            places[step_id] = left, _MARGIN + 36 + depth * (_BOX_HEIGHT + _GAP_Y)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        '<g font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(runbook.title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 10}" font-size="16" font-weight="600" fill="#1b2733">{heading}</text>',
        *_edges(runbook, places),
        *(line for step in runbook.steps for line in _box(step, *places[step.id])),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _edges(runbook: Runbook, places: dict[str, tuple[float, float]]) -> Iterator[str]:
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#7a8794"/></marker></defs>'
    )
    for step_id, needs in direct_needs(runbook.steps).items():
        for need in needs:
            start_x, start_y = places[need][0] + _BOX_WIDTH / 2, places[need][1] + _BOX_HEIGHT
            end_x, end_y = places[step_id][0] + _BOX_WIDTH / 2, places[step_id][1]
            bend = (start_y + end_y) / 2
            yield (
                f'<path d="M{start_x:g} {start_y:g} C{start_x:g} {bend:g} {end_x:g} {bend:g} {end_x:g} {end_y - 2:g}" '
                'fill="none" stroke="#7a8794" stroke-width="1.3" marker-end="url(#tip)"/>'
            )


def _box(step: Step, left: float, top: float) -> Iterator[str]:
    hue = _PHASE_HUES.get(step.phase.value, 210)
    edge = "#b3261e" if step.point_of_no_return else f"hsl({hue} 45% 45%)"
    yield (
        f'<g><title>{escape(step.title)}</title><rect x="{left:g}" y="{top:g}" width="{_BOX_WIDTH}" '
        f'height="{_BOX_HEIGHT}" rx="8" fill="hsl({hue} 60% 96%)" stroke="{edge}" '
        f'stroke-width="{2.5 if step.point_of_no_return else 1.2}"/>'
    )
    yield f'<text x="{left + 12:g}" y="{top + 19:g}" font-weight="600" fill="#1b2733">{escape(step.id)}</text>'
    yield f'<text x="{left + 12:g}" y="{top + 36:g}" fill="#41505e">{escape(action_text(step.action))}</text>'
    back = f"↩ {action_text(step.inverse.action)}" if step.inverse.action is not None else ""
    if back:
        yield f'<text x="{left + 12:g}" y="{top + 53:g}" fill="#0b6b7a">{escape(back)}</text>'
    if step.gate:
        x, y = left + _BOX_WIDTH - 26, top + 18
        yield f'<path d="M{x:g} {y - 13:g} l17 13 l-17 13 l-17 -13 z" fill="#fff4cf" stroke="#b7860b"/>'
        yield f'<text x="{x:g}" y="{y + 4:g}" font-size="10" text-anchor="middle" fill="#6b4e00">{step.gate.id}</text>'
    yield "</g>"
