"""RoBERTa on BentoML, with its adaptive batching."""

import bentoml
from sentences import Judge


@bentoml.service(workers=2, logging={"access": {"enabled": False}}, traffic={"timeout": 30})
class Sentences:
    def __init__(self) -> None:
        self.judge = Judge("model")

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=30_000)
    def predict(self, texts: list[str]) -> list[bool]:
        return self.judge(texts)
