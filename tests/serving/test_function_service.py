"""Typed functions served: sync, async, batched; with what setup() made."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served import Served, serving

from serinus.contract import Contract, Example
from serinus.contract.infer import signature
from serinus.errors import ServiceError
from serinus.serving import Settings
from serinus.serving.admission import Pool
from serinus.serving.answers import Problem
from serinus.serving.batching import Batcher, batched
from serinus.serving.function import FunctionService, caller, warm
from serinus.serving.loading import version_of


def double(x: int, *, model: int = 1) -> int:
    return 2 * x * model


async def double_async(x: int, *, model: int = 1) -> int:
    await asyncio.sleep(0)
    return 2 * x * model


@batched(max_size=4, max_wait=0.02)
def double_all(x: list[int], *, model: int = 1) -> list[int]:
    return [2 * each * model for each in x]


@pytest.mark.parametrize("function", [double, double_async, double_all])
def test_every_kind_of_function_answers_one_request(function: object) -> None:
    async def scenario() -> list[bytes]:
        understood = signature(function)  # type: ignore[arg-type]
        call = caller(function, understood, Pool(2, 16), lambda size: None, model=10)  # type: ignore[arg-type]
        service = FunctionService(understood, call)
        assert service.contract == Contract({"type": "integer"}, {"type": "integer"})
        return [made.body for made in await asyncio.gather(*(service.predict(b"%d" % n) for n in range(6)))]

    assert asyncio.run(scenario()) == [b"%d" % (20 * n) for n in range(6)]


def test_batches_are_told_to_the_observer() -> None:
    sizes: list[int] = []

    async def scenario() -> None:
        call = caller(double_all, signature(double_all), Pool(1, 16), sizes.append)
        assert await asyncio.gather(*(call(n) for n in range(8))) == [2 * n for n in range(8)]

    asyncio.run(scenario())
    assert sum(sizes) == 8
    assert max(sizes) == 4


def test_batches_are_measured_on_the_examples_and_take_all_threads_of_a_function_that_waits() -> None:
    @batched(max_size=4)
    def wait(x: list[int]) -> list[int]:
        time.sleep(0.001)
        return x

    @batched(max_size=4)
    def count(x: list[int]) -> list[int]:
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            pass
        return x

    async def scenario(function: Callable[..., Any]) -> tuple[int, int]:
        understood = signature(function)
        call = caller(function, understood, Pool(2, 16), lambda size: None)
        await warm(call, understood, [Example(n, n) for n in range(3)])
        assert isinstance(call, Batcher)
        assert await asyncio.gather(*(call(n) for n in range(9))) == list(range(9))
        return call.workers, call.limit

    assert asyncio.run(scenario(wait)) == (2, 4)
    assert asyncio.run(scenario(count)) == (1, 4)


@pytest.mark.parametrize("examples", [[], [Example("no number", 1)], [Example(13, 13)]])
def test_without_an_example_that_goes_well_batches_are_as_large_as_they_may_be(
    examples: list[Example],
) -> None:
    @batched(max_size=4)
    def unlucky(x: list[int]) -> list[int]:
        if 13 in x:
            raise ValueError("13")
        return x

    async def scenario() -> int:
        understood = signature(unlucky)
        call = caller(unlucky, understood, Pool(2, 16), lambda size: None)
        await warm(call, understood, examples)
        assert isinstance(call, Batcher)
        assert await call(5) == 5
        return call.limit

    assert asyncio.run(scenario()) == 4


@pytest.mark.parametrize(("body", "status"), [(b"", 400), (b"1 2", 400), (b'"1"', 422), (b"true", 422)])
def test_a_wrong_request_never_reaches_the_function(body: bytes, status: int) -> None:
    async def never(*args: object) -> None:
        raise AssertionError(f"called with {args}")

    service = FunctionService(signature(double), never)
    with pytest.raises(Problem) as refused:
        asyncio.run(service.predict(body))
    assert refused.value.status == status


def test_a_sync_function_leaves_the_loop_free() -> None:
    entered, release = threading.Event(), threading.Event()

    def wait(x: int) -> int:
        entered.set()
        assert release.wait(10)
        return x

    async def scenario() -> int:
        call = asyncio.ensure_future(caller(wait, signature(wait), Pool(1, 4), lambda size: None)(7))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        release.set()
        result: int = await call
        return result

    assert asyncio.run(scenario()) == 7


BATCHED = """
import serinus

