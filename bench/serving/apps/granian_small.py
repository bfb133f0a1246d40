"""The small model on bare Granian: what the service does, and nothing that checks or counts."""

import numpy
import onnxruntime
import orjson

OPTIONS = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = 1
SESSION = onnxruntime.InferenceSession("model.onnx", OPTIONS)
NAMES = ["label", "probabilities"]
HEADERS = [("content-type", "application/json")]


async def app(scope, protocol):
    document = orjson.loads(await protocol())
    label, probabilities = SESSION.run(NAMES, {"X": numpy.array(document["X"], dtype=numpy.float32)})
    answer = {"label": label, "probabilities": probabilities}
    protocol.response_bytes(200, HEADERS, orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))
