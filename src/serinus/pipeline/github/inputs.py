"""The parameters of a pipeline as what a person fills in who starts a workflow by hand. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serinus.errors import PipelineError
from serinus.pipeline import Parameter
from serinus.pipeline.words import text_of

MOST = 25
"""Inputs that GitHub lets a workflow have."""
_TYPES = {"bool": "boolean", "int": "number", "float": "number", "str": "string"}


def inputs(parameters: Sequence[Parameter], overrides: Mapping[str, str]) -> dict[str, Any]:
    """The inputs of ``workflow_dispatch``.

    Args:
        parameters: of the pipeline.
        overrides: parameter -> the expression that stands for it where it is left empty.

    Raises:
        PipelineError: there are too many, or a text among them would be read as an expression.
    """
    if len(parameters) > MOST:
        raise PipelineError(
            f"the pipeline has {len(parameters)} parameters, and a workflow can have {MOST} inputs",
            "Put some together, or start the pipeline with `serinus run` in a workflow of your own.",
        )
    return {parameter.name: _input(parameter, parameter.name in overrides) for parameter in parameters}


def _input(parameter: Parameter, overridden: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if said := _said(parameter):
        found["description"] = _plain(parameter, said)
    found["type"] = "choice" if parameter.choices else _TYPES[parameter.type]
    if parameter.choices:
        found["options"] = [_plain(parameter, text_of(choice)) for choice in parameter.choices]
    if parameter.default is None and not overridden:
        found["required"] = True
    elif parameter.default is not None and not (overridden and parameter.type == "str"):
        given = parameter.default
        found["default"] = given if isinstance(given, bool) else _plain(parameter, text_of(given))
    return found


def _said(parameter: Parameter) -> str:
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", parameter.minimum), ("at most", parameter.maximum))
        if bound is not None
    ]
    return "; ".join(part for part in (parameter.about, ", ".join(bounds)) if part)


def _plain(parameter: Parameter, text: str) -> str:
    if "${{" in text:
        raise PipelineError(
            f"the parameter {parameter.name} has the text {text!r}, in which GitHub would read an expression",
            "Write it without '${{'.",
        )
    return text
