"""Train the model: TF-IDF over words and word pairs and logistic regression, as one ONNX graph."""

from __future__ import annotations

import json
import time
from pathlib import Path

import onnx
from data import Sentence, sentences
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

HERE = Path(__file__).parent


def main() -> None:
    begin = time.perf_counter()
    rows = sentences()
    train = [row for row in rows if not row.held_out]
    test = [row for row in rows if row.held_out]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"[a-zA-Z0-9]+")
    model = make_pipeline(words, LogisticRegression(C=6.0, max_iter=1000))
    model.fit([row.text for row in train], [row.positive for row in train])
    accuracy = model.score([row.text for row in test], [row.positive for row in test])
    save(model)
    label(test)
    facts = {"accuracy": round(accuracy, 4), "train": len(train), "test": len(test)}
    (HERE / "model.json").write_text(json.dumps(facts) + "\n")
    took = time.perf_counter() - begin
    print(f"{len(train)} sentences, accuracy {accuracy:.3f} on {len(test)} others, {took:.1f} s")


def save(model: object) -> None:
    graph = to_onnx(
        model,
        initial_types=[("text", StringTensorType([None]))],
        options={LogisticRegression: {"zipmap": False}},
        target_opset=17,
    )
    for node in graph.graph.node:
        if node.op_type == "StringNormalizer":  # the default locale is not in every image
            kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("locale", "C")])
    (HERE / "model.onnx").write_bytes(graph.SerializeToString())


def label(held_out: list[Sentence]) -> None:
    """Write the held-out sentences as labelled data, for the checks."""
    rows = [
        {"request": [row.text], "label": row.positive, "slice": {"source": row.source}} for row in held_out
    ]
    (HERE / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
