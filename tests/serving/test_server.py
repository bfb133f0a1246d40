"""The server as its callers and its container see it: a subprocess, sockets and signals."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from served import SOURCE, Served, free_port, received, serving

from serinus.serving.server import HELD, _collect_seldom
from serinus.serving.talkers import NAME

FUNCTION = """
import threading, time
from dataclasses import dataclass

@dataclass
class Sentiment:
    positive: bool
    score: float

def setup():
    return {"good": 1.0}

def predict(texts: list[str], *, model) -> Sentiment:
    match texts:
        case ["raise"]:
            raise ValueError("/secret/place")
        case ["wrong type"]:
            return Sentiment("false", 1.0)
        case ["nan"]:
            return Sentiment(True, float("nan"))
        case ["exit"]:
            raise SystemExit(3)
        case ["slow", seconds]:
            time.sleep(float(seconds))
        case ["busy", seconds]:
            begin = time.thread_time()
            while time.thread_time() < begin + float(seconds):
                pass
    return Sentiment(texts[0] in model, 0.5)
"""
JSON = b"content-type: application/json\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("function")
    (folder / "service.py").write_text(FUNCTION)
    with serving(
        folder, entrypoint="service:predict", max_body=1000, deadline=1.0, build="sha256:0123456789abcdef"
    ) as served:
        yield served


def test_it_answers(service: Served) -> None:
    answer = service.post(["good"])
    assert (answer.status, answer.body) == (200, b'{"positive":true,"score":0.5}')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["serinus-version"] == "build-0123456789ab"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json"])
def test_head_is_get_without_a_body(service: Served, path: str) -> None:
    head, get = service.ask("HEAD", path), service.get(path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("body", "status", "pointers"),
    [
        (b"[", 400, []),
        (b"", 400, []),
        (b"[NaN]", 400, []),
        (b'"good"', 422, [""]),
        (b'["a", 1, null]', 422, ["/1", "/2"]),
    ],
)
def test_a_wrong_request_is_told_where_it_is_wrong(
    service: Served, body: bytes, status: int, pointers: list[str]
) -> None:
    answer = service.post(body)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.document["status"] == status
    assert [error["pointer"] for error in answer.document.get("errors", [])] == pointers
    if status == 400:
        assert "line 1 column" in answer.document["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/jsonx",
        "",
    ],
)
def test_another_content_type_is_refused(service: Served, content_type: str) -> None:
    answer = service.ask(
        "POST", "/predict", b'["good"]', {"content-type": content_type} if content_type else {}
    )
    assert answer.status == 415


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/vnd.acme.v1+json", 'Application/JSON; charset="UTF-8"']
)
def test_every_kind_of_json_is_taken(service: Served, content_type: str) -> None:
    assert service.ask("POST", "/predict", b'["good"]', {"content-type": content_type}).status == 200


def test_a_compressed_body_is_refused(service: Served) -> None:
    assert service.post(b"\x1f\x8b", content_encoding="gzip").status == 415


def test_unknown_route_and_wrong_method(service: Served) -> None:
    assert service.get("/nothing").status == 404
    wrong = service.get("/predict")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    wrong = service.post([], "/healthz")
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")


def test_an_exception_is_in_the_log_and_not_in_the_answer(service: Served) -> None:
    answer = service.post(["raise"], x_request_id="mine-1")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    [line] = [line for line in service.logged("the service raised") if line["id"] == answer.document["id"]]
    assert line["request_id"] == "mine-1"
    assert "ValueError: /secret/place" in line["exception"]


def test_a_service_that_calls_exit_fails_its_request_alone(service: Served) -> None:
    assert service.post(["exit"]).status == 500
    assert service.post(["good"]).status == 200


@pytest.mark.parametrize(("text", "pointer"), [("wrong type", "/positive"), ("nan", "/score")])
def test_a_response_that_breaks_the_contract_is_not_sent(service: Served, text: str, pointer: str) -> None:
    answer = service.post([text])
    assert (answer.status, answer.headers["serinus-violation"]) == (500, pointer)
    assert answer.document["errors"][0]["pointer"] == pointer
    counted = f'serinus_violations_total{{side="response",pointer="{pointer}"}} '
    assert counted in service.get("/metrics").body.decode()


def test_the_deadline(service: Served) -> None:
    answer = service.post(["slow", "1.5"])
    assert answer.status == 504
    assert "within 1 seconds" in answer.document["detail"]


def test_a_sane_request_id_is_kept_and_another_is_not(service: Served) -> None:
    assert service.post(["good"], x_request_id="a-b.1").headers["x-request-id"] == "a-b.1"
    assert service.post(["good"], x_request_id='{"x": "\\n"}').headers["x-request-id"] != '{"x": "\\n"}'


def test_requests_and_predictions_are_counted(service: Served) -> None:
    service.post(["good"])
    text = service.get("/metrics").body.decode()
    assert 'serinus_requests_total{route="/predict",status="200"}' in text
    assert 'serinus_predictions_total{pointer="/positive",value="true"}' in text
    assert 'serinus_prediction_bucket{pointer="/score",le="0.5"}' in text
    assert 'serinus_request_seconds_bucket{route="/predict",le="+Inf"}' in text
    assert 'serinus_info{name="test",version="build-0123456789ab"} 1' in text


def test_each_request_has_its_line_in_the_log(service: Served) -> None:
    service.post(["good"], x_request_id="line-1")
    deadline = time.monotonic() + 5
    lines: list[dict[str, object]] = []
    while not lines and time.monotonic() < deadline:
        lines = [x for x in service.log() if x.get("request_id") == "line-1" and x["message"] == "request"]
    assert lines[0]["route"] == "/predict"
    assert lines[0]["status"] == 200


# ---------------------------------------------------------------------------------------------- raw sockets


def test_an_announced_body_over_the_limit_is_refused_unread(service: Served) -> None:
    answer = service.raw(b"POST /predict HTTP/1.1\r\nhost: h\r\n" + JSON + b"content-length: 1001\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


def test_a_caller_that_waits_for_100_continue_is_refused_before_it_sends(service: Served) -> None:
    head = (
        b"POST /predict HTTP/1.1\r\nhost: h\r\n"
        + JSON
        + b"content-length: 1001\r\nexpect: 100-continue\r\n\r\n"
    )
    assert service.raw(head).startswith(b"HTTP/1.1 413 ")


def test_100_continue_is_sent_to_those_who_wait_for_it(service: Served) -> None:
    head = (
        b"POST /predict HTTP/1.1\r\nhost: h\r\n" + JSON + b"content-length: 8\r\nexpect: 100-continue\r\n\r\n"
    )
    with service.connect() as connection:
        connection.sendall(head)
        assert received(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'["good"]')
        assert b"200 OK" in received(connection, b"}")


def test_a_chunked_body_is_read_up_to_the_limit(service: Served) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: h\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n"
    chunk = b"200\r\n" + b" " * 512 + b"\r\n"
    answer = service.raw(head + chunk + chunk)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert service.raw(head + b'8\r\n["good"]\r\n0\r\n\r\n', until=b"}").startswith(b"HTTP/1.1 200 ")


def test_a_caller_that_is_slow_and_one_that_breaks_off_hold_up_nobody(service: Served) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: h\r\n" + JSON + b"content-length: 8\r\n\r\n"
    with service.connect() as slow:
        slow.sendall(head[:20])
        with service.connect() as broken:
            broken.sendall(head + b'["go')
        assert service.post(["good"]).status == 200
        slow.sendall(head[20:] + b'["go')
        assert service.post(["good"]).status == 200
        slow.sendall(b'od"]')
        assert received(slow, b"}").startswith(b"HTTP/1.1 200 ")


def test_a_body_that_does_not_come_is_given_up_at_the_deadline(service: Served) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: h\r\n" + JSON + b"content-length: 8\r\n\r\n"
    assert service.raw(head, until=b"}").startswith(b"HTTP/1.1 504 ")


def test_keep_alive_and_pipelining(service: Served) -> None:
    request = b"POST /predict HTTP/1.1\r\nhost: h\r\n" + JSON + b'content-length: 8\r\n\r\n["good"]'
    with service.connect() as connection:
        for _ in range(3):
            connection.sendall(request)
            assert b"200 OK" in received(connection, b"}")
        connection.sendall(request * 3 + b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        assert received(connection).count(b"200 OK") == 4


def test_http_1_0_and_garbage(service: Served) -> None:
    assert service.raw(b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 ")
    assert service.raw(b"\x16\x03\x01\x02\x00\x01\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_websocket_is_an_error(service: Served) -> None:
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    assert service.ask("GET", "/chat", headers=upgrade).status == 501


# ------------------------------------------------------------------------------------ queue, start and stop


def test_its_threads_are_known_by_name_and_those_that_talk_are_kept_off_a_long_call(service: Served) -> None:
    tasks = Path(f"/proc/{service.process.pid}/task")

    def talking() -> list[int]:
        return [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text() == f"{NAME}\n"]

    for _ in range(3):
        service.post(["busy", "0.02"])  # calls of this service take long, it learns
    assert service.process.pid in talking()
    assert len(talking()) >= 3  # the event loop, and the server's own
    assert any((task / "comm").read_text().startswith("predict-") for task in tasks.iterdir())
    cores = os.sched_getaffinity(0)
    assert {frozenset(os.sched_getaffinity(thread)) for thread in talking()} == {frozenset(cores)}
    busy = threading.Thread(target=service.post, args=(["busy", "0.3"],))
    busy.start()
    try:
        away = len(cores) - 1 or 1
        while {len(os.sched_getaffinity(thread)) for thread in talking()} != {away}:
            assert busy.is_alive(), "nobody made room"
            time.sleep(0.005)
    finally:
        busy.join(10)


def test_a_full_queue_says_when_to_ask_again(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(FUNCTION)
    with serving(tmp_path, entrypoint="service:predict", queue=1) as served:
        first = threading.Thread(target=served.post, args=(["slow", "1"],))
        first.start()
        while "serinus_in_flight 1" not in served.get("/metrics").body.decode():
            time.sleep(0.01)
        answer = served.post(["good"])
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert served.get("/healthz").status == 200
        first.join()
        assert served.post(["good"]).status == 200


@pytest.mark.parametrize("keep", [True, False], ids=["keep-alive", "a new connection each"])
def test_no_answer_is_lost_when_it_stops_under_load(tmp_path: Path, keep: bool) -> None:
    (tmp_path / "service.py").write_text(FUNCTION)
    answered: list[int] = []
    lost: list[bytes] = []
    head = b"POST /predict HTTP/1.1\r\nhost: h\r\n" + JSON + b"content-length: 16\r\n"
    request = head + (b"" if keep else b"connection: close\r\n") + b'\r\n["slow", "0.01"]'

    def call(served: Served) -> bool:
        """Call on one connection until it is to be closed; whether to go on with another."""
        try:
            connection = served.connect()
        except OSError:
            return False
        with connection:
            while True:
                connection.sendall(request)
                answer = received(connection, b"}")
                if b"200 OK" not in answer:
                    lost.append(answer)
                    return False
                answered.append(200)
                if b"connection: close" in answer:
                    return True

    def call_until_closed(served: Served) -> None:
        while call(served):
            pass

    with serving(tmp_path, entrypoint="service:predict") as served:
        callers = [threading.Thread(target=call_until_closed, args=(served,)) for _ in range(8)]
        for caller in callers:
            caller.start()
        while len(answered) < 200:
            time.sleep(0.01)
        assert served.stop() == 0
        for caller in callers:
            caller.join(10)
    assert lost == []


def test_what_is_in_flight_is_finished_and_new_callers_are_turned_away(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(FUNCTION)
    with serving(tmp_path, entrypoint="service:predict") as served:
        answers = []
        caller = threading.Thread(target=lambda: answers.append(served.post(["slow", "1.2"])))
        caller.start()
        while "serinus_in_flight 1" not in served.get("/metrics").body.decode():
            time.sleep(0.01)
        served.process.terminate()
        not_ready = served.until_ready(503)
        assert not_ready.document["detail"] == "the service is stopping"
        assert not_ready.headers["connection"] == "close"
        with suppress(ConnectionRefusedError):  # the last moment may lie between the two questions
            while served.reachable():
                assert served.get("/healthz").status == 200
        assert served.process.wait(10) == 0
        caller.join()
        assert answers[0].status == 200
        assert answers[0].headers["connection"] == "close"


def test_what_takes_longer_than_the_grace_period_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(FUNCTION)
    with serving(tmp_path, entrypoint="service:predict", grace=0.5) as served, served.connect() as caller:
        caller.sendall(
            b"POST /predict HTTP/1.1\r\nhost: h\r\n" + JSON + b'content-length: 14\r\n\r\n["slow", "30"]'
        )
        while "serinus_in_flight 1" not in served.get("/metrics").body.decode():
            time.sleep(0.01)
        assert served.stop() == 1
        assert served.logged("stopped with requests in flight")[0]["in_flight"] == 1


def test_a_half_sent_head_does_not_keep_it_from_stopping(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(FUNCTION)
    with serving(tmp_path, entrypoint="service:predict", grace=2.0) as served, served.connect() as caller:
        caller.sendall(b"GET /heal")
        assert served.get("/healthz").status == 200
        assert served.stop() == 0


@pytest.mark.parametrize(
    ("code", "settings", "message"),
    [
        ("", {"entrypoint": "nowhere:predict"}, "there is no module 'nowhere'"),
        ("", {"entrypoint": "service:absent"}, "service has no attribute 'absent'"),
        ("def predict(x): return x", {"entrypoint": "service:predict"}, "has no type"),
        (
            "def predict(x: str) -> str: return",
            {"entrypoint": "service:predict", "contract": "no.json"},
            "no.json",
        ),
        ("1/0", {"entrypoint": "service:predict"}, "importing service raised ZeroDivisionError"),
        ("def predict(:", {"entrypoint": "service:predict"}, "importing service raised SyntaxError"),
        (
            "def predict(x: str) -> str: ...\ndef setup(): raise OSError('no weights')",
            {"entrypoint": "service:predict"},
            "setup() of service raised OSError: no weights",
        ),
        (
            "def predict(x: str, *, model) -> str: return x",
            {"entrypoint": "service:predict"},
            "service has no setup()",
        ),
        ("", {"model": "absent.onnx"}, "there is no model absent.onnx"),
        ("", {}, "neither an entry point nor a model"),
    ],
)
def test_a_start_that_fails_says_why_and_exits_with_2(
    tmp_path: Path, code: str, settings: dict[str, str], message: str
) -> None:
    (tmp_path / "service.py").write_text(code)
    with serving(tmp_path, wait=False, **settings) as served:
        assert served.process.wait(20) == 2
        [line] = [line for line in served.log() if line["level"] == "critical"]
        assert message in line["message"]
        assert line["todo"]


def test_a_broken_model_file_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x00not a model")
    with serving(tmp_path, wait=False, model="model.onnx") as served:
        assert served.process.wait(20) == 2
        assert "model.onnx" in served.log()[-1]["message"]


def test_a_taken_port_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(FUNCTION)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = tmp_path / "s.json"
        settings.write_text(json.dumps({"name": "x", "entrypoint": "service:predict", "port": port}))
        command = [
            sys.executable,
            "-m",
            "serinus.serving",
            "--settings",
            str(settings),
            "--host",
            "127.0.0.1",
        ]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=20, check=False)
    assert ended.returncode == 2
    [line] = ended.stderr.decode().splitlines()
    assert f"cannot listen on 127.0.0.1 port {port}" in json.loads(line)["message"]


@pytest.mark.parametrize("text", ["{", '{"name": "x", "entripoint": "a:b"}', None])
def test_settings_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "s.json"
    if text is not None:
        file.write_text(text)
    command = [sys.executable, "-m", "serinus.serving", "--settings", str(file)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert json.loads(ended.stderr)["todo"]


def test_it_runs_with_nothing_but_pythonpath_and_without_a_home(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(FUNCTION)
    settings = tmp_path / "s.json"
    port = free_port()
    settings.write_text(json.dumps({"name": "x", "entrypoint": "service:predict"}))
    libraries = [p for p in sys.path if p.endswith("site-packages")]
    environ = {"PYTHONPATH": os.pathsep.join([str(SOURCE), *libraries]), "HOME": "/nonexistent"}
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    tmp_path.chmod(0o555)
    command = [
        sys.executable,
        "-S",
        "-m",
        "serinus.serving",
        "--settings",
        str(settings),
        "--port",
        str(port),
    ]
    with (
        Path("/dev/null").open("wb") as nowhere,
        subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=nowhere, stderr=nowhere) as process,
    ):
        served = Served(process, port, Path("/dev/null"))
        try:
            served.until_ready()
            assert served.post(["good"]).status == 200
        finally:
            process.terminate()
        assert process.wait(10) == 0
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("queue", [1, 100, 10**9])
def test_requests_under_way_are_no_garbage(queue: int) -> None:
    before = gc.get_threshold()
    try:
        _collect_seldom(queue)
        young, *old = gc.get_threshold()
        assert young >= min(HELD * queue, HELD * 128)
        assert before[0] <= young <= max(before[0], HELD * 8192)
        assert old == list(before[1:])
    finally:
        gc.set_threshold(*before)
