"""Is a sentence glad? RoBERTa's tokenizer and an ONNX model, loaded once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from tokenizers import Tokenizer

import serinus

FOLDER = Path(__file__).parent / "model"
TOKENS = 512
CHARACTERS = 64 * TOKENS
"""More than 512 tokens of any text that people write: the rest would be cut off anyway, after being read."""
POSITIVE = 1


@dataclass
class Model:
    tokenizer: Tokenizer
    session: serinus.OnnxSession


@dataclass
class Sentiment:
    positive: bool


def setup() -> Model:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    return Model(tokenizer, serinus.OnnxSession(FOLDER / "model.int8.onnx"))


def predict(texts: Annotated[list[str], Field(min_length=1, max_length=1)], *, model: Model) -> Sentiment:
    """A request is a list with one sentence."""
    ids = np.array([model.tokenizer.encode(texts[0][:CHARACTERS]).ids], dtype=np.int64)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    (logits,) = model.session.run(["logits"], inputs)
    return Sentiment(positive=bool(logits[0].argmax() == POSITIVE))
