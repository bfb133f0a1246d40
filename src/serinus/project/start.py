"""Starting a project: the files that ``serinus init`` writes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serinus.contract.onnx import Interface, Tensor, interface
from serinus.errors import ProjectError
from serinus.files import write_atomically
from serinus.project import FILE, ignore

_SERVICE = '''\
"""Says whether a text sounds glad. Put your model in its place: load it in `setup`, use it in `predict`."""

from dataclasses import dataclass

import serinus


@dataclass
class Model:
    glad: frozenset[str]
    sad: frozenset[str]


@dataclass
class Sentiment:
    positive: bool
    score: float


def setup() -> Model:
    """Called once, before the first request; what it returns is passed to `predict` as `model`."""
    glad, sad = {"good", "great", "love", "robust"}, {"bad", "poor", "hate", "slow"}
    return Model(frozenset(glad), frozenset(sad))


@serinus.batched(max_size=32)
def predict(texts: list[str], *, model: Model) -> list[Sentiment]:
    """A request is one text and gets one Sentiment; requests that wait together come here together."""
    return [judge(text.lower().split(), model) for text in texts]


def judge(words: list[str], model: Model) -> Sentiment:
    score = sum((word in model.glad) - (word in model.sad) for word in words) / max(len(words), 1)
    return Sentiment(positive=score > 0, score=score)
'''

_EXAMPLES: list[dict[str, Any]] = [
    {"request": "great and robust", "response": {"positive": True, "score": 2 / 3}},
    {"request": "slow", "response": {"positive": False, "score": -1.0}},
    {"request": ""},
]

_TYPED = """\
[service]
name = "{name}"
entrypoint = "service:predict"
"""

_ONNX = """\
[service]
name = "{name}"

[model]
source = {source}
"""


def files(name: str) -> dict[str, str]:
    """The files of a small typed project, by path."""
    return {
        FILE: _TYPED.format(name=name),
        "service.py": _SERVICE,
        "requirements.txt": "# what service.py imports, one requirement a line\n",
        "examples.jsonl": _lines(_EXAMPLES),
    }


def files_around(name: str, source: str, graph: Interface) -> dict[str, str]:
    """The files of a project around a bare ONNX file, by path: no code, one example."""
    text = _ONNX.format(name=name, source=json.dumps(source))
    if ".." in source.split("/") or source.startswith("/"):
        text += f"path = {json.dumps(Path(source).name)}\n"
    return {FILE: text, "examples.jsonl": _lines([{"request": example(graph)}])}


def example(graph: Interface) -> dict[str, Any]:
    """The simplest request that a graph takes: zeros, empty texts, one for each free dimension."""
    return {tensor.name: _nested(tensor, tensor.shape or ()) for tensor in graph.inputs}


def _nested(tensor: Tensor, shape: tuple[int | str | None, ...]) -> Any:
    if not shape:
        return {"string": "", "bool": False}.get(tensor.dtype, 0)
    size = shape[0] if isinstance(shape[0], int) else 1
    return [_nested(tensor, shape[1:])] * size


def name_from(text: str) -> str:
    """A valid service name near to a text: ``My Model_v2`` becomes ``my-model_v2``."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower())
    return re.sub(r"[._-]*([._-])[._-]*", r"\1", name).strip("._-") or "service"


def start(folder: Path, model: Path | None = None, name: str | None = None) -> tuple[Path, ...]:
    """Write a new project; a file that is there already is never overwritten, a ``.gitignore`` is added to.

    Args:
        folder: where; it is made if it is not there.
        model: an ONNX file to build the project around; None writes a small typed project.
        name: of the service; by default from the model's or the folder's name.

    Returns:
        The files that were written.

    Raises:
        ProjectError: one of the files is there already, or there is no such model.
        ContractError: the model is not an ONNX file that can be served.
    """
    if model is not None and not model.is_file():
        raise ProjectError(f"there is no file {model}", "Name an ONNX file, or leave it out.")
    name = name_from(name or (model.stem if model else folder.resolve().name))
    if model is None:
        contents: Mapping[str, str] = files(name)
    else:
        source = Path(os.path.relpath(model.resolve(), folder.resolve())).as_posix()
        contents = files_around(name, source, interface(model))
    there = [path for path in contents if (folder / path).exists()]
    if there:
        raise ProjectError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} in {folder.resolve()} already",
            "Choose another folder with --project, or move what is there.",
        )
    ignored = ignore.ensure(folder)
    for path, text in sorted(contents.items(), key=lambda item: item[0] == FILE):
        write_atomically(folder / path, text.encode())
    return (*(folder / path for path in contents), *([ignored] if ignored is not None else []))


def _lines(documents: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)
