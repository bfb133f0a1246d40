"""Faults in a model, and in what a service takes it for."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

from faults import Fault, append, replace


def _truncated(folder: Path) -> None:
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[:-200])


def _malformed(folder: Path) -> None:
    import onnx

    model = onnx.load(folder / "model.onnx")
    model.graph.node[-1].input[0] = "made_by_nobody"
    onnx.save(model, folder / "model.onnx")


def _output(folder: Path) -> None:
    replace(folder / "service.py", '["logits"]', '["output_0"]')


def _pickle(folder: Path) -> None:
    (folder / "model" / "vectors.bin").write_bytes(pickle.dumps({"a": [1, 2, 3]}))
    append(folder / "serinus.toml", "\n[checks.model]\nforbid_pickle = true\n")


def _digest(folder: Path) -> None:
    replace(folder / "serinus.toml", "[model]\n", f'[model]\ndigest = "sha256:{"0" * 64}"\n')


def _tokenizer(folder: Path) -> None:
    words = {f"word{number}": number for number in range(120_000)}
    document = {"model": {"type": "WordLevel", "vocab": words, "unk_token": "word0"}, "added_tokens": []}
    (folder / "model" / "tokenizer.json").write_text(json.dumps(document))


FAULTS = (
    Fault("a model file that was cut off", "onnx", "model.loads", "does not load", _truncated),
    Fault("a node whose input nothing makes", "onnx", "model.onnx", "made_by_nobody", _malformed),
    Fault("an output that the model does not have", "roberta", "model.interface", "'output_0'", _output),
    Fault("a pickle in the model's folder", "roberta", "model.pickle", "vectors.bin is a pickle", _pickle),
    Fault("another model than the one named by its digest", "onnx", "model.digest", "expected", _digest),
    Fault("the tokenizer of a model with more words", "roberta", "model.tokenizer", "119999", _tokenizer),
)
