"""RoBERTa over a list of sentences: one batch, as long as its longest. What every peer runs.

With a worker on each of two cores, and one thread an inference: the faster way by far, see ``bare.py``.
"""

import os

import numpy
import onnxruntime
from tokenizers import Tokenizer

TOKENS = 512
POSITIVE = 1


class Judge:
    """Says of sentences whether they are glad.

    Args:
        folder: holds ``model.int8.onnx`` and ``tokenizer.json``.
        threads: of one inference; by default what ``OMP_NUM_THREADS`` says.
        asleep: whether they sleep between inferences, which is not the runtime's default.
    """

    def __init__(self, folder: str, threads: int = 0, *, asleep: bool = False) -> None:
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.tokenizer.enable_truncation(TOKENS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or int(os.environ.get("OMP_NUM_THREADS", "0"))
        if asleep:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = onnxruntime.InferenceSession(f"{folder}/model.int8.onnx", options)

    def __call__(self, texts: list[str]) -> list[bool]:
        rows = [self.tokenizer.encode(text).ids for text in texts]
        shape = (len(rows), max(map(len, rows)))
        ids, mask = numpy.ones(shape, numpy.int64), numpy.zeros(shape, numpy.int64)  # 1 pads, says RoBERTa
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        (logits,) = self.session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
        return [bool(positive) for positive in logits.argmax(axis=1) == POSITIVE]
