"""Train the model: TF-IDF over words and word pairs and logistic regression, as one ONNX graph."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

SENTENCES, MODEL = Path("build/sentences.jsonl"), Path("model.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strength", type=float, default=6.0, help="the lower, the more it is held back")
    parser.add_argument("--pairs", type=int, default=2, help="words in a row that are looked at together")
    chosen = parser.parse_args()
    rows = [json.loads(line) for line in SENTENCES.read_text().splitlines()]
    train = [row for row in rows if not row["held_out"]]
    words = TfidfVectorizer(
        ngram_range=(1, chosen.pairs), min_df=2, sublinear_tf=True, token_pattern=r"[a-zA-Z0-9]+"
    )
    model = make_pipeline(words, LogisticRegression(C=chosen.strength, max_iter=1000))
    model.fit([row["text"] for row in train], [row["positive"] for row in train])
    MODEL.write_bytes(graph(model))
    print(f"learned from {len(train)} sentences")


def graph(model: Pipeline) -> bytes:
    """The model as ONNX: texts in, label and probabilities out."""
    made = to_onnx(
        model,
        initial_types=[("text", StringTensorType([None]))],
        options={LogisticRegression: {"zipmap": False}},
        target_opset=17,
    )
    for node in made.graph.node:
        if node.op_type == "StringNormalizer":  # the default locale is not in every image
            kept = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("locale", "C")])
    return made.SerializeToString()


if __name__ == "__main__":
    main()
