"""RoBERTa on LitServe, with its dynamic batching. `python litserve_sentences.py PORT`."""

import sys

from litserve import LitAPI, LitServer
from sentences import Judge


class Sentences(LitAPI):
    def setup(self, device):
        self.judge = Judge("model")

    def decode_request(self, request):
        return request[0]

    def batch(self, inputs):
        return inputs

    def predict(self, texts):
        return self.judge(texts)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"positive": output}


if __name__ == "__main__":
    api = Sentences(max_batch_size=16, batch_timeout=0.002)
    server = LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
