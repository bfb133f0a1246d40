"""The router as a whole, with the real Envoy: who gets what, what is in force, what it survives."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import backends
import pytest
from backends import GOOD, HOST, Ask, Backend
from stage import Stage, until

from serinus.environment.envoy import config
from serinus.environment.envoy.record import Record
from serinus.errors import RouterError
from serinus.rollout import Arm, Attempt, Routing, Sticky

pytestmark = pytest.mark.envoy


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "router", linger=0.0)
    yield made
    made.close()


# Who gets what


def test_without_a_version_in_charge_callers_are_told_to_come_back(own: Stage) -> None:
    answer = own.caller.ask(Ask(headers={"x-request-id": "mine"}))
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "no version is in charge yet",
        "id": "mine",
    }
    assert own.router.generation() == 0


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 1.0])
def test_the_candidate_gets_its_share(
    stage: Stage, stable: Backend, candidate: Backend, weight: float
) -> None:
    stage.route([stable], [candidate], weight)
    answers = stage.caller.many([Ask()] * 1000)
    found = stage.attempts(1000)
    assert [a.status for a in answers] == [200] * 1000
    share = sum(a.version == "candidate" for a in answers)
    assert abs(share - 1000 * weight) <= 5 * (1000 * weight * (1 - weight)) ** 0.5  # 5 sigma
    assert share == len(candidate.seen) == sum(a.arm is Arm.CANDIDATE for a in found)
    assert {a.weight for a in found} == {weight}


def test_callers_may_choose(stage: Stage, stable: Backend, candidate: Backend) -> None:
    stage.route([stable], [candidate], 0.5)
    for version in ("candidate", "stable"):
        answers = stage.caller.many([Ask(headers={"serinus-version": version})] * 20)
        assert {a.version for a in answers} == {version}
        assert {(a.arm, a.forced, a.weight) for a in stage.attempts(20)} == {(Arm(version), True, 0.5)}


def test_without_a_candidate_there_is_nothing_to_choose(stage: Stage, stable: Backend) -> None:
    stage.route([stable])
    assert stage.caller.ask(Ask(headers={"serinus-version": "candidate"})).version == "stable"
    assert [(a.arm, a.forced, a.weight) for a in stage.attempts(1)] == [(Arm.STABLE, False, 0.0)]


def test_a_candidate_without_replicas_gets_nothing(stage: Stage, stable: Backend) -> None:
    stage.route([stable], [], 0.5)
    assert {a.version for a in stage.caller.many([Ask()] * 50)} == {"stable"}


def test_stable_without_replicas_is_said_plainly(stage: Stage) -> None:
    stage.route([])
    answer = stage.caller.ask()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert json.loads(answer.body)["detail"] == "no replica of the service could answer"


@pytest.mark.parametrize("kind", ["header", "cookie"])
def test_users_keep_their_version_as_the_weight_grows(
    stage: Stage, stable: Backend, candidate: Backend, kind: str
) -> None:
    def ask(user: int) -> Ask:
        value = f"user-{user}"
        return Ask(headers={"who": value} if kind == "header" else {"cookie": f"a=b; who={value}; c=d"})

    before: set[int] = set()
    for weight in (0.05, 0.25, 0.5, 0.99):
        stage.route([stable], [candidate], weight, sticky=Sticky(kind, "who"))
        answers = stage.caller.many([ask(user) for user in range(1000)])
        found = {user for user, a in enumerate(answers) if a.version == "candidate"}
        assert before <= found
        assert abs(len(found) - 1000 * weight) <= 5 * (1000 * weight * (1 - weight)) ** 0.5
        assert {a.headers.get("set-cookie") for a in answers} == {None}
        recorded = stage.attempts(1000)
        assert {a.user for a in recorded if a.arm is Arm.CANDIDATE} == {f"user-{user}" for user in found}
        before = found


def test_users_without_the_value_get_any_version(stage: Stage, stable: Backend, candidate: Backend) -> None:
    stage.route([stable], [candidate], 0.5, sticky=Sticky("header", "who"))
    answers = stage.caller.many([Ask()] * 200)
    assert 50 < sum(a.version == "candidate" for a in answers) < 150
    assert {a.user for a in stage.attempts(200)} == {""}


def test_a_cookie_is_set_for_those_who_have_none(stage: Stage, stable: Backend, candidate: Backend) -> None:
    stage.route([stable], [candidate], 0.5, sticky=Sticky("cookie", "who"))
    answers = stage.caller.many([Ask(headers={"serinus-user": "forged", "serinus-draw": "forged"})] * 200)
    cookies = [a.headers["set-cookie"].partition(";") for a in answers]
    assert {rest for _, _, rest in cookies} == {" Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"}
    values = [cookie.removeprefix("who=") for cookie, _, _ in cookies]
    assert len(set(values)) == 200
    assert {a.user for a in stage.attempts(200)} == set(values)
    again = stage.caller.many([Ask(headers={"cookie": cookie}) for cookie, _, _ in cookies])
    assert [a.version for a in again] == [a.version for a in answers]
    assert {a.headers.get("set-cookie") for a in again} == {None}
    assert {a.user for a in stage.attempts(200)} == set(values)


def test_a_share_of_the_predictions_is_copied(stage: Stage, stable: Backend, candidate: Backend) -> None:
    candidate.behave = backends.failing
    stage.route([stable], [candidate], mirror=0.5)
    answers = stage.caller.many([Ask(headers={"x-request-id": f"r{n}"}) for n in range(400)])
    assert {(a.status, a.version) for a in answers} == {(200, "stable")}
    until(lambda: len(candidate.seen) > 120, "copies came")
    assert len(candidate.seen) < 280
    assert {r.headers["x-request-id"] for r in candidate.seen} <= {
        r.headers["x-request-id"] for r in stable.seen
    }
    assert {r.body for r in candidate.seen} == {b'["a"]'}
    stage.route([stable], [candidate], mirror=1.0)
    stage.caller.many([Ask("/metrics", method="GET"), Ask(headers={"x-request-id": "last"})], 1)
    until(lambda: candidate.seen[-1].headers["x-request-id"] == "last", "the last copy came")
    assert "/metrics" not in {r.path for r in candidate.seen}


def test_copies_are_no_attempts_and_disturb_nobody(stage: Stage, stable: Backend, candidate: Backend) -> None:
    candidate.behave = backends.hanging
    stage.route([stable], [candidate], mirror=1.0)
    assert {a.status for a in stage.caller.many([Ask()] * 100)} == {200}
    until(lambda: len(candidate.seen) == 100, "copies came")
    found = stage.attempts(100)
    assert len(found) == 100
    assert {a.arm for a in found} == {Arm.STABLE}


# Requests on their way


def test_what_services_are_sent(stage: Stage, stable: Backend) -> None:
    stage.route([stable])
    forged = {
        "x-request-id": "mine",
        "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-max-retries": "9",
        "serinus-user": "forged",
    }
    answer = stage.caller.ask(Ask("/a/../b%2Fc?x=/../y", headers=forged))
    assert answer.headers["x-request-id"] == "mine"
    (request,) = stable.seen
    assert request.path == "/b%2Fc?x=/../y"
    assert request.headers["x-request-id"] == "mine"
    ours = {name for name in request.headers if name.startswith(("x-envoy-", "serinus-"))}
    assert ours <= {"x-envoy-attempt-count", "x-envoy-external-address"}
    assert [(a.request_id, a.predicts) for a in stage.attempts(1)] == [("mine", False)]


def test_a_request_gets_an_id(stage: Stage, stable: Backend) -> None:
    stage.route([stable])
    answer = stage.caller.ask()
    assert stable.seen[0].headers["x-request-id"] == answer.headers["x-request-id"] != ""


def test_connections_to_replicas_are_kept(stage: Stage, stable: Backend) -> None:
    stage.route([stable])
    stage.caller.many([Ask()] * 100, 1)
    assert stable.connections <= stage.settings.workers


def test_the_route_is_that_of_predictions_whatever_the_query(stage: Stage, stable: Backend) -> None:
    stage.route([stable])
    for path in ("/predict", "/predict?x=1", "/predict/more", "/metrics"):
        assert stage.caller.ask(Ask(path)).body == GOOD
    assert [a.predicts for a in stage.attempts(4)] == [True, True, False, False]


def test_what_is_too_large_is_refused(stage: Stage, stable: Backend) -> None:
    stage.route([stable])
    answer = stage.caller.ask(Ask(body=b"x" * ((16 << 20) + 1)))
    assert answer.status == 413
    assert json.loads(answer.body)["detail"] == "the body is over 16777216 bytes"
    assert not stable.seen


def test_time_out_and_unreachable_are_problems_too(stage: Stage, stable: Backend) -> None:
    stable.behave = backends.hanging
    stage.route([stable], timeout=0.2, idempotent=False)
    answer = stage.caller.ask()
    assert (answer.status, json.loads(answer.body)["title"]) == (504, "Gateway Timeout")
    stable.behave = backends.resetting
    answer = stage.caller.ask()
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")


def test_old_clients_are_served(stage: Stage, stable: Backend) -> None:
    stage.route([stable])
    with socket.create_connection((HOST, stage.settings.port)) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200" in sock.makefile("rb").readline()


def test_odd_bytes_spoil_no_line_of_the_record(stage: Stage, stable: Backend) -> None:
    stage.route([stable])
    before = stage.router.record.malformed

    async def ask() -> bytes:
        reader, writer = await backends.asyncio.open_connection(HOST, stage.settings.port)
        writer.write(
            b'POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nx-request-id: a\xff"\\b\xc3\r\n\r\n'
        )
        line = await reader.readline()
        writer.close()
        return line

    assert b"200" in stage.loop.run(ask())
    assert len(stage.attempts(1)) == 1
    assert stage.router.record.malformed == before


def test_what_people_read_of_requests(own: Stage) -> None:
    stable, candidate = own.backend("stable"), own.backend("candidate", backends.failing)
    own.route([stable], [candidate], 1.0)
    own.caller.ask(Ask("/predict?secret=1", headers={"x-request-id": "mine"}))
    log = own.folder / "access.jsonl"
    until(lambda: log.read_text().endswith("\n"), "the line is written")
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    kept = ("method", "path", "status", "request_id", "version", "attempts")
    assert [line[name] for name in kept] == ["POST", "/predict", 200, "mine", "stable", 2]


# What is in force


def test_a_hundred_changes_under_load_cost_no_answer(
    stage: Stage, stable: Backend, candidate: Backend
) -> None:
    stage.route([stable])
    with stage.caller.asking(16) as answers:
        for step in range(100):
            weight = step % 11 / 10
            stage.route([stable], [candidate], weight, mirror=(step % 3) / 10)
            assert stage.router.generation() == stage.routing.generation
            if step % 10 == 9:
                stage.route([candidate])
                stage.route([candidate], [stable], 0.5)
    assert {a.status for a in answers} == {200}
    assert len(answers) > 100


def test_each_attempt_knows_its_own_weight(stage: Stage, stable: Backend, candidate: Backend) -> None:
    for weight in (0.1, 0.7, 0.3333):
        stage.route([stable], [candidate], weight)
        stage.caller.many([Ask()] * 10)
        assert {a.weight for a in stage.attempts(10)} == {weight}


def test_what_is_not_routed_is_taken_away(own: Stage) -> None:
    stable, candidate = own.backend("stable"), own.backend("candidate")
    own.route([stable], [candidate], 0.5, mirror=0.1)
    own.caller.many([Ask()] * 50)
    names = {n.rpartition(".")[0] for n in own.router.admin.statistics(r"^cluster\..*\.membership_total$")}
    assert len(names) == 5
    own.route([candidate])
    assert {a.version for a in own.caller.many([Ask()] * 50)} == {"candidate"}

    def clusters() -> int:
        return len(own.router.admin.statistics(r"^cluster\..*\.membership_total$"))

    until(lambda: clusters() == 1, "one cluster is left")
    assert len(list((own.folder / "endpoints").iterdir())) == 1
    assert {a.status for a in own.caller.many([Ask()] * 50)} == {200}


def test_replicas_come_and_go_without_an_error(stage: Stage, stable: Backend) -> None:
    more = [stage.backend("stable") for _ in range(3)]
    stage.route([stable])
    with stage.caller.asking(8) as answers:
        for number in (3, 1, 2, 0, 3, 0):
            stage.route([stable, *more[:number]])
            until(lambda: len(answers) > 20, "callers went on")
            answers.clear() if {a.status for a in answers} == {200} else pytest.fail(str(answers))
    assert all(backend.seen for backend in more)


@pytest.mark.parametrize("step", ["endpoints", "clusters", "routes"])
def test_what_envoy_refuses_leaves_what_was(
    stage: Stage, stable: Backend, candidate: Backend, step: str
) -> None:
    stage.route([stable], [candidate], 1.0)
    generation = stage.router.generation()
    wanted = config.configuration(Routing(1000, stage.routing.candidate, stage.routing.stable, 1.0))
    broken = {
        "endpoints": replace(wanted, endpoints={n: d | {"nonsense": 1} for n, d in wanted.endpoints.items()}),
        "clusters": replace(
            wanted, clusters=dict(wanted.clusters) | {"x": {**_any(wanted), "name": "x", "lb_policy": 9}}
        ),
        "routes": replace(wanted, routes=wanted.routes | {"virtual_hosts": [{"name": "no domains"}]}),
    }[step]
    with pytest.raises(RouterError, match="refused") as error:
        stage.router.put(broken)
    assert len(str(error.value).partition(": ")[2]) > 20
    assert stage.router.generation() == generation
    assert {a.version for a in stage.caller.many([Ask()] * 20)} == {"candidate"}
    stage.route([stable])
    assert {a.version for a in stage.caller.many([Ask()] * 20)} == {"stable"}


def _any(wanted: config.Configuration) -> dict[str, object]:
    return dict(next(iter(wanted.clusters.values())))


# What it survives


def test_a_killed_envoy_is_started_again_as_it_was(own: Stage) -> None:
    stable, candidate = own.backend("stable"), own.backend("candidate")
    own.route([stable], [candidate], 1.0)
    own.caller.many([Ask()] * 20)
    assert len(own.attempts(20)) == 20
    first = own.router.process.pid()
    os.kill(first, signal.SIGKILL)
    until(lambda: own.router.process.pid() not in (0, first) and own.router.admin.ready(), "it is back")
    assert own.router.generation() == own.routing.generation
    assert {(a.status, a.version) for a in own.caller.many([Ask()] * 20)} == {(200, "candidate")}
    assert [a.weight for a in own.attempts(20)] == [1.0] * 20


def test_ensure_starts_a_dead_one(own: Stage) -> None:
    own.router.close()
    own.router.process.kill()
    assert not own.router.alive()
    assert own.router.generation() is None
    own.router.ensure()
    assert own.router.alive()
    assert own.caller.ask().status == 503


def test_the_next_controller_finds_envoy_at_work(tmp_path: Path) -> None:
    own = Stage(tmp_path / "router", start=False)
    stable = own.backend("stable")
    script = textwrap.dedent(f"""
        import os, pathlib, signal
        from serinus.environment.envoy import Settings
        from serinus.environment.envoy.router import Envoy
        from serinus.rollout import Backend, Routing
        router = Envoy(pathlib.Path({str(own.folder)!r}), Settings(port={own.settings.port}))
        router.start()
        router.apply(Routing(7, Backend("stable", (("{HOST}", {stable.port}),))))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    try:
        ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
        assert ended.returncode == -signal.SIGKILL
        assert own.caller.ask().version == "stable"
        pid = own.router.process.pid()
        assert pid
        own.router.start()
        assert own.router.process.pid() == pid
        assert own.router.generation() == 7
        own.routing = replace(own.routing, generation=7)
        assert len(own.attempts(1)) == 1
        own.route([stable])
        assert own.caller.ask().version == "stable"
    finally:
        own.close()


