"""The control API over a real socket: who is let in, what is refused and how, and what is answered."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.environment import FakeEnvironment, running
from rollout.rollout_fakes import NEW, OLD
from serinus.environment.api import token as tokens
from serinus.environment.api.answers import STATUSES, failure
from serinus.environment.api.requests import LARGEST
from serinus.environment.api.routes import ROUTES
from serinus.environment.api.server import Server
from serinus.environment.place import token_file
from serinus.errors import ControlError, SerinusError, Unauthorized
from serinus.pipeline.served import routes
from serinus.pipeline.triggers import Ledger
from serinus.project import Project, Service

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/control-api.md"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEnvironment]:
    with running(tmp_path_factory.mktemp("project")) as made:
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[FakeEnvironment]:
    with running(tmp_path) as made:
        yield made


class Told:
    """An answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()
        self.kind = response.headers["Content-Type"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    env: FakeEnvironment,
    method: str,
    path: str,
    body: bytes | dict[str, Any] | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> Told:
    """Ask; a header that is None is left out."""
    told: dict[str, str | None] = {"Authorization": f"Bearer {env.token}"}
    if isinstance(body, dict):
        body, told["Content-Type"] = json.dumps(body).encode(), "application/json"
    told |= headers or {}
    connection = http.client.HTTPConnection("127.0.0.1", env.server.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in told)
        for name, value in told.items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None and "Content-Length" not in told:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return Told(connection.getresponse())
    finally:
        connection.close()


def is_problem(told: Told, status: int) -> dict[str, Any]:
    assert told.status == status, told.body
    assert told.kind == "application/problem+json"
    document: dict[str, Any] = told.json
    assert {"title", "status", "detail", "todo", "kind"} <= document.keys()
    assert document["status"] == status
    return document


# Who is let in


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic {token}",
        "{token}",
        "Bearer {token}x",
        "Bearer é",
    ],
)
def test_without_the_token_nothing_is_told(env: FakeEnvironment, given: str | None) -> None:
    sent = given.replace("{token}", env.token) if given is not None else None
    for path in ("/v1/status", "/v1/nowhere"):
        told = ask(env, "GET", path, headers={"Authorization": sent})
        problem = is_problem(told, 401)
        assert told.headers["WWW-Authenticate"].startswith('Bearer realm="serinus"')
        assert env.token not in json.dumps(problem)


