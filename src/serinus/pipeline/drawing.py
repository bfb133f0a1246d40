"""The graph of a pipeline as SVG: layers from left to right, an edge for each need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, tostring

from serinus.checks.formats.markup import tag
from serinus.pipeline.graph import Graph
from serinus.pipeline.plan import State

HEIGHT, GAP, APART, MARGIN = 44.0, 20.0, 64.0, 16.0
_LETTER = 7.4
"""Width of a letter of the names, about."""
_SMALL = 5.9
_LONGEST = 34
"""Letters of a command that are shown."""
_STYLE = """
text{font:13px ui-sans-serif,system-ui,sans-serif;fill:#1f2328}
.does{font-size:10.5px;fill:#59636e}
rect{fill:#f6f8fa;stroke:#8c959f}
path{fill:none;stroke:#8c959f;stroke-width:1.4}
marker path{fill:#8c959f;stroke:none}
.asks rect{fill:#fff8c5;stroke:#9a6700}
.done rect,.cached rect{fill:#dafbe1;stroke:#1a7f37}
.failed rect,.declined rect,.interrupted rect{fill:#ffebe9;stroke:#cf222e}
.running rect{fill:#ddf4ff;stroke:#0969da}
.skipped rect,.left rect,.blocked rect{stroke-dasharray:4 3}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.does{fill:#9198a1}rect{fill:#161b22}
.asks rect{fill:#341a00}.done rect,.cached rect{fill:#04260f}.running rect{fill:#051d4d}
.failed rect,.declined rect,.interrupted rect{fill:#3c0614}}
"""

Box = tuple[float, float, float]
"""Left, top and width."""


def drawn(graph: Graph, states: Mapping[str, State] | None = None) -> str:
    """The graph as a document of its own.

    Args:
        graph: of a pipeline.
        states: how each step stands, which colours it.
    """
    layers = ordered(graph)
    boxes = _boxes(graph, layers)
    width = max((left + wide for left, _, wide in boxes.values()), default=0.0) + MARGIN
    height = max((top for _, top, _ in boxes.values()), default=0.0) + HEIGHT + MARGIN
    arrow = tag("path", d="M0 0L8 4L0 8z")
    marker = tag("marker", arrow, id="arrow", markerWidth="8", markerHeight="8", refX="8", refY="4")
    marker.set("orient", "auto")
    marker.set("markerUnits", "userSpaceOnUse")
    picture = tag(
        "svg",
        tag("title", f"The pipeline {graph.pipeline.name}"),
        tag("style", _STYLE),
        tag("defs", marker),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
    )
    for name in graph.order:
        picture.extend(_edge(boxes[need], boxes[name]) for need in graph.needs[name])
    picture.extend(_step(graph, name, boxes[name], (states or {}).get(name)) for name in graph.order)
    return tostring(picture, encoding="unicode") + "\n"


def ordered(graph: Graph) -> list[list[str]]:
    """The layers, the steps of each near to those that they need: by the mean of their places.

    One sweep of the barycentre method (Sugiyama, Tagawa and Toda, 1981).
    """
    place: dict[str, float] = {}
    found = []
    for layer in graph.layers():
        means = {
            name: sum(place[need] for need in graph.needs[name]) / len(graph.needs[name])
            if graph.needs[name]
            else float(number)
            for number, name in enumerate(layer)
        }
        layer.sort(key=means.__getitem__)
        place |= {name: float(number) for number, name in enumerate(layer)}
        found.append(layer)
    return found


def _boxes(graph: Graph, layers: Sequence[Sequence[str]]) -> dict[str, Box]:
    tallest = max((len(layer) for layer in layers), default=0) * (HEIGHT + GAP) - GAP
    boxes: dict[str, Box] = {}
    left = MARGIN
    for layer in layers:
        widths = [len(name) * _LETTER for name in layer] + [
            len(_does(graph, name)) * _SMALL for name in layer
        ]
        wide = max(widths) + 24
        top = MARGIN + (tallest - len(layer) * (HEIGHT + GAP) + GAP) / 2
        for number, name in enumerate(layer):
            boxes[name] = left, top + number * (HEIGHT + GAP), wide
        left += wide + APART
    return boxes


def _does(graph: Graph, name: str) -> str:
    step = graph.steps[name]
    text = step.approve.question if step.approve else " ".join(step.command)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _edge(need: Box, user: Box) -> Element:
    begin, end = need[0] + need[2], user[0]
    from_, to = need[1] + HEIGHT / 2, user[1] + HEIGHT / 2
    bend = max(APART / 2, (end - begin) / 2)
    return tag(
        "path",
        d=f"M{begin:g} {from_:g}C{begin + bend:g} {from_:g} {end - bend:g} {to:g} {end:g} {to:g}",
        marker_end="url(#arrow)",
    )


def _step(graph: Graph, name: str, box: Box, state: State | None) -> Element:
    left, top, wide = box
    step = graph.steps[name]
    whole = step.approve.question if step.approve else " ".join(step.command)
    if step.when:
        whole += f"\nwhen {step.when}"
    kind = state.value if state is not None else "asks" if step.approve else "step"
    return tag(
        "g",
        tag("title", f"{name}\n{whole}" + (f"\n{state.value}" if state else "")),
        tag("rect", x=left, y=top, width=wide, height=HEIGHT, rx=20.0 if step.approve else 6.0),
        tag("text", name, x=left + 12, y=top + 19),
        tag("text", _does(graph, name), x=left + 12, y=top + 35, class_="does"),
        class_=kind,
    )
