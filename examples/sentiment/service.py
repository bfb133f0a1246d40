"""The service: one judgement for each text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import onnxruntime as ort
from pydantic import Field


@dataclass
class Sentiment:
    positive: bool
    probability: Annotated[float, Field(ge=0, le=1)]


def setup() -> ort.InferenceSession:
    return ort.InferenceSession("model.onnx")


def predict(
    texts: Annotated[list[str], Field(min_length=1, max_length=64)], *, model: ort.InferenceSession
) -> list[Sentiment]:
    _, probabilities = model.run(None, {"text": np.array(texts, dtype=object)})
    return [Sentiment(positive=bool(p >= 0.5), probability=round(float(p), 2)) for p in probabilities[:, 1]]