def test_the_scheme_is_read_in_any_case(env: FakeEnvironment) -> None:
    assert ask(env, "GET", "/v1/status", headers={"Authorization": f"bearer {env.token}"}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", "", "[::1", "a@b:{port}"]
)
def test_a_host_that_is_not_this_api_is_misdirected(env: FakeEnvironment, host: str) -> None:
    named = host.replace("{port}", str(env.server.port))
    is_problem(ask(env, "GET", "/v1/status", headers={"Host": named}), 421)
    is_problem(ask(env, "GET", "/healthz", headers={"Host": named}), 421)


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_every_name_of_loopback_is_this_api(env: FakeEnvironment, host: str) -> None:
    named = host.replace("{port}", str(env.server.port))
    assert ask(env, "GET", "/v1/status", headers={"Host": named}).status == 200


@pytest.mark.parametrize(
    "origin", ["null", "", "http://evil.example", "https://127.0.0.1:{port}", "http://localhost:{port}"]
)
def test_another_origin_is_forbidden_even_with_the_token(env: FakeEnvironment, origin: str) -> None:
    named = origin.replace("{port}", str(env.server.port))
    is_problem(ask(env, "GET", "/v1/status", headers={"Origin": named}), 403)
    is_problem(ask(env, "OPTIONS", "/v1/rollout/abort", headers={"Origin": named}), 403)


def test_its_own_origin_is_let_in(env: FakeEnvironment) -> None:
    assert ask(env, "GET", "/v1/status", headers={"Origin": env.url}).status == 200


def test_health_needs_no_token(env: FakeEnvironment) -> None:
    told = ask(env, "GET", "/healthz", headers={"Authorization": None})
    assert (told.status, told.json) == (200, {"status": "ok"})


def test_a_token_is_replaced_while_it_runs(fresh: FakeEnvironment) -> None:
    old = fresh.token
    fresh.token = tokens.rotate(token_file(fresh.folder))
    assert ask(fresh, "GET", "/v1/status").status == 200
    is_problem(ask(fresh, "GET", "/v1/status", headers={"Authorization": f"Bearer {old}"}), 401)


def test_nobody_is_let_in_while_the_token_may_be_read_by_others(
    fresh: FakeEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    file = token_file(fresh.folder)
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        is_problem(ask(fresh, "GET", "/v1/status"), 401)
    assert "may be read by others" in caplog.text
    assert fresh.token not in caplog.text
    assert stat.S_IMODE(file.stat().st_mode) == 0o644, "mended by nobody silently"
    file.unlink()
    is_problem(ask(fresh, "GET", "/v1/status"), 401)
    is_problem(ask(fresh, "GET", "/v1/status", headers={"Authorization": "Bearer "}), 401)
    fresh.token = tokens.rotate(file)
    assert ask(fresh, "GET", "/v1/status").status == 200


def test_a_token_file_is_made_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "token"
    made = tokens.ensure(file)
    assert len(made) >= 43
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tokens.ensure(file) == tokens.read(file) == made
    assert tokens.rotate(file) != made
    assert [one.name for one in file.parent.iterdir()] == ["token"]
    for mode in (0o640, 0o604, 0o644):
        file.chmod(mode)
        with pytest.raises(ControlError, match=f"read by others: its mode is {mode:04o}"):
            tokens.read(file)
    file.chmod(0o600)
    for text in ("", "short", "a" * 20 + "\x00"):
        file.write_text(text)
        with pytest.raises(ControlError, match="holds no token"):
            tokens.read(file)


# What is refused


def test_a_body_that_is_too_large_is_not_read(env: FakeEnvironment) -> None:
    with socket.create_connection(("127.0.0.1", env.server.port), timeout=10) as raw:
        head = f"POST /v1/rollouts HTTP/1.1\r\nHost: 127.0.0.1:{env.server.port}\r\n"
        raw.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {LARGEST + 1}\r\n\r\n".encode())
        answer = raw.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert "application/problem+json" in answer
    assert "larger than 64 KiB" in answer


def test_a_body_in_chunks_that_is_too_large_is_refused(env: FakeEnvironment) -> None:
    with socket.create_connection(("127.0.0.1", env.server.port), timeout=10) as raw:
        head = f"POST /v1/rollouts HTTP/1.1\r\nHost: 127.0.0.1:{env.server.port}\r\n"
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
        with suppress(ConnectionError):  # it is refused before all was sent
            for _ in range(40):
                raw.sendall(chunk)
        assert raw.makefile("rb").readline().startswith(b"HTTP/1.1 413 ")


def test_a_body_as_large_as_can_be_is_read(env: FakeEnvironment) -> None:
    body = b'{"why": "' + b"a" * (LARGEST - 11) + b'"}'
    assert len(body) == LARGEST
    told = ask(env, "POST", "/v1/rollout/abort", body, {"Content-Type": "application/json"})
    assert "expected a text of 1 to 1000 characters" in is_problem(told, 422)["detail"]


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_another_content_type_is_refused(env: FakeEnvironment, kind: str | None) -> None:
    told = ask(env, "POST", "/v1/rollout/abort", b'{"why": "x"}', {"Content-Type": kind})
    is_problem(told, 415)


def test_parameters_of_the_content_type_do_not_matter(env: FakeEnvironment) -> None:
    told = ask(env, "POST", "/v1/rollout/abort", b"{", {"Content-Type": "Application/JSON; charset=utf-8"})
    is_problem(told, 400)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_another_method_is_told_the_right_one(env: FakeEnvironment, route: Any) -> None:
    path = route.path.replace("{version}", "stable")
    for method in ("PUT", "DELETE", "PATCH", "POST" if route.method == "GET" else "GET"):
        told = ask(env, method, path)
        is_problem(told, 405)
        assert route.method in told.headers["Allow"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/status/",
        "/V1/status",
        "/v1/versions/",
        "/v1/versions//logs",
        "/v1/rollout",
        "/%2e%2e/token",
        "/v1/%00",
    ],
)
def test_what_is_not_there_is_not_found(env: FakeEnvironment, path: str) -> None:
    is_problem(ask(env, "GET", path), 404)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"image": }', b"[" * 20_000, b"1" * 5000, b"nul"])
