"""Commands for bash and conditions for GitHub: both are held against what really runs them."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.errors import PipelineError
from serinus.pipeline import Parameter
from serinus.pipeline.github.expressions import condition, filled, literal, script, string, variables
from serinus.pipeline.github.inputs import inputs

PARAMETERS = (
    Parameter("publish", True, "bool"),
    Parameter("epochs", 3, "int"),
    Parameter("rate", 0.1, "float"),
    Parameter("stage", "dev", choices=("dev", "prod")),
    Parameter("Case", "a", choices=("a", "A")),
    Parameter("name", ""),
)
signs = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
values = st.text(signs, max_size=12) | st.text("$`\"'\\{} \n\r\t;&|<>()*?[]~!#a", max_size=12)


@settings(max_examples=150)
@given(
    st.lists(values | st.sampled_from(["{a}", "x{a}y", "{{a}}", "{b}{a}", "${{ a }}", "${{{a}"]), max_size=5),
    values,
)
def test_bash_sees_the_words_whatever_stands_in_them(words: list[str], value: str) -> None:
    line = script(("printf", r"%s\0", "begin", *words), {"a": "PARAM_A", "b": "PARAM_B"})
    assert "\n" not in line
    assert "${{" not in line
    environment = {"PARAM_A": value, "PARAM_B": "$(false) ${{ b }}", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", line], env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, check=True
    )
    filled_in = [
        word.replace("{{a}}", "\0")
        .replace("{a}", value)
        .replace("{b}", "$(false) ${{ b }}")
        .replace("\0", "{a}")
        for word in words
    ]
    if "{a}" not in value and "{b}" not in value and "{{a}}" not in "".join(filled_in):
        assert done.stdout.decode().split("\0")[:-1] == ["begin", *filled_in]


def test_a_script_reads_well() -> None:
    names = {"tag": "PARAM_TAG"}
    assert script(("serinus", "build", "--tag", "{tag}"), names) == 'serinus build --tag "${PARAM_TAG}"'
    assert script(("a", "x:{tag}.b", "", "c d"), names) == "a \"x:${PARAM_TAG}.b\" '' 'c d'"


@given(values)
def test_a_literal_text_holds_no_expression(text: str) -> None:
    assert literal(text).replace("${{ '${{' }}", "").count("${{") == 0
    assert string(text)[1:-1].replace("''", "").count("'") == 0


def test_a_variable_is_filled_by_an_expression() -> None:
    assert filled("x {tag} ${{ secrets.A }}", {"tag": "PARAM_TAG"}) == (
        "x ${{ env.PARAM_TAG }} ${{ '${{' }} secrets.A }}"
    )


def test_parameters_that_differ_in_case_alone_are_refused() -> None:
    assert variables(PARAMETERS)["epochs"] == "PARAM_EPOCHS"
    with pytest.raises(PipelineError, match="the parameters a and A differ in case alone"):
        variables([Parameter("a"), Parameter("A")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("publish", "env.publish == 'true'"),
        ("not publish", "!(env.publish == 'true')"),
        ("epochs", "fromJSON(env.epochs) != 0"),
        ("name", "env.name != ''"),
        ("true", "true"),
        ("epochs > 3", "fromJSON(env.epochs) > 3"),
        ("1 < epochs <= 5", "(1 < fromJSON(env.epochs) && fromJSON(env.epochs) <= 5)"),
        ("rate >= -0.5", "fromJSON(env.rate) >= -0.5"),
        ("stage == 'prod'", "env.stage == 'prod'"),
        ("'prod' != stage", "'prod' != env.stage"),
        ("publish == false", "(env.publish == 'true') == (false)"),
        (
            "publish and (epochs > 3 or not name)",
            "env.publish == 'true' && (fromJSON(env.epochs) > 3 || !(env.name != ''))",
        ),
    ],
)
def test_a_condition_in_the_language_of_github(text: str, expected: str) -> None:
    assert condition(text, PARAMETERS, lambda name: f"env.{name}") == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name == 'a'", "without regard to case"),
        ("Case == 'a'", "without regard to case"),
        ("stage == 'PROD'", "without regard to case"),
        ("stage == name", "without regard to case"),
        ("stage < 'prod'", "put in an order"),
        ("epochs == 'a'", "a number is compared with a text"),
        ("publish == 1", "a truth is compared with a number"),
    ],
)
def test_what_github_would_decide_otherwise_is_refused(text: str, why: str) -> None:
    with pytest.raises(PipelineError, match=why) as caught:
        condition(text, PARAMETERS, lambda name: f"env.{name}")
    assert caught.value.todo


def test_inputs_have_the_types_and_bounds_of_parameters() -> None:
    parameters = (
        Parameter("rate", 0.1, "float", 0, 1, about="how fast"),
        Parameter("quick", False, "bool"),
        Parameter("stage", "dev", choices=("dev", "prod")),
        Parameter("who"),
        Parameter("tag", "latest"),
        Parameter("deploy", False, "bool"),
    )
    assert inputs(parameters, {"tag": "github.sha", "deploy": "true"}) == {
        "rate": {"description": "how fast; at least 0, at most 1", "type": "number", "default": "0.1"},
        "quick": {"type": "boolean", "default": False},
        "stage": {"type": "choice", "options": ["dev", "prod"], "default": "dev"},
        "who": {"type": "string", "required": True},
        "tag": {"type": "string"},
        "deploy": {"type": "boolean", "default": False},
    }


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ([Parameter(f"p{n}", "") for n in range(26)], "26 parameters, and a workflow can have 25 inputs"),
        ([Parameter("p", "${{ secrets.A }}")], "GitHub would read an expression"),
        ([Parameter("p", "", about="${{ secrets.A }}")], "GitHub would read an expression"),
    ],
)
def test_inputs_that_github_would_misread_are_refused(parameters: list[Any], why: str) -> None:
    with pytest.raises(PipelineError, match=why):
        inputs(parameters, {})
