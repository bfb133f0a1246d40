"""The small model on MLServer, in the Open Inference Protocol."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

NAMES = ["label", "probabilities"]


class Small(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession("model.onnx", options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = NumpyCodec.decode_input(payload.inputs[0])
        values = self.session.run(NAMES, {"X": found})
        outputs = [NumpyCodec.encode_output(*pair) for pair in zip(NAMES, values, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
