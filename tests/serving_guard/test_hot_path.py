"""The way of a request does not grow unseen: calls are counted, which no load and no slow machine changes.

A bound that is exceeded names the calls. When something is worth its calls, raise the bound by them; when
there are fewer, lower it: a margin of a few calls is for the versions of Python, nothing else.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy
from guarding import Calls
from onnx import helper, numpy_helper
from served import FakeExchange, posting
from tiny_models import model, save

from serinus.contract.infer import signature
from serinus.serving import Settings
from serinus.serving.admission import Here
from serinus.serving.app import Limits, Router
from serinus.serving.function import FunctionService, caller
from serinus.serving.loading import opened
from serinus.serving.logs import AccessLog
from serinus.serving.metrics import Metrics
from serinus.serving.onnx import load
from serinus.serving.service import Service, predicting

REQUESTS, TOGETHER = 320, 8
ALONE, IN_TURNS, TYPED = 92, 100, 82
"""Calls a request: of a small model, alone and with others of the same turn; and of a typed function."""


class Arriving(FakeExchange):
    """A request whose body has not come when its head has: others of the same turn are begun meanwhile."""

    async def _whole(self) -> bytes:
        await asyncio.sleep(0)
        return await super()._whole()


class Served:
    """A router before a service, as the server has it, with an access log."""

    def __init__(self) -> None:
        metrics = Metrics()
        self.log = AccessLog(lambda line: None, later=lambda seconds, function: None)
        self.router = Router("/predict", Limits(1 << 20, 30.0, 256), "v1", metrics, access=self.log)

    def open(self, service: Service) -> None:
        self.router.open(opened(service, Settings("guard"), {}))

    async def ask(self, body: bytes) -> bytes:
        scope, _ = posting(body, ("host", "localhost"))
        exchange = Arriving(body)
        await self.router(scope, exchange)
        assert exchange.status == 200, exchange.body
        return exchange.body


async def counted(served: Served, body: bytes, together: int) -> Calls:
    """The calls of :data:`REQUESTS` requests, so many at once, when everything is warm."""
    calls = Calls()
    for _ in range(2):
        calls = Calls()
        with calls.counted():
            for _ in range(REQUESTS // together):
                await asyncio.gather(*(served.ask(body) for _ in range(together)))
            served.log.flush()
    return calls


def classifier(tmp_path: Path) -> Path:
    """Thirty numbers in, a label and two probabilities out."""
    weights = numpy.linspace(-1, 1, 60, dtype="float32").reshape(30, 2)
    made = model(
        [("x", "float32", ["n", 30])],
        [("label", "int64", ["n"]), ("probabilities", "float32", ["n", 2])],
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("Softmax", ["y"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["y"], ["label"], axis=1, keepdims=0),
        ],
        [numpy_helper.from_array(weights, "w")],
    )
    return save(made, tmp_path / "model.onnx")


BODY = json.dumps({"x": [[number / 7 for number in range(30)]]}).encode()


def test_calls_of_a_small_model_alone(tmp_path: Path) -> None:
    served = Served()
    served.open(predicting(load(classifier(tmp_path), threads=1, inference="loop")))
    calls = asyncio.run(counted(served, BODY, 1))
    assert calls.per(REQUESTS) <= ALONE, calls.told(REQUESTS)


def test_calls_of_a_small_model_in_turns(tmp_path: Path) -> None:
    served = Served()
    sizes: list[int] = []
    busy = lambda: served.router.in_flight > 1  # noqa: E731
    path = classifier(tmp_path)
    served.open(predicting(load(path, threads=1, inference="loop", busy=busy, observe=sizes.append)))
    calls = asyncio.run(counted(served, BODY, TOGETHER))
    assert max(sizes) == TOGETHER, "requests of one turn are answered together"
    assert calls.per(REQUESTS) <= IN_TURNS, calls.told(REQUESTS)


def test_calls_of_a_typed_function() -> None:
    def predict(texts: list[str], limit: int = 3) -> dict[str, bool]:
        return {"positive": len(texts) > limit}

    understood = signature(predict)
    served = Served()
    call = caller(predict, understood, Here(), lambda size: None)
    served.open(predicting(FunctionService(understood, call)))
    calls = asyncio.run(counted(served, b'{"texts": ["a", "b"]}', 1))
    assert calls.per(REQUESTS) <= TYPED, calls.told(REQUESTS)


def test_the_count_sees_a_call_more() -> None:
    from serinus.serving import rsgi

    def counted_calls(times: int) -> float:
        calls = Calls()
        with calls.counted():
            for _ in range(times):
                rsgi.request_id("a")
        return calls.per(1)

    assert counted_calls(3) == 3 * counted_calls(1) > 0
