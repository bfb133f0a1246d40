"""Train the model's last layer anew, as a second version to roll out: `python retrain.py [--sentences N]`.

The model in model/ reads the sentences of the split `train`; a logistic regression is fitted to what goes
into its last layer, and takes that layer's place, in floats instead of 8 bits. model.int8.onnx is replaced;
`python fetch.py` brings the first one back.

The sentences are those of data/sentiment.jsonl, which is looked for where fetch.py looks.
"""

from __future__ import annotations

import argparse
import json
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from fetch import source
from onnx import helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
FILE = HERE / "model" / "model.int8.onnx"
FEATURES = "/m/classifier/Tanh_output_0"
"""What goes into the last layer: 384 numbers a sentence."""
LOGITS = "logits"
POSITIVE = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, metavar="N", help="to train on; default: all")
    parser.add_argument("--data", type=Path, default=source([]).parents[1] / "data" / "sentiment.jsonl")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.data.read_text("utf-8").splitlines()]
    train = spread([row for row in rows if row["split"] == "train"], options.sentences)
    test = [row for row in rows if row["split"] == "test"]

    first = onnx.load(FILE)
    # Of the powers of ten the split `dev` prefers this C, by little.
    model = LogisticRegression(C=0.01, max_iter=10_000).fit(outputs(first, FEATURES, train), labels(train))
    second = with_last_layer(first, model.coef_[0], float(model.intercept_[0]))
    onnx.save(second, FILE)
    print(f"{len(train)} sentences, accuracy {accuracy(second, test):.3f} on {len(test)} others")


def spread(rows: list[Any], number: int | None) -> list[Any]:
    """As many rows, taken at even distances."""
    return rows if number is None else [rows[at * len(rows) // number] for at in range(number)]


def labels(rows: list[Any]) -> np.ndarray:
    return np.array([row["positive"] for row in rows])


def accuracy(model: onnx.ModelProto, rows: list[Any]) -> float:
    """The share of sentences that a model judges rightly."""
    chosen = outputs(model, LOGITS, rows).argmax(axis=1)
    return float(((chosen == POSITIVE) == labels(rows)).mean())


def outputs(model: onnx.ModelProto, name: str, rows: list[Any]) -> np.ndarray:
    """What a model computes of each sentence, [sentence, number]; one at a time, as the service does."""
    looked_at = onnx.ModelProto()
    looked_at.CopyFrom(model)
    if name not in {output.name for output in model.graph.output}:
        looked_at.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a sentence is small: a core for each is quicker than all for one
    session = onnxruntime.InferenceSession(looked_at.SerializeToString(), options)
    tokenizer = Tokenizer.from_file(str(FILE.with_name("tokenizer.json")))
    tokenizer.enable_truncation(512)

    def output(row: Any) -> np.ndarray:
        ids = np.array([tokenizer.encode(row["text"]).ids], dtype=np.int64)
        (values,) = session.run([name], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return values[0]

    with ThreadPool() as pool:
        return np.array(pool.map(output, rows))


def with_last_layer(model: onnx.ModelProto, weights: np.ndarray, bias: float) -> onnx.ModelProto:
    """A model in which all between :data:`FEATURES` and :data:`LOGITS` is one matrix product.

    The logits lie symmetrically around 0, half the log-odds on each side.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, behind, kept = made.graph, {FEATURES}, []
    for node in graph.node:  # in topological order, as ONNX has them
        if behind.isdisjoint(node.input):
            kept.append(node)
        else:
            behind.update(node.output)
    matrix = np.stack([-weights / 2, weights / 2]).astype(np.float32)
    kept.append(helper.make_node("Gemm", [FEATURES, "last.weight", "last.bias"], [LOGITS], transB=1))
    used = {name for node in kept for name in node.input}
    stored = [one for one in graph.initializer if one.name in used and not one.name.startswith("last.")]
    stored.append(numpy_helper.from_array(matrix, "last.weight"))
    stored.append(numpy_helper.from_array(np.array([-bias / 2, bias / 2], np.float32), "last.bias"))
    for field, values in ((graph.node, kept), (graph.initializer, stored)):
        del field[:]
        field.extend(values)
    onnx.checker.check_model(made)
    return made


if __name__ == "__main__":
    main()
