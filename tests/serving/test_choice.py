"""Where predictions are computed: decided from what was set, what the service is, and what was measured."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import threading
from pathlib import Path
from typing import Any, get_args

import numpy
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from served import Served, serving

from serinus.contract import Contract
from serinus.contract.onnx import Tensor
from serinus.errors import ServiceError
from serinus.serving import Inference, Settings
from serinus.serving.answers import Prediction
from serinus.serving.choice import BY_HAND, WSGI_MORE, Choice, of_app, of_function, of_model
from serinus.serving.onnx import EVERYTHING, OnnxService, load

inferences = st.sampled_from(get_args(Inference))
few = st.integers(1, 64)

# ------------------------------------------------------------------------------------- the decision


@given(inferences, st.floats(1e-6, 1e6) | st.just(math.inf), st.floats(0, 1e6), few)
def test_a_model_runs_where_it_was_set_or_measured_to_run(
    inference: Inference, seconds: float, fit: float, threads: int
) -> None:
    choice = of_model(inference, seconds, fit, threads)
    assert choice.threads == threads
    if inference != "auto":
        assert (choice.inference, choice.why) == (inference, BY_HAND)
    else:
        assert (choice.inference == "loop") == (fit >= 1 and math.isfinite(seconds))
        assert choice.why != BY_HAND
    assert ("microseconds" in choice.told()) == math.isfinite(seconds)
    json.dumps(choice.told(), allow_nan=False)


@given(st.booleans(), inferences, st.none() | few, few)
def test_a_function_runs_where_it_can(
    asynchronous: bool, inference: Inference, threads: int | None, cores: int
) -> None:
    wanted = (asynchronous, inference, threads, cores)
    if asynchronous and (inference == "threads" or threads):
        with pytest.raises(
            ServiceError, match="s:predict is async def, which runs on the event loop"
        ) as caught:
            of_function("s:predict", *wanted)
        found = 'inference = "threads"' if inference == "threads" else f"threads = {threads}"
        assert f"service.{found}" in caught.value.message
        return
    choice = of_function("s:predict", *wanted)
    assert choice.inference == ("loop" if asynchronous or inference == "loop" else "threads")
    assert choice.threads == (0 if choice.inference == "loop" else threads or cores)
    assert (choice.why == BY_HAND) == (inference != "auto" or threads is not None)


@given(inferences, st.none() | few, few)
def test_an_app_runs_where_its_interface_says(inference: Inference, threads: int | None, cores: int) -> None:
    if inference == "loop":
        with pytest.raises(ServiceError, match=r'service.inference = "loop", and a WSGI app'):
            of_app("wsgi", inference, threads, cores)
    else:
        choice = of_app("wsgi", inference, threads, cores)
        assert (choice.inference, choice.threads) == ("threads", threads or cores + WSGI_MORE)
    if inference == "threads" or threads:
        with pytest.raises(ServiceError, match="an ASGI app runs on the event loop alone"):
            of_app("asgi", inference, threads, cores)
    else:
        assert of_app("asgi", inference, threads, cores) == Choice("loop", 0, "the app is ASGI")


# ------------------------------------------------------------------------------------- the settings


@given(inferences, st.none() | few)
def test_settings_come_back_as_they_were(inference: Inference, threads: int | None) -> None:
    settings = Settings("s", inference=inference, threads=threads)
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("found", ["fast", "", None, 1, ["loop"]])
def test_settings_with_no_such_way_are_refused(found: Any) -> None:
    with pytest.raises(ServiceError) as caught:
        Settings.from_json(json.dumps({"name": "s", "inference": found}))
    assert caught.value.message.endswith(f"inference {found!r}; expected auto, loop, threads")


# ------------------------------------------------------------------------------------- a model


@pytest.mark.parametrize(
    ("inference", "here"),
    [("loop", True), ("threads", False), ("auto", True)],
    ids=["loop", "threads", "auto"],
)
def test_a_small_model_runs_where_it_is_told_to(tmp_path: Path, inference: Inference, here: bool) -> None:
    path = tiny_models.save(tiny_models.logarithm(), tmp_path / "model.onnx")
    served = load(path, threads=1, at_once=3, inference=inference)

    async def scenario() -> bytes:
        made = served.predict(b'{"x": [[1, 1]]}')
        assert inspect.isawaitable(made) != here
        return (made if isinstance(made, Prediction) else await made).body

    assert json.loads(asyncio.run(scenario())) == {"y": [[0.0, 0.0]]}
    assert served.choice is not None
    assert (served.choice.inference, served.choice.threads) == ("loop" if here else "threads", 3)
    assert served.choice.told()["microseconds"] > 0


def test_a_model_that_was_told_to_stay_on_the_loop_stays_there_however_long_it_takes() -> None:
    where: list[threading.Thread] = []
    now = 0.0
    tensor = Tensor("x", "float32", ("n",))

    def run(names: Any, feeds: Any) -> list[Any]:
        nonlocal now
        where.append(threading.current_thread())
        now += 1.0
        return [numpy.zeros(1)]

    clocks = {"clock": lambda: now, "worked": lambda: now}
    served = OnnxService(
        "m", Contract({}, {}), (tensor,), (tensor,), run=run, threads=1, small=EVERYTHING, **clocks
    )
    for _ in range(9):
        assert isinstance(served.predict(b'{"x": [1]}'), Prediction)
    assert set(where) == {threading.current_thread()}


# ------------------------------------------------------------------------------------- the server

WHERE = """
import threading
import serinus

