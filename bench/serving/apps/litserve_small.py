"""The small model on LitServe. `python litserve_small.py PORT`."""

import sys

import numpy
import onnxruntime
from litserve import LitAPI, LitServer

NAMES = ["label", "probabilities"]


class Small(LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession("model.onnx", options)

    def predict(self, request):
        values = self.session.run(NAMES, {"X": numpy.array(request["X"], dtype=numpy.float32)})
        return {name: value.tolist() for name, value in zip(NAMES, values, strict=True)}


if __name__ == "__main__":
    server = LitServer(Small(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
