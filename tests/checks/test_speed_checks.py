"""The checks of speed: the load generator against real sockets, what numbers show, and a small service."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from checked import FILE, checked, small, told
from hypothesis import assume, given
from hypothesis import strategies as st

from serinus.checks import NotApplicable
from serinus.checks.speed import CHECKS, latency, leak, memory, open_load, throughput
from serinus.checks.speed.load import Load, Spec, Told, arrivals, whole
from serinus.checks.speed.measured import GROWTH, PAIRS, Loads, Rounds, measure, spawned
from serinus.checks.speed.numbers import at_least, percentile, slope
from serinus.checks.speed.starts import over
from serinus.checks.subjects import Served
from serinus.contract import Example
from serinus.project import Checks, SpeedChecks

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


class Answers(BaseHTTPRequestHandler):
    """Answers as the server's ``say`` tells it to."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status, pieces, headers = self.server.say(body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()

    def do_GET(self) -> None:
        text = f"process_resident_memory_bytes {self.server.memory()}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def plain(body: bytes) -> tuple[int, list[bytes], dict[str, str]]:
    return 200, [body], {"content-length": str(len(body))}


@contextmanager
def serving(say: Callable[..., object] = plain, memory: Callable[[], float] = lambda: 1e6) -> Iterator[Spec]:
    """A server, and a short load for it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    server.say, server.memory = say, memory
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Spec(server.server_address[1], "/predict", ('"one"', '"two"'), seconds=0.2)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chunked(body: bytes) -> tuple[int, list[bytes], dict[str, str]]:
    return 200, [b"3\r\n" + body[:3] + b"\r\n", b"0\r\n\r\n"], {"transfer-encoding": "chunked"}


def closing(body: bytes) -> tuple[int, list[bytes], dict[str, str]]:
    return 200, [body], {"content-length": str(len(body)), "connection": "close"}


@pytest.mark.parametrize("say", [plain, chunked, closing])
@pytest.mark.parametrize("connections", [1, 4])
def test_every_answer_is_counted_once(say: Callable[..., object], connections: int) -> None:
    with serving(say) as spec:
        found = Load(replace(spec, connections=connections)).run()
    assert found.answers == len(found.latencies) > 2
    assert found.faults == ()
    assert 0.1 < found.seconds < 5
    assert all(0 < latency < 5 for latency in found.latencies)


def test_requests_are_asked_in_turn_and_a_large_one_arrives_whole() -> None:
    seen: list[bytes] = []

    def say(body: bytes) -> object:
        seen.append(body)
        return plain(b"1")

    large = '"' + "x" * 8_000_000 + '"'
    with serving(say) as spec:
        Load(replace(spec, bodies=("1", large), least=4)).run()
    assert [len(body) for body in seen[:4]] == [1, len(large), 1, len(large)]


def test_an_answer_that_is_not_2xx_is_a_fault() -> None:
    with serving(lambda body: (503, [b""], {"content-length": "0"})) as spec:
        found = Load(spec).run()
    assert found.answers == 0
    assert found.faults[0][0] == "status 503"
    assert found.faults[0][1] > 0


def test_nobody_there_is_a_fault_and_ends() -> None:
    with serving() as spec:
        pass
    found = Load(spec).run()
    assert found.answers == 0
    assert "refused" in found.faults[0][0]


def test_a_service_that_hangs_does_not_hang_the_load() -> None:
    def say(body: bytes) -> object:
        time.sleep(3.0)
        return plain(body)

    with serving(say) as spec:
        found = Load(replace(spec, longest=1.5)).run()
    assert found.faults == (("no answer within 1.5 s", 1),)


def test_an_open_load_counts_from_when_a_request_was_due() -> None:
    lock = threading.Lock()

    def say(body: bytes) -> object:
        with lock:
            time.sleep(0.02)
        return plain(body)

    with serving(say) as spec:
        alone = Load(replace(spec, seconds=0.4)).run()
        crowded = Load(replace(spec, seconds=0.4, rate=150.0)).run()
    # Three times more requests than it can answer: the last of them wait for all the others.
    assert percentile(crowded.latencies, 0.95) > 5 * percentile(alone.latencies, 0.5)
    assert crowded.answers == len(list(arrivals(150.0, 0.4, 0)))


def test_memory_is_looked_at_and_ends_the_load_before_it_is_full() -> None:
    used = iter(range(10**6, 10**12, 10**6))
    with serving(memory=lambda: next(used)) as spec:
        found = Load(replace(spec, seconds=30, every=0.001, growth=20 * 10**6)).run()
    assert found.memory[-1][1] - found.memory[0][1] == 21 * 10**6


def test_the_generator_is_a_process_of_its_own() -> None:
    with serving() as spec:
        found = spawned(replace(spec, every=0.05))
    assert found.answers > 2
    assert found.faults == ()
    assert found.memory[0] == (0, 1e6)


BODY = st.binary(max_size=200)


@given(BODY, st.data())
def test_an_answer_is_whole_when_all_of_it_is_there(body: bytes, data: st.DataObject) -> None:
    length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=4)))
    parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
    for text in (length, chunks):
        assert whole(text) == len(text)
        assert all(whole(text[:size]) is None for size in range(len(text)))


@given(VALUES, st.floats(0.01, 1))
def test_a_percentile_has_that_share_at_or_below_it(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_the_lower_bound_is_no_more_than_the_median(values: list[float]) -> None:
    assert at_least(values) <= percentile(values, 0.5)


def test_a_bound_takes_six_rounds_and_bears_three_ruined_of_sixteen() -> None:
    assert at_least([2.0] * 5) == float("-inf")
    assert at_least([2.0] * 6) == 2.0
    assert at_least([0.1] * 3 + [2.0] * 13) == 2.0
    assert at_least([0.1] * 4 + [2.0] * 12) == 0.1


def test_noise_alone_is_rarely_above_the_bound() -> None:
    source = random.Random(1)
    above = sum(at_least([source.lognormvariate(0, 1) for _ in range(PAIRS)]) > 1 for _ in range(2000))
    assert above / 2000 < 0.02


@given(st.integers(-1000, 1000), st.lists(st.integers(0, 10**6), min_size=6, max_size=40, unique=True))
def test_the_slope_of_a_line_is_found(steep: int, xs: list[int]) -> None:
    points = [(x, 5.0 + steep * x) for x in xs]
    assert slope(points) == pytest.approx((steep, steep))


@given(st.integers(0, 39), st.floats(1, 1e9))
def test_one_jump_is_no_slope(when: int, height: float) -> None:
    assert slope([(x, height if x > when else 0.0) for x in range(40)])[1] <= 0


@given(st.floats(1, 1000), st.integers(0, 100))
def test_arrivals_come_in_order_and_in_time(rate: float, seed: int) -> None:
    times = list(arrivals(rate, 2.0, seed))
    assert times == sorted(times)
    assert all(0 <= at < 2.0 for at in times)
    assert times


def loaded(seconds: float = 0.01, count: int = 200, growing: float = 0.0) -> Told:
    """A load whose answers each took so long."""
    points = tuple((n, 50e6 + growing * n) for n in range(0, count + 1, max(1, count // 40)))
    return Told((seconds,) * count, count * seconds, count, (), points)


def loads(load: Told, rounds: Rounds | None = None) -> Loads:
    return Loads(0.5, load, load, load, 50.0, 60e6, rounds)


def test_without_a_budget_the_latency_is_told_and_is_no_pass() -> None:
    with pytest.raises(NotApplicable, match=re.escape("measured p50 10 ms")):
        latency(loads(loaded()), Checks())
    with pytest.raises(NotApplicable, match="measured 57.2 MiB"):
        memory(loads(loaded()), Checks())


@given(st.floats(0.001, 1), st.floats(0.001, 1))
def test_a_latency_passes_if_it_is_within_its_budget(took: float, budget: float) -> None:
    result = latency(loads(loaded(took, 40)), Checks(speed=SpeedChecks(p95=budget)))
    assert bool(result.findings) == (took > budget)


@given(st.floats(0.2, 5))
def test_a_version_is_worse_if_all_rounds_say_so(ratio: float) -> None:
    assume(abs(ratio - 1.5) > 1e-6)
    pairs = tuple((loaded(0.01 * ratio, 20), loaded(0.01, 20)) for _ in range(PAIRS))
    found = loads(loaded(), Rounds(pairs, pairs))
    assert bool(latency(found, Checks()).findings) == (ratio > 1.5)
    assert bool(throughput(found, Checks()).findings) == (ratio > 1.5)


def test_disturbed_rounds_alone_do_not_make_a_version_worse() -> None:
    quiet, disturbed = (loaded(0.01, 20), loaded(0.01, 20)), (loaded(0.5, 20), loaded(0.01, 20))
    found = loads(loaded(), Rounds((disturbed, quiet) * 8, (disturbed, quiet) * 8))
    assert not latency(found, Checks()).findings
    assert not throughput(found, Checks()).findings


@pytest.mark.parametrize("checking", [latency, open_load, throughput])
def test_a_fault_under_load_is_a_finding(checking: Callable[..., object]) -> None:
    broken = replace(loaded(), faults=(("status 500", 3),))
    assert "3 of 203 requests" in checking(loads(broken), Checks()).findings[0].message
    assert "no request was answered" in checking(loads(Told()), Checks()).findings[0].message


@given(st.floats(0, 1e6))
def test_growth_above_the_bound_is_a_leak(growing: float) -> None:
    bound = SpeedChecks().leak
    assume(abs(growing - bound) > 1)
    assert bool(leak(loads(loaded(growing=growing)), Checks()).findings) == (growing > bound)


def test_too_few_answers_say_nothing_about_a_leak() -> None:
    with pytest.raises(NotApplicable, match="12 answers"):
        leak(loads(loaded(count=12)), Checks())
    assert leak(loads(loaded(count=12, growing=GROWTH / 4)), Checks()).findings


def test_a_start_is_slow_by_its_median_and_slower_if_each_is() -> None:
    assert not over([1.0, 9.0, 1.1], [], 1.5, 1.5)
    assert "expected at most" in over([1.0, 9.0, 2.1], [], 1.5, 1.5)[0].message
    assert not over([9.0, 9.0, 1.4], [1.0, 1.0, 1.0], None, 1.5)
    assert "each of 3 starts" in over([9.0, 9.0, 1.6], [1.0, 1.0, 1.0], None, 1.5)[0].message


@contextmanager
def replica(port: int) -> Iterator[Served]:
    yield Served(f"http://127.0.0.1:{port}", "/predict", seconds=0.1)


def test_a_budget_is_broken_only_by_three_loads_in_a_row() -> None:
    asked: list[Spec] = []

    def ask(spec: Spec) -> Told:
        asked.append(spec)
        alone = spec.connections == 1 and spec.rate is None
        slow = alone and sum(s.connections == 1 and s.rate is None for s in asked) < 3
        return loaded(0.5 if slow else 0.01)

    found = measure(lambda name: replica(1), None, [Example(1, None)], SpeedChecks(p95=0.1), ask)
    assert percentile(found.single.latencies, 0.95) == 0.01
    found = measure(lambda name: replica(1), None, [Example(1, None)], SpeedChecks(p95=0.001), ask)
    assert percentile(found.single.latencies, 0.95) == 0.01
    assert found.rate == 50.0


def test_a_machine_that_became_busy_is_asked_for_half_of_what_it_can_do_now() -> None:
    rates: list[float] = []

    def ask(spec: Spec) -> Told:
        if spec.rate is None:
            return loaded(0.01 if not rates else 0.04)  # a quarter of what it was
        rates.append(spec.rate)
        return loaded() if spec.rate <= 25 else replace(loaded(), faults=(("status 503", 9),))

    found = measure(lambda name: replica(1), None, [Example(1, None)], SpeedChecks(), ask)
    assert not found.open.faults
    assert (rates[0], found.rate) == (50.0, rates[-1])
    assert rates[-1] < 25


def test_both_versions_are_asked_in_turn() -> None:
    order: list[int] = []

    def ask(spec: Spec) -> Told:
        order.append(spec.port)
        return loaded(0.02 if spec.port == 1 else 0.01)

    found = measure(lambda name: replica(1), lambda name: replica(2), [Example(1, None)], SpeedChecks(), ask)
    assert order[-8:] == [1, 2, 2, 1, 1, 2, 2, 1]
    assert found.rounds is not None
    assert latency(found, Checks()).findings


@pytest.mark.sandbox
@pytest.mark.mmdebstrap
@pytest.mark.network
def test_a_small_service_is_measured(tmp_path: Path) -> None:
    settings = (
        '[checks.speed]\nseconds = 0.3\np95 = "10s"\nmemory = "10GiB"\ncold_start = "50s"\nthroughput = 1\n'
    )
    found = checked(small(tmp_path, serinus__toml=FILE + settings), checks=CHECKS)
    assert all(v.status == "passed" for v in found.values()), "\n".join(map(told, found.values()))
    assert {m.name for v in found.values() for m in v.measures} >= {
        "p50",
        "p95",
        "throughput",
        "memory",
        "growth",
    }
