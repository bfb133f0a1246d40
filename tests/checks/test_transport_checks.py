"""The checks of the wire: pure parts, what answers are read as, and clean services under all of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from checked import checked, small, told
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks.transport import CHECKS, wire
from serinus.checks.transport.endpoint import Endpoint, refused, says_why
from serinus.checks.transport.leaks import shown, statements
from serinus.checks.transport.mutations import extremes, mutations, places, put
from serinus.contract import Contract
from serinus.contract.violations import compile as compile_schema
from serinus.serving import Settings

GUARDED = Endpoint(("127.0.0.1", 1), "/predict", Settings("mood"), Contract({}, {}))
FOREIGN = Endpoint(("127.0.0.1", 1), "/predict")
SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "size": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["text"],
    "additionalProperties": False,
}
TRACEBACK = b"Traceback (most recent call last):\n  File 'app.py'"
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@contextmanager
def scripted(*said: bytes) -> Iterator[tuple[str, int]]:
    """A server that says these bytes, one piece a connection, whatever it is asked, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for piece in said:
                taken, _ = listener.accept()
                with taken:
                    taken.recv(65536)
                    taken.sendall(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        thread.join(10)


def test_an_answer_is_read_whole() -> None:
    with scripted(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}") as at:
        answer = wire.once(at, wire.Request())
    assert (answer.status, answer.body, answer.is_json, answer.closes) == (200, b"{}", True, False)
    assert answer.header("content-type") == "application/json"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", wire.NoAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", wire.Malformed),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha", wire.Malformed),
        (b"what?\r\n\r\n", wire.Malformed),
    ],
)
def test_what_is_no_whole_answer_says_so(said: bytes, error: type[Exception]) -> None:
    with scripted(said) as at, pytest.raises(error):
        wire.once(at, wire.Request())


def test_nobody_who_listens_and_nobody_who_answers() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(wire.NoAnswer):
            wire.once(bound.getsockname(), wire.Request())
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(wire.Late):
        wire.once(silent.getsockname(), wire.Request(), patience=0.05)


def test_pipelined_answers_are_read_one_by_one() -> None:
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
    with scripted(one + b"a" + one + b"b") as at, wire.Connection(at) as connection:
        connection.send(wire.Request().whole() * 2)
        assert (connection.answer("GET").body, connection.answer("GET").body) == (b"a", b"b")
        assert connection.ended()


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
def test_chunks_are_what_an_http_client_reads(pieces: list[bytes]) -> None:
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire.chunks(pieces)
    with scripted(said) as at:
        assert wire.once(at, wire.Request()).body == b"".join(pieces)


@given(_json)
def test_a_value_put_in_its_own_place_changes_nothing(document: Any) -> None:
    for path, value in places(document):
        assert put(document, path, value) == document


@given(
    st.fixed_dictionaries({"text": st.text()}, optional={"size": st.integers(), "tags": st.lists(st.text())})
)
def test_every_mutation_breaks_the_contract_and_every_extreme_keeps_it(example: dict[str, Any]) -> None:
    check = compile_schema(SCHEMA)
    wrong = mutations(SCHEMA, [example])
    assert all(not check.ok(mutation.value) for mutation in wrong)
    assert {"/text", "/serinus-check-unknown", ""} <= {mutation.pointer for mutation in wrong}
    assert all(check.ok(value) for value in extremes(SCHEMA, [example]))


def test_without_an_example_the_whole_request_is_replaced() -> None:
    assert {mutation.pointer for mutation in mutations(SCHEMA, [])} == {""}
    assert mutations({}, [{"any": "thing"}]) == ()


def problem(status: int, detail: str) -> wire.Answer:
    body = b'{"status": %d, "detail": "%s"}' % (status, detail.encode())
    return wire.Answer(status, (("content-type", "application/problem+json"),), body)


@pytest.mark.parametrize(
    ("answer", "guarded", "says"),
    [
        (problem(400, "the body is not JSON: line 1"), True, True),
        (problem(400, "Bad Request"), True, False),
        (wire.Answer(400, (), b"the body is not JSON"), True, False),
        (wire.Answer(400, (), b"the body is not JSON"), False, True),
        (wire.Answer(400, (), b""), False, False),
        (wire.Answer(400, (), b"Bad Request"), False, False),
    ],
)
def test_an_error_says_more_than_its_status(answer: wire.Answer, guarded: bool, says: bool) -> None:
    assert says_why(answer, guarded) is says


def test_a_wrong_status_is_a_finding_and_a_right_one_is_none() -> None:
    right = problem(400, "the body is not JSON")
    assert refused("a body", GUARDED, right, (400,), "Mend it.") == ()
    (found,) = refused("a body", FOREIGN, wire.Answer(200, (), b"{}"), range(400, 500), "Mend it.")
    assert "was answered 200, '{}'; expected the status 400 to 499" in found.message


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (wire.Answer(400, (), TRACEBACK), "a traceback"),
        (wire.Answer(404, (), b'{"detail": "not in /srv/app.py"}'), "the path /srv/app.py"),
        (wire.Answer(500, (), b"in /home/me/project"), "the path /home/me/project"),
        (wire.Answer(400, (("x-debug", "hunter22"),)), "the value of DB_PASSWORD"),
        (wire.Answer(200, (), b'{"key": "hunter22"}'), "the value of DB_PASSWORD"),
        (wire.Answer(400, (), b"at:\n    connect(password=load_password())\n"), "the source line"),
    ],
)
def test_what_an_error_shows_is_found(answer: wire.Answer, what: str) -> None:
    source = frozenset(statements("def f():\n    connect(password=load_password())\n"))
    found = list(shown("a request", answer, source, {"DB_PASSWORD": "hunter22"}, ("/predict",)))
    assert len(found) == 1
    assert what in found[0].message


def test_the_route_the_caller_asked_is_no_leak() -> None:
    answer = problem(404, "there is nothing at /srv/x; predictions are answered at /home/predict")
    assert list(shown("a request", answer, frozenset(), {}, ("/srv/x", "/home/predict"))) == []


def test_text_alone_is_no_source() -> None:
    assert statements('"""Please send a list of sentences."""\nx = 1\n') == set()


def _passed(folder: Path, *only: str) -> None:
    verdicts = checked(folder, *only, checks=CHECKS)
    wrong = [told(v) for v in verdicts.values() if v.status not in {"passed", "not applicable"}]
    assert not wrong, "\n".join(wrong)
    assert [v.check for v in verdicts.values() if v.status == "not applicable"] == ["transport.unchanged"]


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
def test_a_clean_typed_service_passes(tmp_path: Path) -> None:
    _passed(small(tmp_path))


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
@pytest.mark.shared
@pytest.mark.parametrize("example", ["flask-app", "onnx", "sentiment", "roberta"])
def test_the_clean_examples_pass(example: str, copy: Callable[[str], Path]) -> None:
    _passed(copy(example))
