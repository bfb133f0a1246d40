"""Runs, approvals and triggers over the control API's routes; the API itself has its own tests."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from pipeline.pipeline_projects import wait_for
from serinus.environment.api.routes import Api
from serinus.models.registry import ModelRegistry
from serinus.pipeline import history
from serinus.pipeline.known import pipeline_of
from serinus.pipeline.plan import Outcome
from serinus.pipeline.run import run_pipeline
from serinus.pipeline.served import Worker, routes, served
from serinus.pipeline.triggers import Ledger
from serinus.project import Project

PROJECT = """
[service]
name = "mood"
entrypoint = "service:predict"

[pipeline.ask.steps.measure]
run = ["python", "-c", "open('metrics.json', 'w').write('{\\"accuracy\\": 0.9}'); print('measured')"]
outputs = ["metrics.json"]

[pipeline.ask.steps.approve]
approve = "Is it good?"
show = ["metrics.json", "plot.svg"]
against = "mood@production"

[pipeline.note]
params.model = { about = "the version" }

[pipeline.note.steps.write]
run = ["python", "-c", "import sys; open('noted.txt', 'a').write(sys.argv[1])", "{model}"]
cache = false
"""
TOKEN, PORT = "secret", 9670


class Client:
    def __init__(self, project: Path, wake: Callable[[], None] = lambda: None) -> None:
        self.root = project
        self.api = Api(None, lambda: TOKEN, PORT, routes(Project.load(project), Ledger(project), wake))  # type: ignore[arg-type]

    def __call__(
        self, method: str, target: str, body: Any = None, token: str = TOKEN
    ) -> tuple[int, dict[str, str], bytes]:
        data = b"" if body is None else json.dumps(body).encode()
        url = urlsplit(target)
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "HTTP_HOST": f"127.0.0.1:{PORT}",
            "HTTP_AUTHORIZATION": f"Bearer {token}",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(data)),
            "wsgi.input": io.BytesIO(data),
        }
        told: list[Any] = []
        pieces = self.api(environ, lambda line, headers: told.extend((line, headers)))
        return int(told[0].split()[0]), dict(told[1]), b"".join(pieces)

    def json(self, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        status, _, text = self(method, target, body)
        return status, json.loads(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "serinus.toml").write_text(PROJECT)
    (tmp_path / "plot.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("nobody's business")
    model = tmp_path / "model.bin"
    model.write_bytes(b"weights")
    registry = ModelRegistry.of(Project.load(tmp_path))
    registry.register("mood", [model], metrics={"accuracy": 0.8}, aliases=["production"])
    return tmp_path


@pytest.fixture
def asking(project: Path) -> Iterator[Client]:
    """A run that waits for a person."""
    loaded = Project.load(project)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(run_pipeline(loaded, pipeline_of(loaded, "ask"))))
    thread.start()
    client = Client(project)
    wait_for(lambda: bool(client.json("GET", "/v1/runs/ask-1")[1].get("approvals")))
    yield client
    client("POST", "/v1/runs/ask-1/steps/approve/answer", {"yes": False, "who": "the end of the test"})
    thread.join(30)
    assert results


def test_a_person_sees_the_evaluation_beside_the_version_in_charge(asking: Client) -> None:
    status, told = asking.json("GET", "/v1/runs/ask-1")
    assert (status, told["outcome"]) == (200, "running")
    (question,) = told["approvals"]
    assert question["evidence"]["question"] == "Is it good?"
    assert question["evidence"]["metrics"] == [{"name": "accuracy", "new": 0.9, "old": 0.8}]
    status, headers, body = asking("GET", "/v1/runs/ask-1/steps/approve/files?path=plot.svg")
    assert (status, headers["Content-Type"], body) == (200, "image/svg+xml", b"<svg/>")


def test_a_yes_needs_a_name_and_lets_the_run_go_on(asking: Client) -> None:
    target = "/v1/runs/ask-1/steps/approve/answer"
    assert asking.json("POST", target, {"yes": True})[0] == 422
    assert asking.json("POST", target, {"yes": True, "who": ""})[0] == 422
    given = {"yes": True, "who": "ada", "comment": "better than before"}
    assert asking.json("POST", target, given) == (
        200,
        {"run": "ask-1", "step": "approve", "answer": "yes", "who": "ada"},
    )
    wait_for(lambda: history.show(asking.root, "ask-1").run.outcome is Outcome.DONE)
    (question,) = history.show(asking.root, "ask-1").questions
    assert (question.who, question.comment) == ("ada", "better than before")
    assert asking.json("POST", target, given)[0] == 409


def test_only_what_is_shown_can_be_had(asking: Client) -> None:
    for path in ("secret.txt", "../secret.txt", "/etc/hostname", "serinus.toml"):
        target = f"/v1/runs/ask-1/steps/approve/files?path={quote(path, safe='')}"
        assert asking.json("GET", target)[0] == 404
    assert asking.json("GET", "/v1/runs/ask-1/steps/measure/files?path=plot.svg")[0] == 404


def test_runs_and_logs_are_told(asking: Client) -> None:
    assert [row["id"] for row in asking.json("GET", "/v1/runs")[1]["runs"]] == ["ask-1"]
    assert asking.json("GET", "/v1/runs/ask-1/steps/measure/log")[1]["log"] == "measured\n"
    assert asking.json("GET", "/v1/runs/ask-2")[0] == 409
    assert asking.json("GET", "/v1/runs/ask-1/steps/nothing/log")[0] == 409


def test_nobody_is_let_in_without_the_token(project: Path) -> None:
    client = Client(project)
    for target in ("/v1/runs", "/v1/triggers", "/v1/runs/ask-1"):
        assert client("GET", target, token="wrong")[0] == 401
    assert client("POST", "/v1/triggers", {"pipeline": "note", "model": "mood:1"}, token="")[0] == 401


def test_a_webhook_starts_a_pipeline_once(project: Path) -> None:
    woken: list[None] = []
    client = Client(project, lambda: woken.append(None))
    wanted = {"pipeline": "note", "model": "mood:1"}
    assert client.json("POST", "/v1/triggers", wanted) == (202, {**wanted, "new": True})
    assert client.json("POST", "/v1/triggers", wanted) == (200, {**wanted, "new": False})
    assert woken
    (trigger,) = client.json("GET", "/v1/triggers")[1]["triggers"]
    assert (trigger["model"], trigger["stage"]) == ("mood:1", "pending")


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"pipeline": "nothing", "model": "mood:1"}, 409),
        ({"pipeline": "ask", "model": "mood:1"}, 409),
        ({"pipeline": "note", "model": "mood"}, 422),
        ({"pipeline": "note", "model": "mood@production"}, 422),
        ({"pipeline": "note", "model": "../mood:1"}, 422),
        ({"pipeline": "note"}, 422),
    ],
)
def test_a_webhook_that_makes_no_sense_is_refused(project: Path, wanted: dict[str, str], status: int) -> None:
    client = Client(project)
    assert client.json("POST", "/v1/triggers", wanted)[0] == status
    assert client.json("GET", "/v1/triggers")[1]["triggers"] == []


def test_a_trigger_is_worked_off_by_a_program_of_its_own(project: Path, tmp_path: Path) -> None:
    with served(Project.load(project), tmp_path / "log"):
        ledger = Ledger(project)
        ledger.told("note", "mood:1")
    with served(Project.load(project), tmp_path / "log"):
        # What was left from before is done at the start.
        wait_for(lambda: (project / "noted.txt").exists() and ledger.pending() is None)
    assert (project / "noted.txt").read_text() == "mood:1"
    assert "note-1 for mood:1: done" in (tmp_path / "log").read_text()


def test_a_worker_that_is_woken_while_it_works_looks_once_more(project: Path, tmp_path: Path) -> None:
    ledger, worker = Ledger(project), Worker(project, tmp_path / "log")
    try:
        for number in range(1, 4):
            ledger.told("note", f"mood:{number}")
            worker.wake()
        wait_for(lambda: ledger.pending() is None)
    finally:
        worker.close()
    assert (project / "noted.txt").read_text() == "mood:1mood:2mood:3"
    worker.wake()
