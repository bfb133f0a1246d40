"""Whether the tokenizer is the model's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.model.files import named, onnx_files
from serinus.checks.model.graph import read, rows
from serinus.image.sources import ModelPlace
from serinus.project import Project

FILE = "tokenizer.json"
INPUT = "input_ids"


@check(
    "model.tokenizer",
    why="The tokenizer of another model gave ids beyond the embedding, and texts with rare words failed.",
    seconds=0.5,
)
def tokenizer(source: Project, model: ModelPlace) -> Result:
    """Every id that the tokenizer.json beside an ONNX model can give is a row of the model's embedding."""
    pairs = [(file, file.parent / FILE) for file in onnx_files(model) if (file.parent / FILE).is_file()]
    if not pairs:
        raise NotApplicable(f"no {FILE} lies beside the model")
    findings, told = [], []
    for file, words in pairs:
        table = rows(read(file), INPUT)
        if table is None:
            continue
        name = named(words, source)
        try:
            last = highest(json.loads(words.read_bytes()))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            findings.append(
                Finding(f"{name} is no tokenizer: {error!r}", "Fetch the model's own again.", name)
            )
            continue
        if last >= table:
            findings.append(
                Finding(
                    f"{name} has ids up to {last}, expected less than {table}: the rows of the embedding in "
                    f"{named(file, source)}",
                    "Take the tokenizer that the model was trained with.",
                    name,
                )
            )
        told.append(f"ids up to {last}, {table} rows")
    if not told and not findings:
        raise NotApplicable(f"no embedding that {INPUT} goes into was found in the model")
    return Result("" if findings else "; ".join(told), tuple(findings))


def highest(document: Mapping[str, Any]) -> int:
    """The highest id that a tokenizer can give: of its vocabulary, and of the tokens added to it. Pure.

    The format is that of the library tokenizers: the vocabulary maps tokens to ids, or lists them.
    """
    words = document["model"]["vocab"]
    ids = list(words.values()) if isinstance(words, dict) else [len(words) - 1]
    return int(max([*ids, *(token["id"] for token in document.get("added_tokens", ()))]))