def test_what_is_no_json_is_a_bad_request(env: FakeEnvironment, body: bytes) -> None:
    is_problem(ask(env, "POST", "/v1/rollouts", body, {"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/rollouts", {}, "image is missing"),
        ("/v1/rollouts", {"image": "mood:b", "now": True}, "unknown: 'now'; known here: image, strategy"),
        ("/v1/rollouts", {"image": 1}, "image is 1; expected a text"),
        ("/v1/rollouts", {"image": ""}, "image is ''"),
        ("/v1/rollouts", {"image": "mood:b\n"}, "one line"),
        ("/v1/rollouts", {"image": "\ud800"}, "one line"),
        (
            "/v1/rollouts",
            {"image": "mood:b", "strategy": "undo"},
            "expected one of canary, blue-green, shadow",
        ),
        ("/v1/rollout/promote", {"full": "yes"}, "expected true or false"),
        ("/v1/rollout/abort", {"why": "\x1b[2J"}, "one line"),
        ("/v1/rollout/pause", {"x": 1}, "known here: nothing"),
    ],
)
def test_members_are_held_to_what_is_known(
    env: FakeEnvironment, path: str, body: dict[str, Any], said: str
) -> None:
    assert said in is_problem(ask(env, "POST", path, body), 422)["detail"]


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"mood:b"'])
def test_a_body_is_an_object(env: FakeEnvironment, body: bytes) -> None:
    told = ask(env, "POST", "/v1/rollouts", body, {"Content-Type": "application/json"})
    assert "expected an object" in is_problem(told, 422)["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=x",
        "after=1&after=2",
        "limit=0",
        "limit=1001",
        "since=1",
        "after=" + "9" * 400,
        "after=%D9%A1",
        "&".join("abcdefghijklmnopqrstuvw"),
    ],
)
def test_a_query_is_held_to_what_is_known(env: FakeEnvironment, query: str) -> None:
    is_problem(ask(env, "GET", f"/v1/history?{query}"), 422)


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "1e1", "1000000000"])
def test_nobody_waits_for_ever(env: FakeEnvironment, wait: str) -> None:
    is_problem(ask(env, "GET", f"/v1/events?wait={wait}"), 422)


