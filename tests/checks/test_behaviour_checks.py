"""What the checks of behaviour decide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks.behaviour.answers import none_answered, unlike
from serinus.checks.behaviour.batch import joined, tied, told
from serinus.checks.behaviour.metamorphic import cases_of, same
from serinus.checks.behaviour.transforms import TRANSFORMS, changed, negation
from serinus.checks.subjects import Answered
from serinus.project import Checks


@given(st.text(), st.sampled_from(sorted(TRANSFORMS)))
def test_a_changed_text_is_another_one_and_always_the_same(text: str, name: str) -> None:
    forms = TRANSFORMS[name](text)
    assert text not in forms
    assert forms == TRANSFORMS[name](text)


@given(st.lists(st.text(max_size=12), max_size=4), st.sampled_from(sorted(TRANSFORMS)))
def test_a_changed_request_differs_in_its_texts_alone(request_: list[str], name: str) -> None:
    for form in changed({"texts": request_, "n": 1}, TRANSFORMS[name]):
        assert form["n"] == 1
        assert len(form["texts"]) == len(request_)
        assert form["texts"] != request_


@pytest.mark.parametrize(
    ("text", "form"),
    [("It is good", "It is not good"), ("It is not good", "It is good"), ("A good film", None)],
)
def test_negation(text: str, form: str | None) -> None:
    assert negation(text) == (() if form is None else (form,))


def test_negation_must_apply_to_every_text_of_a_request() -> None:
    assert cases_of((["It is good", "A fine film"],), "negation") == []
    assert len(cases_of((["It is good"], "code"), "negation")) == 1


def test_labels_are_the_prediction_where_there_are_some() -> None:
    settings = Checks()
    assert same({"positive": True, "p": 0.9}, {"positive": True, "p": 0.6}, settings)
    assert not same({"positive": True}, {"positive": False}, settings)
    assert not same([0.9], [0.6], settings)


def test_two_faults_are_alike_and_one_is_not() -> None:
    assert unlike(Answered(fault="a"), Answered(fault="b"), 0.1) == ()
    assert len(unlike(Answered(1), Answered(fault="b"), 0.1)) == 1
    assert unlike(Answered([0.5]), Answered([0.55]), 0.1) == ()
    assert none_answered([Answered(fault="a")])
    assert not none_answered([Answered(fault="a"), Answered(1)])


def test_requests_are_joined_where_their_answers_are_in_step() -> None:
    assert joined([(["a"], [1]), (["b", "c"], [2, 3])]) == (["a", "b", "c"], [1, 2, 3])
    assert joined([({"x": [1]}, {"y": [2]}), ({"x": [3]}, {"y": [4]})]) == ({"x": [1, 3]}, {"y": [2, 4]})
    assert joined([(["a"], {"sum": 1}), (["b"], {"sum": 2})]) is None
    assert joined([(["a"], [1])]) is None


def test_a_label_may_flip_in_a_batch_at_a_tie_alone() -> None:
    near, far = {"positive": True, "p": 0.51}, {"positive": True, "p": 0.9}
    assert tied(near, "/positive", 0.05)
    assert not tied(far, "/positive", 0.05)
    assert told(Answered(near), Answered({"positive": False, "p": 0.49}), 0.05) == ()
    assert len(told(Answered(far), Answered({"positive": False, "p": 0.9}), 0.05)) == 1
    assert len(told(Answered(near), Answered({"positive": False, "p": 0.1}), 0.05)) == 2
    columns = {"label": ["a", "b"], "p": [[0.5, 0.5], [0.1, 0.9]]}
    assert tied(columns, "/label/0", 0.05)
    assert not tied(columns, "/label/1", 0.05)
    assert not tied({"positive": True}, "/positive", 0.05)
