"""Flask and FastAPI apps, unchanged, behind the real server; readiness; schemathesis as a caller."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, serving

CONTRACT = {
    "request": {"type": "array", "items": {"type": "string"}},
    "response": {
        "type": "object",
        "properties": {"positive": {"type": "boolean"}},
        "required": ["positive"],
    },
    "examples": [{"request": ["MLOps is critical"], "response": {"positive": True}}],
}
FLASK = """
from flask import Flask, Response, request

app = Flask(__name__)

@app.post("/predict")
def predict():
    match request.get_json():
        case ["wrong type"]:
            return {"positive": "false"}
        case ["nan"]:
            return Response('{"positive": NaN}', mimetype="application/json")
        case ["raise"]:
            raise ValueError("/secret/place")
        case ["teapot"]:
            return {"why": "teapot"}, 418
    return {"positive": True}

@app.get("/")
def home():
    return "<h1>home</h1>"

@app.get("/stream")
def stream():
    return Response((f"line {i} " for i in range(3)), mimetype="text/plain")

@app.post("/upload")
def upload():
    return {"size": len(request.get_data()), "query": request.args}
"""
FASTAPI = """
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

@asynccontextmanager
async def lifespan(app):
    yield {"model": "loaded"}
    print("cleaned up")

app = FastAPI(lifespan=lifespan)

@app.post("/predict")
async def predict(texts: list[str], request: Request) -> dict:
    if texts == ["wrong type"]:
        return {"positive": "false"}
    if texts == ["raise"]:
        raise ValueError("/secret/place")
    return {"positive": request.state.model == "loaded"}

@app.get("/")
async def home():
    return "home"

@app.get("/stream")
async def stream():
    async def lines():
        for i in range(3):
            yield f"line {i} "
    return StreamingResponse(lines(), media_type="text/plain")

@app.post("/upload")
async def upload(request: Request):
    return {"size": len(await request.body()), "query": dict(request.query_params)}
"""
FUNCTION = """
from typing import Annotated, Literal
from pydantic import BaseModel, Field

class Review(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=200)]
    stars: Annotated[int, Field(ge=1, le=5)] = 3
    language: Literal["en", "de"] = "en"

class Sentiment(BaseModel):
    positive: bool
    score: float

async def predict(reviews: list[Review]) -> list[Sentiment]:
    return [Sentiment(positive=r.stars > 3, score=r.stars / 5) for r in reviews]