def test_other_settings_need_another_envoy(own: Stage) -> None:
    stable = own.backend("stable")
    own.route([stable])
    pid = own.router.process.pid()
    own.router.close()
    own.settings = replace(own.settings, max_body=1000)
    own.router = own.envoy()
    own.router.start()
    assert own.router.process.pid() not in (0, pid)
    assert own.caller.ask().status == 200
    assert own.caller.ask(Ask(body=b"x" * 1001)).status == 413


def test_a_taken_port_is_said_with_who_has_it(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        own = Stage(tmp_path / "router", start=False, port=port)
        with pytest.raises(
            RouterError, match=rf"port {port} of {HOST} is taken by .*\(process {os.getpid()}\)"
        ):
            own.router.start()
        assert not own.router.alive()
        own.close()


def test_two_routers_do_not_share_a_port(own: Stage, tmp_path: Path) -> None:
    other = Stage(tmp_path / "other", start=False, port=own.settings.port)
    with pytest.raises(RouterError, match="is taken by envoy"):
        other.router.start()
    other.close()


def test_the_path_of_the_folder_may_be_long(tmp_path: Path) -> None:
    own = Stage(tmp_path / ("long" * 40) / "router")
    try:
        assert own.router.generation() == 0
        assert own.folder.stat().st_mode & 0o777 == 0o700
    finally:
        own.close()


def test_stopping_answers_what_is_under_way(own: Stage) -> None:
    stable = own.backend("stable", backends.slow(1.0))
    own.route([stable])
    asked = own.caller.start([Ask()] * 10, 10)
    until(lambda: len(stable.seen) == 10, "they are under way")
    own.router.stop(20)
    assert [a.status for a in asked()] == [200] * 10
    assert not own.router.alive()
    assert own.caller.ask().status == 0


# The record


def test_no_line_is_lost_or_doubled_when_the_log_turns(tmp_path: Path) -> None:
    own = Stage(tmp_path / "router", start=False)
    own.router = own.envoy(record=Record(own.folder, bound=20_000, keep=100))
    own.router.start()
    try:
        stable = own.backend("stable")
        own.route([stable])
        found: list[Attempt] = []

        def look() -> int:
            own.router._tidy()
            record = Record(own.folder)  # places outlive whoever reads
            more, own.place = record.attempts(own.place)
            assert record.malformed == 0
            found.extend(more)
            return len(found)

        with own.caller.asking(8) as answers:
            until(lambda: look() > 1000, "many attempts are recorded")
        until(lambda: look() >= len(answers), "all are recorded")
        assert len(found) == len(answers) == len({a.request_id for a in found})
        assert len(list(own.folder.glob("attempts-*.jsonl"))) > 3
    finally:
        own.close()


def test_places_hold_and_odd_lines_are_counted(tmp_path: Path) -> None:
    record = Record(tmp_path)
    assert record.attempts("") == ((), "0:0")
    line = _line()
    record.log.path.write_bytes(line * 2 + line[:-9])
    found, place = record.attempts("")
    assert len(found) == 2
    assert record.attempts(place) == ((), place)
    with record.log.path.open("ab") as file:
        file.write(line[-9:] + b"nonsense\n" + b'{"try": "1"}\n' + line)
    more, place = record.attempts(place)
    assert (len(more), record.malformed) == (2, 2)
    assert more[0] == found[0]
    record.log.turn()
    record.log.path.write_bytes(line)
    assert len(record.attempts(place)[0]) == 1
    assert len(record.attempts("")[0]) == 5
    assert len(record.attempts("77:12")[0]) == 5


def test_a_line_that_was_never_finished_takes_no_other_with_it(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.log.path.write_bytes(_line()[:-9])
    record.log.mend()
    record.log.mend()
    with record.log.path.open("ab") as file:
        file.write(_line())
    assert len(record.attempts("")[0]) == 1
    assert record.malformed == 1


def _line(**more: object) -> bytes:
    route = {"generation": 3, "weight": 500, "forced": False, "predicts": True, "limits": [30000, 30000]}
    told = {
        "cluster": "canary.a.b",
        "try": "1",
        "route": route,
        "status": 200,
        "flags": "-",
        "us": 1500,
        "ms": 1,
        "violation": None,
        "user": None,
        "id": "r",
        "at": "12.5",
    }
    return json.dumps(told | more).encode() + b"\n"
