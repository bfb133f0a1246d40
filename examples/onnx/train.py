"""Train a classifier of breast tumours and write it as one ONNX file: `python train.py [FILE]`.

Beside it goes `labelled.jsonl`, the tumours that it has not seen. The data are the 569 measured tumours that
scikit-learn ships (Street, Wolberg and Mangasarian, 1993).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

HERE = Path(__file__).parent


def main(file: Path) -> None:
    data = load_breast_cancer()
    kinds = data.target_names[data.target]
    x, x_test, y, y_test = train_test_split(data.data, kinds, test_size=0.25, random_state=0, stratify=kinds)
    # The scaler clips: a measurement beyond those of the training is taken for the nearest of them. Without
    # it the largest numbers that a float32 holds would add up to infinities, and the answer to NaN.
    # The tolerance is small so that every version of the solver ends at the same weights.
    model = make_pipeline(MinMaxScaler(clip=True), LogisticRegression(C=10.0, tol=1e-9, max_iter=10_000))
    model.fit(x, y)
    graph = to_onnx(
        model,
        initial_types=[("features", FloatTensorType([None, x.shape[1]]))],
        options={LogisticRegression: {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    file.write_bytes(graph.SerializeToString())
    label(x_test, y_test, file.with_name("labelled.jsonl"))
    print(f"{len(x)} tumours, accuracy {model.score(x_test, y_test):.3f} on {len(x_test)} others")


def label(x: np.ndarray, y: np.ndarray, file: Path) -> None:
    """Write labelled data for the checks; the slices are tumours of a small and of a large mean radius."""
    middle = np.median(x[:, 0])
    with file.open("w") as out:
        for measured, kind in zip(x, y, strict=True):
            size = "large" if measured[0] > middle else "small"
            row = {"request": {"features": [measured.tolist()]}, "label": kind, "slice": {"size": size}}
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "model.onnx")
