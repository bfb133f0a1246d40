"""Commands, conditions, parameters: what a person wrote becomes values, or a fault that says why."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import PipelineError
from serinus.pipeline import Parameter, Pipeline, Step, when
from serinus.pipeline.parameters import bind, faults_of, split
from serinus.pipeline.words import (
    command_of,
    duties,
    greedy,
    parameters_of,
    places,
    put_in,
    started_as,
    text_of,
)

NAMES = ("epochs", "rate", "publish", "stage")
names = st.sampled_from(NAMES)
values = st.one_of(
    st.booleans(),
    st.integers(-5, 5),
    st.floats(-5, 5).map(lambda x: round(x, 2)),
    st.sampled_from(["", "prod", "a b"]),
)
bindings = st.fixed_dictionaries(dict.fromkeys(NAMES, values))


# Parameters in commands


@given(
    st.lists(
        st.one_of(names.map(lambda n: (n, True)), st.text('ab{}=" :1', max_size=4).map(lambda t: (t, False)))
    ),
    bindings,
)
def test_a_parameter_is_put_in_wherever_it_stands(
    parts: list[tuple[str, bool]], bound: dict[str, object]
) -> None:
    text = " ".join(f"{{{part}}}" if place else part for part, place in parts)
    expected = " ".join(text_of(bound[part]) if place else part for part, place in parts)  # type: ignore[arg-type]
    assert put_in(text, bound) == expected  # type: ignore[arg-type]
    assert list(places(text)) == [part for part, place in parts if place]


def test_doubled_braces_and_json_stand_for_themselves() -> None:
    assert put_in('{{epochs}} {"a": {"b": 1}} {epochs}', {"epochs": 3}) == '{epochs} {"a": {"b": 1}} 3'
    step = Step("s", ("x", "--n={epochs}"), env={"RATE": "{rate}"}, params=("stage",))
    assert parameters_of(step) == {"epochs", "rate", "stage"}
    assert command_of(step, {"epochs": True}) == ("x", "--n=true")


def test_serinus_is_this_program() -> None:
    assert started_as(("serinus", "build")) == (sys.executable, "-m", "serinus", "build")
    assert started_as(("python", "serinus")) == ("python", "serinus")


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (("python", "train.py"), ("trains",)),
        (("python", "train_and_publish.py"), ("trains", "publishes")),
        (("bash", "-c", "curl -O https://x/train; python fit.py"), ("fetches", "trains")),
        (("serinus", "build"), ("builds",)),
        (("docker", "push", "x"), ("publishes",)),
        (("python", "evaluate.py", "--model", "build/model.bin"), ()),
        (("python", "restrain.py"), ()),
        (("sh", "-c", "git clone x && serinus build && serinus publish"), ("fetches", "builds", "publishes")),
    ],
)
def test_a_step_that_does_too_much_is_greedy(command: tuple[str, ...], found: tuple[str, ...]) -> None:
    step = Step("all", command)
    assert duties(step) == found
    assert bool(greedy(step)) == (len(found) > 1)
    assert all(duty in greedy(step) for duty in found if len(found) > 1)


# Conditions

literals = st.one_of(
    st.integers(0, 5).map(str), st.sampled_from(["'prod'", '"a b"', "True", "False", "1.5"]), names
)


def _joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda text: f"(not {text})"),
        st.tuples(literals, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), literals)
        .map(" ".join)
        .map("({})".format),
    )


@given(st.recursive(literals, _joined, max_leaves=12), bindings)
def test_a_condition_means_what_python_means(text: str, bound: dict[str, object]) -> None:
    try:
        expected: bool | None = bool(eval(text, {"__builtins__": {}}, dict(bound)))
    except TypeError:
        expected = None
    if expected is None:
        with pytest.raises(PipelineError, match="cannot be compared"):
            when.holds(text, bound)  # type: ignore[arg-type]
    else:
        assert when.holds(text, bound) is expected  # type: ignore[arg-type]
    assert set(when.names(when.parse(text))) <= set(NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "epochs = 3",
        "f(1)",
        "a.b",
        "a[0]",
        "1 + 1",
        "lambda: 1",
        "x if y else z",
        "'a' in 'abc'",
        "[1]",
        "`x`",
        "__import__('os')",
        "1 is 1",
        "b'x'",
        "...",
        "not",
        "x; y",
        "f'{x}'",
        "~1",
        "-True",
        "\0",
        "(" * 500,
    ],
)
def test_nothing_else_is_a_condition(text: str) -> None:
    with pytest.raises(PipelineError) as caught:
        when.parse(text)
    assert "condition" in caught.value.message
    assert caught.value.todo


def test_small_truths_are_truths_unless_they_are_parameters() -> None:
    assert when.holds("true and not false", {})
    assert not when.holds("true", {"true": False})
    assert when.holds("-1 < epochs < 4", {"epochs": 3})


# Parameters

EPOCHS = Parameter("epochs", 3, "int", 1, 100, about="passes over the data")


def bound(parameter: Parameter, text: str) -> object:
    return bind(Pipeline("p", (), (parameter,)), {parameter.name: text})[parameter.name]


@given(st.integers(1, 100))
def test_a_number_within_its_bounds_is_taken(number: int) -> None:
    assert bound(EPOCHS, str(number)) == number


@pytest.mark.parametrize(
    ("parameter", "text", "told"),
    [
        (EPOCHS, "0", "epochs = 0; expected at least 1 (passes over the data)"),
        (EPOCHS, "101", "expected at most 100"),
        (EPOCHS, "3.5", "expected a whole number"),
        (EPOCHS, "", "expected a whole number"),
        (Parameter("rate", None, "float"), "nan", "expected a number"),
        (Parameter("rate", None, "float"), "inf", "expected a number"),
        (Parameter("x", None, "bool"), "maybe", "expected true or false"),
        (Parameter("x", None, choices=("a", "b")), "c", "expected one of a, b"),
    ],
)
def test_a_value_that_does_not_fit_is_named(parameter: Parameter, text: str, told: str) -> None:
    with pytest.raises(PipelineError) as caught:
        bound(parameter, text)
    assert told in caught.value.message


def test_types_hold_for_values_that_are_no_texts() -> None:
    for wrong in (True, 2.0, [1]):
        with pytest.raises(PipelineError, match="whole number"):
            bind(Pipeline("p", (), (EPOCHS,)), {"epochs": wrong})  # type: ignore[dict-item]
    assert bind(Pipeline("p", (), (Parameter("r", None, "float"),)), {"r": 2}) == {"r": 2.0}
    assert [bound(Parameter("x", None, "bool"), t) for t in ("true", "No", "1")] == [True, False, True]


def test_every_fault_is_told_at_once() -> None:
    pipeline = Pipeline("p", (), (EPOCHS, Parameter("seed", None, "int")))
    with pytest.raises(PipelineError) as caught:
        bind(pipeline, {"epoch": 3, "epochs": 0})
    assert len(caught.value.message.splitlines()) == 3
    assert "did you mean epochs?" in caught.value.message
    assert "seed has no default" in caught.value.message


def test_the_command_line_is_split() -> None:
    assert split(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(PipelineError):
            split(wrong)


@pytest.mark.parametrize(
    "parameter",
    [
        Parameter("x", "3", "int"),
        Parameter("x", 0, "int", 1),
        Parameter("x", "a", minimum=1),
        Parameter("x", 1, "int", 5, 2),
        Parameter("x", "c", choices=("a",)),
        Parameter("x", 1, "int", choices=("a",)),
    ],
)
def test_a_parameter_that_contradicts_itself_is_a_fault(parameter: Parameter) -> None:
    assert list(faults_of(parameter))


def test_a_right_parameter_has_no_fault() -> None:
    assert not [
        *faults_of(EPOCHS),
        *faults_of(Parameter("r", 1.0, "float", 0.5, 2)),
        *faults_of(Parameter("s")),
    ]