barrier = threading.Barrier(3)

def meet(x: int) -> str:
    barrier.wait(20)
    return threading.current_thread().name

def where(x: int) -> str:
    return threading.current_thread().name

@serinus.batched()
def batches(x: list[int]) -> list[str]:
    return [threading.current_thread().name] * len(x)

async def asked(x: int) -> str:
    return threading.current_thread().name

def app(environ, start_response):
    start_response("200 OK", [("content-type", "application/json")])
    return [b'"' + threading.current_thread().name.encode() + b'"']
"""


def ready(served: Served) -> tuple[Any, Any, Any]:
    """What the log says of the choice."""
    [line] = served.logged("ready")
    return line["inference"], line["threads"], line["why"]


@pytest.mark.parametrize(
    ("name", "inference", "thread"),
    [
        ("where", "loop", "MainThread"),
        ("where", "auto", "predict-"),
        ("batches", "loop", "MainThread"),
        ("batches", "threads", "predict-"),
        ("asked", "loop", "MainThread"),
    ],
)
def test_a_served_function_runs_where_it_was_told_to(
    tmp_path: Path, name: str, inference: Inference, thread: str
) -> None:
    (tmp_path / "service.py").write_text(WHERE)
    with serving(tmp_path, entrypoint=f"service:{name}", inference=inference) as served:
        assert str(served.post(1).document).startswith(thread)
        found, _, why = ready(served)
        assert found == ("loop" if thread == "MainThread" else "threads")
        assert why == ("the function is def" if inference == "auto" else BY_HAND)


def test_as_many_calls_run_at_once_as_were_set(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(WHERE)
    with serving(tmp_path, entrypoint="service:meet", threads=3) as served:
        names: list[str] = []
        callers = [threading.Thread(target=lambda: names.append(served.post(1).document)) for _ in range(3)]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
        assert sorted(names) == ["predict-0", "predict-1", "predict-2"]
        assert ready(served) == ("threads", 3, BY_HAND)


def test_the_threads_of_an_app(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(WHERE)
    with serving(tmp_path, entrypoint="service:app", threads=1) as served:
        assert {served.post(1).document for _ in range(3)} == {"wsgi-0"}
        assert ready(served) == ("threads", 1, BY_HAND)


def test_the_log_says_what_was_measured_of_a_model(tmp_path: Path) -> None:
    tiny_models.save(tiny_models.logarithm(), tmp_path / "model.onnx")
    with serving(tmp_path, model="model.onnx") as served:
        [line] = served.logged("ready")
        assert line["inference"] == "loop"
        assert line["why"].endswith("times the smallest request takes 200 µs")
        assert 0 < line["microseconds"] <= 200
    with serving(tmp_path, model="model.onnx", inference="threads", threads=5) as served:
        assert ready(served) == ("threads", 5, BY_HAND)
        assert served.post({"x": [[1, 1]]}).document == {"y": [[0.0, 0.0]]}


@pytest.mark.parametrize(
    ("name", "settings"), [("asked", {"threads": 2}), ("app", {"inference": "loop"})], ids=["async", "wsgi"]
)
def test_what_cannot_be_ends_the_start(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    (tmp_path / "service.py").write_text(WHERE)
    with serving(tmp_path, wait=False, entrypoint=f"service:{name}", **settings) as served:
        assert served.process.wait(20) == 2
        [line] = served.logged("service.")
        assert line["level"] == "critical"
        assert line["todo"].startswith("Leave the key out")
