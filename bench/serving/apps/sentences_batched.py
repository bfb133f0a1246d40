"""RoBERTa as a typed function over many sentences, in batches of like length."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from tokenizers import Tokenizer

import serinus

FOLDER = Path(__file__).parent / "model"
TOKENS = 512
POSITIVE = 1


@dataclass
class Model:
    tokenizer: Tokenizer
    session: serinus.OnnxSession


@dataclass
class Sentiment:
    positive: bool


One = Annotated[list[str], Field(min_length=1, max_length=1)]


def setup() -> Model:
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    return Model(tokenizer, serinus.OnnxSession(FOLDER / "model.int8.onnx"))


@serinus.batched(max_size=16, key=lambda texts: len(texts[0]))
def predict(requests: list[One], *, model: Model) -> list[Sentiment]:
    """A request is a list with one sentence."""
    rows = [model.tokenizer.encode(texts[0]).ids for texts in requests]
    shape = (len(rows), max(map(len, rows)))
    ids, mask = np.ones(shape, np.int64), np.zeros(shape, np.int64)  # 1 pads, says RoBERTa
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    (logits,) = model.session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
    return [Sentiment(positive=bool(one)) for one in logits.argmax(axis=1) == POSITIVE]
