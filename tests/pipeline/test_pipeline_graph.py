"""The graph of a pipeline: its order, and everything that is wrong with it before anything starts."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import PipelineError
from serinus.pipeline import Approval, Pipeline, Step
from serinus.pipeline.drawing import drawn, ordered
from serinus.pipeline.graph import Graph, graph, listed, may_read


def step(name: str, needs: str = "", inputs: str = "", outputs: str = "") -> Step:
    return Step(name, ("true",), tuple(needs.split()), tuple(inputs.split()), tuple(outputs.split()))


def graph_of(*steps: Step) -> Graph:
    return graph(Pipeline("p", steps))


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[Step, ...]:
    """Steps in any order of declaration, with needs and files that make no circle."""
    count = draw(st.integers(1, 12))
    steps = []
    for number in range(count):
        before = draw(st.lists(st.integers(0, number - 1), max_size=4, unique=True)) if number else []
        by_file = {one for one in before if draw(st.booleans())}
        needs = " ".join(f"s{one}" for one in before if one not in by_file)
        steps.append(step(f"s{number}", needs, " ".join(f"out/{one}" for one in by_file), f"out/{number}"))
    return tuple(draw(st.permutations(steps)))


@given(acyclic())
def test_every_step_comes_behind_what_it_needs(steps: tuple[Step, ...]) -> None:
    found = graph_of(*steps)
    assert sorted(found.order) == sorted(one.name for one in steps)
    place = {name: number for number, name in enumerate(found.order)}
    for one in steps:
        by_file = {f"s{path.removeprefix('out/')}" for path in one.inputs}
        assert set(found.needs[one.name]) == by_file | set(one.needs)
        assert found.reads[one.name] == by_file
        assert all(place[need] < place[one.name] for need in found.needs[one.name])


@given(acyclic())
def test_behind_and_before_are_each_others_reverse(steps: tuple[Step, ...]) -> None:
    found = graph_of(*steps)
    for one in found.order:
        assert all(one in found.before([other]) for other in found.behind([one]))
        assert one not in found.before([one])
        # A longer chain behind it means an earlier turn.
        assert all(found.ranks[one] < found.ranks[user] for user in found.users[one])


@given(acyclic(), st.data())
def test_a_circle_is_found_and_named(steps: tuple[Step, ...], data: st.DataObject) -> None:
    found = graph_of(*steps)
    first = data.draw(st.sampled_from(found.order))
    last = data.draw(st.sampled_from(sorted({first, *found.behind([first])})))
    changed = [
        Step(one.name, one.command, (*one.needs, last), one.inputs, one.outputs) if one.name == first else one
        for one in steps
    ]
    with pytest.raises(PipelineError) as caught:
        graph_of(*changed)
    told = caught.value.message
    assert told.startswith("these steps wait for each other: ")
    circle = told.split(": ")[1].replace(" reads from ", " needs ").split(" needs ")
    assert circle[0] == circle[-1]
    assert first in circle
    assert all(b in [*found.needs[a], *([last] if a == first else [])] for a, b in pairwise(circle))


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([step("a"), step("a")], "more than one step a"),
        (
            [step("train", "prepar"), step("prepare")],
            "needs 'prepar', which is no step; did you mean prepare?",
        ),
        ([step("a", outputs="x"), step("b", outputs="x")], "a and b both write 'x'"),
        ([step("a", outputs="x/y"), step("b", outputs="x")], "a writes 'x/y', which lies in 'x' of b"),
        ([step("a", outputs="x x")], "the step a writes 'x' twice"),
        ([step("a", "a")], "wait for each other: a needs a"),
        ([step("a", "b", outputs="x"), step("b", inputs="x")], "a needs b reads from a"),
    ],
)
def test_what_is_wrong_is_told(steps: list[Step], told: str) -> None:
    with pytest.raises(PipelineError) as caught:
        graph_of(*steps)
    assert told in caught.value.message


def test_names_that_only_begin_alike_do_not_lie_in_each_other() -> None:
    assert graph_of(step("a", outputs="x"), step("b", outputs="xy"), step("c", outputs="x-y/z")).order == (
        "a",
        "b",
        "c",
    )


@pytest.mark.parametrize(
    ("path", "output", "reads"),
    [
        ("data/*.csv", "data/a.csv", True),
        ("data/*.csv", "data", True),
        ("data", "data/a.csv", True),
        ("data/a.csv", "data", True),
        ("data/*", "data/raw/a.csv", True),
        ("data/**/a.csv", "data/raw", True),
        ("data/**", "data/raw/a.csv", True),
        ("data/*.csv", "data/a.json", False),
        ("data2", "data", False),
        ("**/*.py", "build/model.bin", False),
        ("**/*.bin", "build/model.bin", True),
        ("src/**/*.py", "build/model.bin", False),
        (".", "anything", True),
    ],
)
def test_outputs_that_are_inputs_are_needed(path: str, output: str, reads: bool) -> None:
    found = graph_of(step("user", inputs=path), step("maker", outputs=output))
    assert (found.needs["user"] == ("maker",)) is reads
    if "*" in path:
        assert may_read(path, output) is reads


def test_what_an_approval_shows_is_read() -> None:
    found = graph_of(
        Step("ask", approve=Approval("good?", ("score.json",))), step("score", outputs="score.json")
    )
    assert found.needs["ask"] == ("score",)


@given(acyclic())
def test_the_picture_has_every_step_and_every_need(steps: tuple[Step, ...]) -> None:
    found = graph_of(*steps)
    layers = ordered(found)
    depth = {name: number for number, layer in enumerate(layers) for name in layer}
    assert all(depth[need] < depth[name] for name in found.order for need in found.needs[name])
    tree = ElementTree.fromstring(drawn(found))
    svg = "{http://www.w3.org/2000/svg}"
    assert len(tree.findall(f"{svg}g")) == len(steps)
    assert len(tree.findall(f"{svg}path")) == sum(len(needs) for needs in found.needs.values())
    assert [row[0] for row in listed(found)] == [name for layer in found.layers() for name in layer]


def test_what_stands_in_a_command_is_no_markup() -> None:
    text = drawn(graph_of(Step("a", ("sh", "-c", '<script>"&\x1b</script>'))))
    assert "<script>" not in text
    assert ElementTree.fromstring(text) is not None
