"""RoBERTa on MLServer, with its adaptive batching."""

import numpy
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from sentences import Judge


class Sentences(MLModel):
    async def load(self) -> bool:
        self.judge = Judge("model")
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = self.judge(StringCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output("positive", numpy.array(found).reshape(-1, 1))
        return InferenceResponse(model_name=self.name, outputs=[output])
