"""No caller ever sees a candidate's mistake, and each of them is counted once. With the real Envoy."""

from __future__ import annotations

import threading
from pathlib import Path

import backends
import pytest
from backends import Ask, Backend, Behaviour
from stage import Stage, until

from parts import free_port
from serinus.rollout import Arm

pytestmark = pytest.mark.envoy
ASKED = 200


BROKEN = {
    "always 500": (backends.failing, 500),
    "always 503": (backends.busy, 503),
    "breaks the contract": (backends.violating, 200),
    "resets": (backends.resetting, 0),
    "closes": (backends.closing, 0),
    "breaks off in the headers": (backends.half_a_head, 0),
    "breaks off in the body": (backends.half_a_body, 0),
    "breaks off in a stream": (backends.half_a_stream, 0),
    "answers nonsense": (backends.garbage, 0),
}


@pytest.mark.parametrize("weight", [0.1, 0.5])
@pytest.mark.parametrize("kind", BROKEN)
def test_callers_get_the_answer_of_stable(
    stage: Stage, stable: Backend, candidate: Backend, kind: str, weight: float
) -> None:
    candidate.behave, status = BROKEN[kind]
    stage.route([stable], [candidate], weight)
    answers = stage.caller.many([Ask()] * ASKED)
    assert {(a.status, a.body, a.version) for a in answers} == {(200, backends.GOOD, "stable")}
    found = stage.attempts(ASKED)
    first = [a for a in found if a.arm is Arm.CANDIDATE]
    assert len(found) == ASKED
    assert len(first) == len(candidate.seen) > 0
    assert {(a.status, a.weight, a.forced, a.predicts) for a in first} == {(status, weight, False, True)}
    assert {a.violation for a in first} == {"/positive" if kind == "breaks the contract" else None}
    assert {a.status for a in found if a.arm is Arm.STABLE} == {200}
    assert len(stable.seen) == ASKED


@pytest.mark.parametrize("weight", [0.1, 0.5])
@pytest.mark.parametrize("behave", [backends.hanging, backends.stalling], ids=["hangs", "stalls"])
def test_a_candidate_has_so_much_time_and_no_more(
    stage: Stage, stable: Backend, candidate: Backend, behave: Behaviour, weight: float
) -> None:
    candidate.behave = behave
    stage.route([stable], [candidate], weight, try_timeout=0.3)
    answers = stage.caller.many([Ask()] * ASKED, 32)
    assert {(a.status, a.version) for a in answers} == {(200, "stable")}
    found = stage.attempts(ASKED)
    assert {a.status for a in found if len(candidate.seen) and a.arm is Arm.CANDIDATE} == {0}
    assert sum(a.arm is Arm.CANDIDATE for a in found) == len(candidate.seen) > 0


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_where_nobody_listens(stage: Stage, stable: Backend, weight: float) -> None:
    nobody = Backend(stage.loop, "nobody", port=free_port())
    stage.route([stable], [nobody], weight)
    answers = stage.caller.many([Ask()] * ASKED)
    assert {(a.status, a.version) for a in answers} == {(200, "stable")}
    found = stage.attempts(ASKED)
    assert {(a.arm, a.status) for a in found} == {(Arm.STABLE, 200), (Arm.CANDIDATE, 0)}
    assert len(found) == ASKED


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_a_candidate_that_is_killed_at_work(
    stage: Stage, stable: Backend, candidate: Backend, weight: float
) -> None:
    candidate.behave = backends.slow(0.2)
    stage.route([stable], [candidate], weight)
    with stage.caller.asking(16) as answers:
        until(lambda: len(candidate.seen) > 10, "the candidate is at work")
        candidate.kill()
        until(lambda: len(answers) > 300, "callers went on")
    assert {a.status for a in answers} == {200}
    found = stage.attempts(len(answers))
    assert len(found) == len(answers)
    assert {a.status for a in found if a.arm is Arm.CANDIDATE} >= {0}


