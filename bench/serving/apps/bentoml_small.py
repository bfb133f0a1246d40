"""The small model on BentoML."""

import bentoml
import numpy
import onnxruntime

NAMES = ["label", "probabilities"]


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Small:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession("model.onnx", options)

    @bentoml.api
    async def predict(self, X: list[list[float]]) -> dict[str, list]:  # noqa: N803 (the input's name)
        values = self.session.run(NAMES, {"X": numpy.array(X, dtype=numpy.float32)})
        return {name: value.tolist() for name, value in zip(NAMES, values, strict=True)}