async def setup():
    return "model"

@serinus.batched(max_size=8, max_wait=0.2)
def predict(texts: list[str], *, model) -> list[dict[str, str | int]]:
    if "bad" in texts:
        raise ValueError("a bad text")
    return [{"text": t, "model": model, "together": len(texts)} for t in texts]
"""


def test_batches_of_a_served_function(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(BATCHED)
    with serving(tmp_path, entrypoint="service:predict") as served:
        answers: dict[str, dict[str, object]] = {}

        def ask(text: str) -> None:
            answers[text] = served.post(text).document

        callers = [threading.Thread(target=ask, args=(f"text {n}",)) for n in range(8)]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
        assert {text: answer["text"] for text, answer in answers.items()} == {text: text for text in answers}
        assert max(int(str(answer["together"])) for answer in answers.values()) > 1
        assert all(answer["model"] == "model" for answer in answers.values())
        assert "serinus_batch_size_sum 8" in served.get("/metrics").body.decode()
        assert served.post("bad").status == 500
        assert served.post("good").status == 200


def test_the_version_is_the_image_the_build_or_dev() -> None:
    settings = Settings("s", build="sha256:0123456789abcdef")
    assert version_of(settings, {"SERINUS_VERSION": "sha256:1"}) == "sha256:1"
    assert version_of(settings, {}) == "build-0123456789ab"
    assert version_of(Settings("s"), {}) == "dev"


EXAMPLES = {
    "request": {"type": "string"},
    "response": {"type": "object"},
    "examples": [{"request": "a", "response": {"text": "a", "model": "model", "together": 1.00001}}],
}


def test_the_examples_are_answered_before_it_is_ready(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(BATCHED)
    (tmp_path / "contract.json").write_text(json.dumps(EXAMPLES))
    with serving(tmp_path, entrypoint="service:predict", contract="contract.json") as served:
        assert served.get("/openapi.json").document["paths"]["/predict"]["post"]["requestBody"]["content"][
            "application/json"
        ]["examples"]
        # Answered before it was ready, and no request of anybody: no count shows them.
        assert 'route="/predict"' not in served.get("/metrics").body.decode()


def test_an_example_on_which_the_service_raises_is_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(BATCHED)
    (tmp_path / "contract.json").write_text(json.dumps(EXAMPLES | {"examples": [{"request": "bad"}]}))
    with serving(tmp_path, wait=False, entrypoint="service:predict", contract="contract.json") as served:
        answer = served.until_ready(503)
        assert "the service raised ValueError on an example" in answer.document["detail"]
        assert "a bad text" not in answer.body.decode()
        assert "a bad text" in served.logged("the service raised")[0]["exception"]


def test_readiness_waits_for_setup(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    code = "import time, pathlib\ndef setup():\n  while not pathlib.Path('gate').exists(): time.sleep(0.01)\n"
    (tmp_path / "service.py").write_text(code + "def predict(x: int) -> int: return x\n")
    with serving(tmp_path, wait=False, entrypoint="service:predict") as served:
        _until_alive(served)
        waiting = served.get("/readyz")
        assert (waiting.status, waiting.document["detail"]) == (503, "the model is being loaded")
        assert served.post(1).status == 503
        gate.touch()
        served.until_ready()
        assert served.post(1).document == 1


def test_it_can_be_stopped_while_it_loads(tmp_path: Path) -> None:
    code = "import time\ndef setup(): time.sleep(60)\ndef predict(x: int) -> int: return x\n"
    (tmp_path / "service.py").write_text(code)
    with serving(tmp_path, wait=False, entrypoint="service:predict") as served:
        _until_alive(served)
        assert served.stop() == 0


def _until_alive(served: Served) -> None:
    while not served.reachable():
        assert served.process.poll() is None
    assert served.get("/healthz").status == 200


def test_settings_without_anything_to_serve_are_refused() -> None:
    from serinus.serving.loading import Parts, find

    with pytest.raises(ServiceError, match="neither an entry point nor a model"):
        find(Settings("s"), Parts(1, lambda size: None, lambda: True))