"""


def write(folder: Path, code: str) -> Path:
    (folder / "service.py").write_text(code)
    (folder / "contract.json").write_text(json.dumps(CONTRACT))
    return folder


@pytest.fixture(scope="module", params=[FLASK, FASTAPI], ids=["flask", "fastapi"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = write(tmp_path_factory.mktemp("app"), request.param)
    with serving(folder, entrypoint="service:app", contract="contract.json", max_body=1000) as served:
        yield served


def test_an_app_answers_unchanged(app: Served) -> None:
    answer = app.post(["good"])
    assert (answer.status, answer.document) == (200, {"positive": True})
    assert answer.headers["serinus-version"] == "dev"
    assert b"home" in app.get("/").body
    assert app.get("/stream").body == b"line 0 line 1 line 2 "
    assert app.get("/nothing").status == 404
    assert app.post(b"x" * 900, "/upload?a=%20b").document == {"size": 900, "query": {"a": " b"}}


def test_the_wrong_type_does_not_get_out(app: Served) -> None:
    answer = app.post(["wrong type"])
    assert (answer.status, answer.headers["serinus-violation"]) == (500, "/positive")
    assert b"false" not in answer.body.replace(b'\\"false\\"', b"")
    assert (
        'serinus_violations_total{side="response",pointer="/positive"}' in app.get("/metrics").body.decode()
    )


@pytest.mark.parametrize(("body", "status"), [(b"[", 400), (b"[1]", 422), (b'{"a": 1}', 422)])
def test_a_wrong_request_does_not_get_in(app: Served, body: bytes, status: int) -> None:
    assert app.post(body).status == status


def test_an_exception_of_the_app_shows_nothing(app: Served) -> None:
    answer = app.post(["raise"])
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert any("/secret/place" in line.get("exception", "") for line in app.log() if "message" in line)


def test_another_method_on_the_route_is_the_apps_own(app: Served) -> None:
    answer = app.get("/predict")
    assert answer.status == 405
    assert "POST" in answer.headers["allow"]


def test_a_long_body_is_refused_on_every_route(app: Served) -> None:
    for path in ("/predict", "/upload"):
        assert app.post(b"x" * 1001, path).status == 413
        chunked = b"transfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n3f0\r\n" + b" " * 1008
        head = b"POST " + path.encode() + b" HTTP/1.1\r\nhost: h\r\n"
        assert app.raw(head + chunked + b"\r\n").startswith(b"HTTP/1.1 413 ")


def test_our_routes_win(app: Served) -> None:
    assert app.get("/healthz").document == {"status": "alive"}
    assert "/predict" in app.get("/openapi.json").document["paths"]


def test_nan_from_flask_is_a_violation(tmp_path: Path) -> None:
    with serving(write(tmp_path, FLASK), entrypoint="service:app", contract="contract.json") as served:
        answer = served.post(["nan"])
        assert (answer.status, answer.headers["serinus-violation"]) == (500, "/positive")
        assert served.post(["teapot"]).document == {"why": "teapot"}


def test_a_lifespan_is_ended(tmp_path: Path) -> None:
    with serving(write(tmp_path, FASTAPI), entrypoint="service:app", contract="contract.json") as served:
        assert served.stop() == 0
    assert "cleaned up" in (tmp_path / "server.log").read_text()


def test_an_app_without_a_contract_passes_unchecked_and_the_log_says_so(tmp_path: Path) -> None:
    with serving(write(tmp_path, FLASK), entrypoint="service:app") as served:
        assert served.post(["wrong type"]).document == {"positive": "false"}
        assert served.logged("the app has no contract")


def test_a_wrongly_answered_example_keeps_it_unready(tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    wrong = CONTRACT | {"examples": [{"request": ["a"]}, {"request": ["b"], "response": {"positive": False}}]}
    (tmp_path / "contract.json").write_text(json.dumps(wrong))
    with serving(tmp_path, wait=False, entrypoint="service:app", contract="contract.json") as served:
        answer = served.until_ready(503)
        assert "example 2 of 2" in answer.document["detail"]
        assert "/positive" in answer.document["detail"]
        assert served.logged("not ready: example 2 of 2")
        assert served.get("/healthz").status == 200
        assert served.post(["a"]).status == 503
        assert served.stop() == 0


def test_a_candidate_is_held_to_the_contract_of_stable(tmp_path: Path) -> None:
    write(tmp_path, FUNCTION)
    stable = {"request": {}, "response": {"type": "array", "items": {"required": ["positive", "reason"]}}}
    (tmp_path / "stable.json").write_text(json.dumps(stable))
    environ = {"SERINUS_CONTRACT": "stable.json", "SERINUS_VERSION": "sha256:abc"}
    with serving(tmp_path, entrypoint="service:predict", environ=environ) as served:
        answer = served.post([{"text": "a"}])
        assert (answer.status, answer.headers["serinus-violation"]) == (500, "/0/reason")
        assert answer.headers["serinus-version"] == "sha256:abc"


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        (FUNCTION, {"entrypoint": "service:predict"}),
        (FLASK, {"entrypoint": "service:app", "contract": "contract.json"}),
        (FASTAPI, {"entrypoint": "service:app", "contract": "contract.json"}),
    ],
    ids=["function", "flask", "fastapi"],
)
def test_schemathesis_finds_nothing(tmp_path: Path, code: str, settings: dict[str, str]) -> None:
    with serving(write(tmp_path, code), environ={"SERINUS_ACCESS_LOG": "0"}, **settings) as served:
        command = [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"http://127.0.0.1:{served.port}/openapi.json",
        ]
        command += ["--max-examples", "30", "--no-color", "--seed", "1"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout.decode()[-6000:] + ended.stderr.decode()[-2000:]