@pytest.mark.parametrize("size", [1_000_000, 10_000_000, 16 << 20])
@pytest.mark.parametrize("behave", [backends.failing, backends.half_a_body], ids=["fails", "breaks off"])
def test_large_requests_are_asked_again(
    stage: Stage, stable: Backend, candidate: Backend, size: int, behave: Behaviour
) -> None:
    candidate.behave = behave
    stage.route([stable], [candidate], 1.0)
    body = bytes(range(256)) * (size // 256)
    answers = stage.caller.many([Ask(body=body)] * 4, 2)
    assert [(a.status, a.version) for a in answers] == [(200, "stable")] * 4
    assert {r.body for r in candidate.seen} == {r.body for r in stable.seen} == {body}


def test_large_answers_are_held_too(stage: Stage, stable: Backend, candidate: Backend) -> None:
    async def large(backend: Backend, talk: backends.Talk, request: backends.Request) -> bool:
        await talk.send(backends.answer(body=b" " * 20_000_000))
        return True

    async def broken(backend: Backend, talk: backends.Talk, request: backends.Request) -> bool:
        await talk.send(backends.answer(body=b" " * 20_000_000)[:-1])
        return False

    candidate.behave = large
    stage.route([stable], [candidate], 1.0)
    assert len(stage.caller.ask().body) == 20_000_000
    candidate.behave = broken
    assert stage.caller.ask().version == "stable"


@pytest.mark.parametrize("arm", list(Arm))
def test_answers_too_large_to_be_held_are_passed_on(tmp_path: Path, arm: Arm) -> None:
    async def large(backend: Backend, talk: backends.Talk, request: backends.Request) -> bool:
        await talk.send(backends.answer(body=b" " * 5_000_000))
        return True

    stage = Stage(tmp_path, max_answer=1_000_000, max_body=1000)
    try:
        stage.route([stage.backend("stable", large)], [stage.backend("candidate", large)], 0.5)
        answer = stage.caller.ask(Ask(headers={"serinus-version": arm.value}))
        assert (answer.status, len(answer.body)) == (200, 5_000_000)
        assert [a.arm for a in stage.attempts(1)] == [arm]
    finally:
        stage.close()


def test_answers_without_a_body_are_not_waited_for(stage: Stage, stable: Backend, candidate: Backend) -> None:
    async def bare(backend: Backend, talk: backends.Talk, request: backends.Request) -> bool:
        head = backends.answer(204 if request.method == "DELETE" else 200, b"", serinus_version=backend.name)
        cut = b"content-length: 0\r\n"
        await talk.send(head.replace(cut, b"" if request.method == "DELETE" else b"content-length: 99\r\n"))
        return True

    async def ask(method: str) -> bytes:
        reader, writer = await backends.asyncio.open_connection(backends.HOST, stage.settings.port)
        writer.write(Ask(method=method).wire())
        found = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return found

    candidate.behave = stable.behave = bare
    stage.route([stable], [candidate], 1.0)
    assert b"content-length: 99" in stage.loop.run(ask("HEAD"))
    assert b" 204 " in stage.loop.run(ask("DELETE"))
    assert not stable.seen


def test_streams_are_passed_on_as_they_come(stage: Stage, stable: Backend, candidate: Backend) -> None:
    ended = threading.Event()

    async def events(backend: Backend, talk: backends.Talk, request: backends.Request) -> bool:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        await talk.send(head + b"7\r\ndata: 1\r\n")
        await talk.reader.read()
        ended.set()
        return False

    async def first_bytes() -> bytes:
        reader, writer = await backends.asyncio.open_connection(backends.HOST, stage.settings.port)
        writer.write(Ask().wire())
        found = await reader.readuntil(b"data: 1")
        writer.close()
        return found

    candidate.behave = events
    stage.route([stable], [candidate], 1.0)
    assert b"200 OK" in stage.loop.run(first_bytes())
    assert ended.wait(30)


def test_what_the_caller_did_wrong_is_not_asked_again(
    stage: Stage, stable: Backend, candidate: Backend
) -> None:
    candidate.behave = backends.refusing
    stage.route([stable], [candidate], 1.0)
    assert stage.caller.ask().status == 422
    assert not stable.seen
    assert [(a.arm, a.status) for a in stage.attempts(1)] == [(Arm.CANDIDATE, 422)]


@pytest.mark.parametrize(("behave", "status"), [(backends.failing, 500), (backends.resetting, 503)])
def test_what_may_have_been_done_is_not_done_again(
    stage: Stage, stable: Backend, candidate: Backend, behave: Behaviour, status: int
) -> None:
    candidate.behave = behave
    stage.route([stable], [candidate], 1.0, idempotent=False)
    assert {a.status for a in stage.caller.many([Ask()] * 20)} == {status}
    assert not stable.seen
    candidate.kill()
    assert {(a.status, a.version) for a in stage.caller.many([Ask()] * 20)} == {(200, "stable")}


def test_a_caller_that_goes_away_is_no_error_of_the_candidate(
    stage: Stage, stable: Backend, candidate: Backend
) -> None:
    candidate.behave = stable.behave = backends.hanging
    stage.route([stable], [candidate], 0.5)

    async def leave() -> None:
        _, writer = await backends.asyncio.open_connection(backends.HOST, stage.settings.port)
        writer.write(Ask().wire())
        await backends.asyncio.sleep(0.05)
        writer.close()

    for _ in range(20):
        stage.loop.run(leave())
    assert {a.status for a in stage.attempts(20)} == {499}


def test_a_slow_sender_takes_none_of_the_time_of_the_candidate(
    stage: Stage, stable: Backend, candidate: Backend
) -> None:
    stage.route([stable], [candidate], 1.0, try_timeout=1.0)

    async def send_slowly() -> bytes:
        reader, writer = await backends.asyncio.open_connection(backends.HOST, stage.settings.port)
        wire = Ask().wire()
        writer.write(wire[:-2])
        await backends.asyncio.sleep(1.5)
        writer.write(wire[-2:])
        found = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return found

    assert b"serinus-version: candidate" in stage.loop.run(send_slowly())
    assert [(a.arm, a.status) for a in stage.attempts(1)] == [(Arm.CANDIDATE, 200)]


def test_what_is_under_way_is_rescued_after_the_candidate_is_gone(
    stage: Stage, stable: Backend, candidate: Backend
) -> None:
    candidate.behave = backends.hanging
    stage.route([stable], [candidate], 1.0)
    asked = stage.caller.start([Ask()] * 20, 20)
    until(lambda: len(candidate.seen) == 20, "the candidate has them")
    stage.route([stable])
    candidate.kill()
    assert {(a.status, a.version) for a in asked()} == {(200, "stable")}


def test_more_rescues_than_allowed_go_to_the_caller(tmp_path: Path) -> None:
    stage = Stage(tmp_path, rescues=2)
    try:
        stable, candidate = stage.backend("stable", backends.slow(1.0)), stage.backend("candidate")
        candidate.behave = backends.failing
        stage.route([stable], [candidate], 1.0)
        found = [a.status for a in stage.caller.many([Ask()] * 12, 12)]
        assert 2 <= found.count(200) < 12
        assert len(stable.seen) == found.count(200)
    finally:
        stage.close()


# Stable


def test_the_errors_of_stable_are_its_own(stage: Stage, stable: Backend, candidate: Backend) -> None:
    stable.behave = backends.failing
    stage.route([stable], [candidate], 0.5)
    answers = stage.caller.many([Ask()] * ASKED)
    assert {a.status for a in answers} == {200, 500}
    found = stage.attempts(ASKED)
    assert (
        sum(a.status == 500 for a in answers) == sum(a.arm is Arm.STABLE for a in found) == len(stable.seen)
    )


def test_a_replica_of_stable_that_is_killed_costs_no_answer(stage: Stage, stable: Backend) -> None:
    other = stage.backend("other", backends.slow(0.05))
    stable.behave = backends.slow(0.05)
    stage.route([stable, other])
    with stage.caller.asking(16) as answers:
        until(lambda: len(other.seen) > 20, "both are at work")
        other.kill()
        until(lambda: len(answers) > 500, "callers went on")
        stage.route([stable])
    assert {(a.status, a.version) for a in answers} == {(200, "stable"), (200, "other")}


def test_the_only_replica_is_never_given_up(stage: Stage, stable: Backend) -> None:
    stable.behave = backends.resetting
    stage.route([stable])
    assert {a.status for a in stage.caller.many([Ask()] * 50)} == {503}
    stable.behave = backends.good
    assert {a.status for a in stage.caller.many([Ask()] * 50)} == {200}