def test_what_is_no_http_is_a_problem_too(env: FakeEnvironment) -> None:
    for sent in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"get / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", env.server.port), timeout=10) as raw:
            raw.sendall(sent)
            answer = raw.makefile("rb").read().decode()
        assert answer.startswith("HTTP/1.0 400 "), answer
        assert "application/problem+json" in answer


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
PATHS = st.sampled_from([route.path.replace("{version}", "mood%3Aa") for route in ROUTES])
TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~abcXYZ019"
HEADERS = st.dictionaries(
    st.one_of(
        st.sampled_from(
            ["Host", "Origin", "Authorization", "Content-Type", "X-Forwarded-For", "Expect", "Cookie"]
        ),
        st.text(TOKEN_CHARACTERS, min_size=1, max_size=12),
    ),
    st.one_of(
        st.sampled_from(["application/json", "Bearer x", "null"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30),
    ),
    max_size=4,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.dictionaries(st.sampled_from(["image", "strategy", "full", "why", "x"]), VALUES, max_size=3)
BODIES = st.one_of(
    st.none(),
    st.binary(max_size=200),
    (MEMBERS | VALUES).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(METHODS, PATHS | st.text(max_size=20), st.text(max_size=10), HEADERS, BODIES)
def test_whatever_is_sent_is_no_fault(
    env: FakeEnvironment, method: str, path: str, query: str, headers: dict[str, str], body: bytes | None
) -> None:
    from urllib.parse import quote

    target = quote(path, safe="/%") if path.startswith("/") else f"/{quote(path)}"
    target += f"?wait=0&{quote(query, safe='&=')}" if query else ""
    sent = {"Content-Type": "application/json"} | headers
    if "Host" not in headers:
        sent["Host"] = f"127.0.0.1:{env.server.port}"
    told = ask(env, method, target if "events" not in path or query else f"{target}?wait=0", body, sent)
    assert told.status < 500
    assert b"Traceback" not in told.body
    if told.status >= 400 and method != "HEAD":
        is_problem(told, told.status)


def test_a_fault_of_ours_is_told_by_a_number_and_logged(
    fresh: FakeEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    fresh.control.status = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    problem = is_problem(ask(fresh, "GET", "/v1/status"), 500)
    assert "ZeroDivisionError" not in json.dumps(problem)
    number = re.search(r"under (\w+)", problem["todo"])
    assert number is not None
    assert number[1] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_errors_have_their_statuses() -> None:
    for kind, status in STATUSES.items():
        made = failure(kind("what", "do"))
        assert (made.status, json.loads(made.body)["kind"]) == (status, kind.__name__)
    assert failure(Unauthorized("the registry wants credentials")).status == 502, "401 is for our own token"
    assert list(STATUSES)[-1] is SerinusError


# What is answered


def test_the_status_document(env: FakeEnvironment) -> None:
    told = ask(env, "GET", "/v1/status")
    assert told.headers["Cache-Control"] == "no-store"
    document = told.json
    assert document["environment"] == "mood"
    assert document["stable"] == {"digest": OLD, "name": "mood:a"}
    assert document["rollout"] is None
    head = ask(env, "HEAD", "/v1/status")
    assert (head.status, head.body) == (200, b"")


def test_a_rollout_from_start_to_end(fresh: FakeEnvironment) -> None:
    told = ask(fresh, "POST", "/v1/rollouts", {"image": "mood:b", "strategy": "canary"})
    assert told.status == 201
    assert told.json["version"] == {"digest": NEW, "name": "mood:b"}
    assert told.json["new"] is True
    again = ask(fresh, "POST", "/v1/rollouts", {"image": "mood:b"})
    assert (again.status, again.json["number"], again.json["new"]) == (200, told.json["number"], False)
    fresh.until(lambda: fresh.kinds().count("promote") == 2)
    entries = ask(fresh, "GET", f"/v1/history?after={told.json['after']}").json["entries"]
    assert entries[0]["kind"] == "start"
    assert entries[-1]["kind"] == "promote"
    assert {entry["name"] for entry in entries} == {"mood:b"}
    same = ask(fresh, "POST", "/v1/rollouts", {"image": "mood:b"})
    assert (same.status, same.json["number"]) == (200, 0)
    assert "is in charge already" in same.json["message"]


def test_pause_resume_promote_abort_and_undo(fresh: FakeEnvironment) -> None:
    is_problem(ask(fresh, "POST", "/v1/rollout/promote"), 409)
    assert "no version before" in is_problem(ask(fresh, "POST", "/v1/undo"), 409)["detail"]
    ask(fresh, "POST", "/v1/rollouts", {"image": "mood:b"})
    assert ask(fresh, "POST", "/v1/rollout/pause").json["rollout"]["paused"] is True
    assert ask(fresh, "POST", "/v1/rollout/resume", {}).json["rollout"]["paused"] is False
    fresh.until(lambda: fresh.controller.view.state.rollout and fresh.controller.view.state.rollout.weight)
    done = ask(fresh, "POST", "/v1/rollout/abort", {"why": "because"}).json
    assert (done["rollout"], done["weight"]["wanted"]) == (None, 0)
    assert fresh.recorded[-1].entry.message == "a person asked for it: because"
    ask(fresh, "POST", "/v1/rollouts", {"image": "mood:b"})
    fresh.until(lambda: fresh.controller.view.state.rollout and fresh.controller.view.state.rollout.weight)
    full = ask(fresh, "POST", "/v1/rollout/promote", {"full": True}).json
    assert (full["rollout"]["phase"], full["weight"]["wanted"]) == ("baking", 1.0)
    fresh.until(lambda: fresh.controller.view.state.stable == NEW)
    back = ask(fresh, "POST", "/v1/undo").json
    assert (back["rollout"]["strategy"], back["rollout"]["candidate"]["digest"]) == ("undo", OLD)


def test_an_image_that_must_not_start_is_refused_before_anything_does(fresh: FakeEnvironment) -> None:
    before = len(fresh.recorded)
    refused = is_problem(ask(fresh, "POST", "/v1/rollouts", {"image": "mood:unchecked"}), 412)
    assert (refused["kind"], refused["todo"]) == ("CheckError", "Run `serinus check`.")
    missing = is_problem(ask(fresh, "POST", "/v1/rollouts", {"image": "mood:z"}), 404)
    assert missing["kind"] == "NotFound"
    assert len(fresh.recorded) == before
    assert fresh.images.pinned <= {OLD}


def test_the_images_of_all_versions_are_kept_and_no_others(fresh: FakeEnvironment) -> None:
    ask(fresh, "POST", "/v1/rollouts", {"image": "mood:b"})
    assert fresh.images.pinned == {OLD, NEW}
    ask(fresh, "POST", "/v1/rollout/abort")
    ask(fresh, "POST", "/v1/rollouts", {"image": "mood:c"})
    assert NEW not in fresh.images.pinned


def test_events_are_waited_for_and_come_at_once(fresh: FakeEnvironment) -> None:
    last = ask(fresh, "GET", "/v1/status").json["last"]
    begin = time.monotonic()
    quiet = ask(fresh, "GET", f"/v1/events?after={last}&wait=0.3").json
    assert time.monotonic() - begin >= 0.3
    assert (quiet["entries"], quiet["status"]["last"]) == ([], last)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, fresh, "GET", f"/v1/events?after={last}&wait=30")
        time.sleep(0.1)
        begin = time.monotonic()
        ask(fresh, "POST", "/v1/rollouts", {"image": "mood:b"})
        entries = waiting.result(10).json["entries"]
        assert time.monotonic() - begin < 5
    assert entries[0]["kind"] == "start"
    assert entries[0]["number"] == last + 1


def test_those_who_wait_keep_nobody_from_commanding(fresh: FakeEnvironment) -> None:
    last = ask(fresh, "GET", "/v1/status").json["last"]
    fresh.requests = 0
    with ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(ask, fresh, "GET", f"/v1/events?after={last}&wait=2") for _ in range(40)]
        time.sleep(0.2)
        begin = time.monotonic()
        assert ask(fresh, "GET", "/v1/status").status == 200
        assert time.monotonic() - begin < 1.5
        assert {one.result(20).status for one in waiting} == {200}


def test_closing_lets_those_who_wait_go(tmp_path: Path) -> None:
    with running(tmp_path) as env:
        answers: list[int] = []
        thread = threading.Thread(
            target=lambda: answers.append(ask(env, "GET", "/v1/events?after=999&wait=60").status)
        )
        thread.start()
        time.sleep(0.2)
        begin = time.monotonic()
    thread.join(5)
    assert time.monotonic() - begin < 5
    assert answers == [200]


def test_logs_of_a_version_by_any_of_its_names(env: FakeEnvironment) -> None:
    env.wrote[OLD] = "one\nzwölf\n".encode()
    for name in (OLD, "mood%3Aa", "mood:a", "stable", OLD[7:12], OLD[:20]):
        told = ask(env, "GET", f"/v1/versions/{name}/logs").json
        assert told == {"version": {"digest": OLD, "name": "mood:a"}, "text": "one\nzwölf\n", "next": 11}
    assert ask(env, "GET", "/v1/versions/stable/logs?since=4").json["text"] == "zwölf\n"
    env.wrote[OLD] = b"\xff\n"
    assert ask(env, "GET", "/v1/versions/stable/logs").json["text"] == "\ufffd\n"
    problem = is_problem(ask(env, "GET", "/v1/versions/mood:z/logs"), 404)
    assert "there is mood:a" in problem["detail"]


def test_a_controller_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with running(tmp_path) as env:
        env.control._patience = 0.2
        env._stop.set()
        env._thread.join()
        assert "has not answered within" in is_problem(ask(env, "POST", "/v1/rollout/pause"), 504)["detail"]


def test_a_port_that_is_taken_is_told(env: FakeEnvironment) -> None:
    with pytest.raises(
        ControlError, match=f"port {env.server.port} of 127.0.0.1, for the control API, is taken"
    ):
        Server(env.control, lambda: "x", port=env.server.port)


def test_every_route_and_error_is_documented(tmp_path: Path) -> None:
    page = PAGE.read_text()
    more = routes(Project(root=tmp_path, service=Service(name="mood")), Ledger(tmp_path), lambda: None)
    for route in (*ROUTES, *more):
        assert f"`{route.method} {route.path.replace(':path', '')}`" in page
        for member in route.members:
            assert f"`{member}`" in page
    for kind, status in STATUSES.items():
        assert re.search(rf"\| {status.value} \|.*`{kind.__name__}`", page), kind
