"""The fleet: with a runtime and a clock that obey the test, and with the real sandbox."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fleet_images import ask, forget, python_layer, service

from serinus.environment.fleet.keep import LEAD, PATIENCE, RECONCILE, RuntimeFleet
from serinus.environment.fleet.ports import free, is_free, outside
from serinus.environment.fleet.replicas import Limits
from serinus.errors import RuntimeUnavailable, SerinusError
from serinus.registry import Descriptor
from serinus.registry.layout import Layout
from serinus.rollout import Fleet, Found, Health, Wanted
from serinus.runtimes import Replica, Running, Runtime, Survivor
from serinus.runtimes.docker import docker
from serinus.runtimes.podman import podman
from serinus.runtimes.sandbox import Sandbox

V1, V2 = (f"sha256:{digit * 64}" for digit in "12")


# A runtime and a clock that obey the test


@dataclass
class FakeRunning:
    """A replica that runs until it is told."""

    replica: Replica
    code: int | None = None
    log: bytes = b""
    answer: tuple[int, bytes] | None = (200, b"{}")
    """To the question whether it is ready; None is no answer."""
    stubborn: bool = False
    stopped: int = 0

    def wait(self, timeout: float | None = None) -> int | None:
        return self.code

    def stop(self, grace: float = 30.0) -> int:
        self.stopped += 1
        if self.stubborn:
            raise RuntimeUnavailable("it was not stopped")
        self.code = 0 if self.code is None else self.code
        return self.code

    def logs(self, since: int = 0) -> bytes:
        return self.log[since:]


@dataclass
class FakeRuntime:
    """Starts what it is asked to, unless it is told why not."""

    name: str = "fake"
    refusal: SerinusError | None = None
    next: dict[str, object] = field(default_factory=dict)
    """How replicas are that start from now on."""
    started: list[FakeRunning] = field(default_factory=list)
    listed: int = 0

    def start(self, replica: Replica) -> Running:
        if self.refusal:
            raise self.refusal
        assert all(one.replica.name != replica.name for one in self.running)
        self.started.append(replace(FakeRunning(replica), **self.next))  # type: ignore[arg-type]
        return self.started[-1]

    @property
    def running(self) -> list[FakeRunning]:
        return [one for one in self.started if one.code is None]

    def list(self, environment: str) -> tuple[Survivor, ...]:
        self.listed += 1
        left = [one for one in self.started if one.replica.environment == environment and not one.stopped]
        return tuple(
            Survivor(
                one.replica.name,
                one.replica.image.digest,
                one.replica.number,
                one.replica.port,
                one.replica.labels,
                one.code is None,
                one,
            )
            for one in left
        )

    def check_limits(self, memory: int | None, cpus: float | None) -> None:
        if cpus is not None:
            raise RuntimeUnavailable("no such limit")

    def fetch(self, url: str) -> tuple[int, bytes]:
        port = urlsplit(url).port
        for one in self.running:
            if one.replica.port == port and one.answer:
                return one.answer
        raise ConnectionRefusedError("nobody listens")


class Bench:
    """A fleet that does nothing by itself: time passes when the test says so."""

    def __init__(self, layout: Layout, state: Path, runtime: FakeRuntime | None = None) -> None:
        self.now = 1000.0
        self.runtime = runtime or FakeRuntime()
        self.layout = layout
        self.state = state
        self.image = service(layout, b"", "fake")
        self.fleet = self.made()

    def made(self, **more: object) -> RuntimeFleet:
        fleet = RuntimeFleet(
            "prod",
            self.runtime,
            lambda version: (self.layout, replace(self.image)),
            self.state,
            clock=lambda: self.now,
            sleep=self.sleep,
            spawn=lambda job: job(),
            fetch=self.runtime.fetch,
            **more,  # type: ignore[arg-type]
        )
        fleet._run = lambda: None  # type: ignore[method-assign]
        return fleet

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def passes(self, seconds: float, steps: int = 10) -> None:
        for _ in range(steps):
            self.now += seconds / steps
            self.fleet.step()

    def keep(self, *wanted: Wanted) -> None:
        self.fleet.keep(wanted)
        self.passes(0.5)

    def look(self, version: str = V1) -> Found:
        return self.fleet.look()[version]

    def names(self) -> list[str]:
        return sorted(one.replica.name for one in self.runtime.running)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Layout(tmp_path / "layout"), tmp_path / "state")


def test_it_is_a_fleet(bench: Bench) -> None:
    fleet: Fleet = bench.fleet
    assert fleet.look() == {}


def test_what_is_wanted_runs_under_its_name_and_is_not_doubled(bench: Bench) -> None:
    wanted = Wanted(V1, 2, env={"COLOUR": "red"})
    for _ in range(3):
        bench.keep(wanted)
    assert bench.names() == ["prod-111111111111-0", "prod-111111111111-1"]
    found = bench.look()
    ports = [one.replica.port for one in bench.runtime.running]
    assert (found.health, found.restarts, found.why) == (Health.READY, 0, "")
    assert found.addresses == tuple(("127.0.0.1", port) for port in ports)
    assert len(set(ports)) == 2
    replica = bench.runtime.started[0].replica
    assert (replica.lasting, replica.environment, dict(replica.env)) == (True, "prod", {"COLOUR": "red"})


def test_until_it_is_ready_it_has_no_address(bench: Bench) -> None:
    bench.runtime.next = {"answer": None}
    bench.keep(Wanted(V1))
    assert bench.look() == Found(V1, Health.STARTING)
    bench.runtime.started[0].answer = (503, b'{"detail": "the model is being loaded"}')
    bench.passes(5)
    assert bench.look().health is Health.STARTING
    bench.runtime.started[0].answer = (200, b"{}")
    bench.passes(1)
    assert bench.look().health is Health.READY
    assert len(bench.runtime.started) == 1


def test_what_dies_is_out_of_sight_at_the_next_look_and_comes_back(bench: Bench) -> None:
    bench.keep(Wanted(V1, 2))
    bench.runtime.started[0].log = b"out of memory\n"
    bench.runtime.started[0].code = 137
    found = bench.look()
    assert (found.health, len(found.addresses)) == (Health.DEGRADED, 1)
    assert found.why == "replica prod-111111111111-0 ended with exit code 137\nout of memory"
    bench.passes(0.9)
    assert len(bench.names()) == 1
    bench.passes(0.5)
    assert bench.names() == ["prod-111111111111-0", "prod-111111111111-1"]
    assert (bench.look().health, bench.look().restarts) == (Health.READY, 1)
    bench.passes(70)
    assert bench.look().why == ""


def test_what_dies_again_and_again_is_started_later_and_later(bench: Bench) -> None:
    bench.keep(Wanted(V1))
    began = []
    while len(began) < 9:
        began.append(bench.now)
        bench.runtime.running[0].code = 1
        while not bench.runtime.running:
            bench.passes(0.1, 1)
    pauses = [round(later - earlier) for earlier, later in pairwise(began)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert bench.look().restarts == 9
    bench.passes(70)
    bench.runtime.running[0].code = 1
    bench.passes(1.5)
    assert bench.look().health is Health.READY


def test_what_cannot_be_started_says_why_and_is_tried_again(bench: Bench) -> None:
    bench.runtime.refusal = RuntimeUnavailable("no sandbox can be made here", "Use docker.")
    bench.keep(Wanted(V1))
    found = bench.look()
    assert found.health is Health.FAILING
    assert "prod-111111111111-0 was not started: no sandbox can be made here" in found.why
    bench.runtime.refusal = None
    bench.passes(1)
    assert bench.look().health is Health.READY


def test_an_image_that_is_not_there_is_a_failure_like_any_other(bench: Bench) -> None:
    bench.image = replace(bench.image, digest="sha256:" + "0" * 64)
    bench.keep(Wanted(V1))
    assert bench.look().health is Health.FAILING
    assert "was not started" in bench.look().why


def test_what_answers_an_example_wrongly_is_stopped_and_not_started_again_soon(bench: Bench) -> None:
    said = b'{"detail": "not ready: example 1 of examples.jsonl", "examples": "failed"}'
    bench.runtime.next = {"answer": (503, said), "log": b"ValueError\n"}
    bench.keep(Wanted(V1))
    bench.passes(30, 100)
    found = bench.look()
    assert (found.health, found.addresses) == (Health.FAILING, ())
    assert "is not ready: example 1 of examples.jsonl\nValueError" in found.why
    assert (len(bench.runtime.started), bench.names()) == (1, [])
    # It is wanted in another way: somebody has mended it.
    bench.runtime.next = {}
    bench.keep(Wanted(V1, env={"FIX": "1"}))
    assert bench.look().health is Health.READY


def test_what_never_becomes_ready_is_stopped_and_tried_again(bench: Bench) -> None:
    bench.runtime.next = {"answer": (503, b'{"detail": "the model is being loaded"}')}
    bench.keep(Wanted(V1))
    bench.passes(PATIENCE - 2, 50)
    assert bench.look().health is Health.STARTING
    bench.passes(3)
    assert bench.look().health is Health.FAILING
    assert f"not ready after {PATIENCE:.0f} s" in bench.look().why
    assert "the model is being loaded" in bench.look().why


def test_what_is_unwanted_is_out_of_sight_at_once_and_stopped_a_moment_later(bench: Bench) -> None:
    bench.keep(Wanted(V1), Wanted(V2))
    bench.fleet.keep([Wanted(V2)])
    assert list(bench.fleet.look()) == [V2]
    bench.passes(LEAD - 0.2)
    assert len(bench.names()) == 2
    bench.passes(0.4)
    assert bench.names() == ["prod-222222222222-0"]
    assert [one.stopped for one in bench.runtime.started] == [1, 0]


def test_what_is_not_stopped_is_told_to_again(bench: Bench) -> None:
    bench.runtime.next = {"stubborn": True}
    bench.keep(Wanted(V1))
    bench.keep()
    bench.passes(3 * LEAD, 30)
    [one] = bench.runtime.started
    assert one.stopped >= 2
    one.stubborn = False
    bench.passes(2 * LEAD)
    assert bench.names() == []


def test_who_is_unwanted_while_it_starts_does_not_stay(bench: Bench) -> None:
    held: list[Callable[[], None]] = []
    bench.fleet._spawn = held.append  # type: ignore[assignment]
    bench.fleet.keep([Wanted(V1)])
    bench.fleet.step()
    bench.fleet.keep([])
    bench.passes(5)
    bench.fleet._spawn = lambda job: job()  # type: ignore[assignment]
    for job in held:
        job()
    bench.passes(5)
    assert (len(bench.runtime.started), bench.names()) == (1, [])


def test_a_candidate_that_becomes_stable_goes_on_as_it_is(bench: Bench) -> None:
    bench.keep(Wanted(V1, contract='{"stable": 1}', record=True))
    replica = bench.runtime.started[0].replica
    assert replica.env["SERINUS_ACCESS_LOG"] == "answers"
    [bind] = replica.binds
    assert (bind.target, bind.writable) == (replica.env["SERINUS_CONTRACT"], False)
    assert bind.source.read_text() == '{"stable": 1}'
    assert bind.source.stat().st_mode & 0o777 == 0o644
    bench.keep(Wanted(V1))
    bench.passes(10)
    assert len(bench.runtime.started) == 1
    # What starts from now on is held to its own contract.
    bench.runtime.started[0].code = 1
    bench.passes(2)
    assert bench.runtime.started[1].replica.binds == ()


def test_what_is_to_be_held_to_another_contract_is_replaced_without_a_gap(bench: Bench) -> None:
    bench.keep(Wanted(V1, 2))
    bench.runtime.next = {"answer": None}
    bench.fleet.keep([Wanted(V1, 2, contract="{}")])
    bench.passes(3)
    assert len(bench.look().addresses) == 2
    assert len(bench.runtime.started) == 3
    bench.runtime.next = {}
    bench.runtime.started[2].answer = (200, b"")
    for _ in range(100):
        bench.passes(0.1, 1)
        assert len(bench.look().addresses) >= 2
    assert [one.replica.number for one in bench.runtime.running] == [2, 3]
    assert all(one.replica.binds for one in bench.runtime.running)


def test_an_image_that_serinus_did_not_build_is_ready_when_it_answers(bench: Bench) -> None:
    bench.image = service(bench.layout, b"", "foreign", stranger=True)
    bench.runtime.next = {"answer": (404, b"not found")}
    bench.keep(Wanted(V1))
    assert bench.look().health is Health.READY
    bench.runtime.next = {"answer": (503, b"wait")}
    bench.keep(Wanted(V1), Wanted(V2))
    assert bench.look(V2).health is Health.STARTING


def test_logs_of_replicas_are_one_and_nobody_gets_a_line_twice(bench: Bench) -> None:
    bench.keep(Wanted(V1, 2))
    one, two = bench.runtime.running
    one.log, two.log = b"a1\na2\na", b"b1\n"
    had = bench.fleet.logs(V1)
    assert had == b"a1\na2\nb1\n"
    one.log += b"3\n"
    two.log += b"b2\nrest"
    had += bench.fleet.logs(V1, len(had))
    assert had == b"a1\na2\nb1\na3\nb2\n"
    two.code = 1
    bench.look()
    had += bench.fleet.logs(V1, len(had))
    assert had.endswith(b"b2\nrest\n")
    bench.passes(2)
    bench.runtime.running[-1].log = b"c1\n"
    assert bench.fleet.logs(V1, len(had)) == b"c1\n"
    bench.keep(Wanted(V2))
    bench.passes(5)
    assert bench.fleet.logs(V1).startswith(b"a1\n")
    assert bench.fleet.logs("sha256:unknown") == b""


def test_the_next_fleet_adopts_what_runs(bench: Bench) -> None:
    bench.keep(Wanted(V1, 2, env={"A": "b"}), Wanted(V2))
    addresses = bench.look().addresses
    bench.fleet = bench.made()
    bench.fleet.start()
    assert bench.look() == Found(V1, Health.READY, addresses)
    bench.passes(3)
    assert len(bench.runtime.running) == 3
    bench.keep(Wanted(V1, 2, env={"A": "b"}))
    bench.passes(5)
    assert bench.look().addresses == addresses
    assert len(bench.runtime.started) == 3
    assert bench.names() == ["prod-111111111111-0", "prod-111111111111-1"]


def test_what_ended_in_between_is_cleared_away_and_started_at_once(bench: Bench) -> None:
    bench.keep(Wanted(V1))
    bench.runtime.started[0].code = 1
    bench.fleet = bench.made()
    bench.fleet.start()
    assert bench.fleet.look() == {}
    assert bench.runtime.started[0].stopped == 1
    bench.keep(Wanted(V1))
    assert (bench.look().health, bench.look().restarts) == (Health.READY, 0)


def test_what_runs_under_other_limits_or_variables_is_replaced_by_the_next_fleet(bench: Bench) -> None:
    bench.keep(Wanted(V1))
    bench.fleet = bench.made(limits=Limits(memory=1 << 30), env={"SERVICE": "1"})
    bench.fleet.start()
    bench.keep(Wanted(V1))
    bench.passes(5)
    [one] = bench.runtime.running
    assert (one.replica.memory, one.replica.env["SERVICE"]) == (1 << 30, "1")


def test_what_a_killed_process_had_begun_to_start_is_found_later(bench: Bench) -> None:
    bench.fleet.start()
    bench.keep(Wanted(V1))
    replica = bench.runtime.started[0].replica
    bench.runtime.start(replace(replica, name="prod-111111111111-7", number=7, port=7777))
    bench.passes(RECONCILE + 1, 20)
    bench.passes(LEAD + 1)
    assert bench.names() == ["prod-111111111111-0"]
    assert bench.runtime.listed >= 3


def test_a_limit_that_would_not_be_held_is_an_error_before_anything_starts(bench: Bench) -> None:
    bench.fleet = bench.made(limits=Limits(cpus=1.0))
    with pytest.raises(RuntimeUnavailable, match="no such limit"):
        bench.fleet.start()
    assert bench.runtime.started == []


@pytest.mark.parametrize("stop", [True, False])
def test_at_its_end_it_leaves_them_running_or_stops_them_all(bench: Bench, stop: bool) -> None:
    bench.keep(Wanted(V1, 2), Wanted(V2))
    bench.fleet.close(stop=stop)
    assert len(bench.runtime.running) == (0 if stop else 3)


def test_ports_are_not_those_that_the_kernel_gives_away() -> None:
    taken = {free(()) for _ in range(50)}
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert all(port < low or port > high for port in taken) or outside(low, high).start == 1024
    assert all(map(is_free, taken))
    assert free(taken) not in taken
    assert outside(1024, 65535) == range(1024, 65536)


# The real runtimes

ENVIRONMENT = f"test-{os.getpid()}"
"""Of this test run, for engines are shared by all."""
ENGINES = {"docker": docker, "podman": podman}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return python_layer(tmp_path_factory.mktemp("python") / "layer.tar")


@dataclass
class Real:
    """A real environment: images, a runtime, and the fleets that keep it, one after the other."""

    layout: Layout
    cache: Path
    state: Path
    images: Mapping[str, Descriptor]
    fleets: list[RuntimeFleet] = field(default_factory=list)

    def version(self, word: str) -> str:
        return self.images[word].digest

    def find(self, version: str) -> tuple[Layout, Descriptor]:
        return self.layout, self.layout.resolve(version)

    @property
    def box(self) -> Sandbox:
        return Sandbox(cache=self.cache, state=self.state / "replicas")

    def fleet(self, runtime: Runtime | None = None) -> RuntimeFleet:
        made = RuntimeFleet(ENVIRONMENT, runtime or self.box, self.find, self.state, lead=0.3, grace=10.0)
        self.fleets.append(made)
        made.start()
        return made


@pytest.fixture(scope="module")
def unpacked(
    tmp_path_factory: pytest.TempPathFactory, python: bytes
) -> tuple[Layout, Path, dict[str, Descriptor]]:
    layout = Layout(tmp_path_factory.mktemp("layout"))
    images = {word: service(layout, python, word) for word in ("one", "two")}
    images["foreign"] = service(layout, python, "foreign", stranger=True)
    return layout, tmp_path_factory.mktemp("cache"), images


@pytest.fixture
def real(unpacked: tuple[Layout, Path, dict[str, Descriptor]], tmp_path: Path) -> Iterator[Real]:
    layout, cache, images = unpacked
    made = Real(layout, cache, tmp_path / "state", images)
    yield made
    for fleet in made.fleets:
        fleet.close(stop=False)
    for one in made.box.list(ENVIRONMENT):
        one.running.stop(0)


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def is_ready(fleet: RuntimeFleet, version: str) -> bool:
    return version in (found := fleet.look()) and found[version].health is Health.READY


STARTER = """
    import os, signal, sys, time
    from pathlib import Path
    from serinus.environment.fleet.keep import RuntimeFleet
    from serinus.registry.layout import Layout
    from serinus.rollout import Wanted
    from serinus.runtimes.sandbox import Sandbox

    environment, layout, cache, state, version, moment = sys.argv[1:]
    layout = Layout(layout)
    box = Sandbox(cache=Path(cache), state=Path(state) / "replicas")
    find = lambda version: (layout, layout.resolve(version))
    fleet = RuntimeFleet(environment, box, find, Path(state), lead=0.3)
    if moment != "ready":
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, float(moment))
    fleet.start()
    fleet.keep([Wanted(version, 2, contract="{}")])
    while version not in fleet.look() or len(fleet.look()[version].addresses) < 2:
        time.sleep(0.01)
    if moment == "ready":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(5)
"""


def killed(real: Real, moment: str) -> None:
    """A process that keeps a fleet, and is killed."""
    words = [ENVIRONMENT, real.layout.root, real.cache, real.state, real.version("one"), moment]
    command = [sys.executable, "-c", textwrap.dedent(STARTER), *map(str, words)]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL


@pytest.mark.sandbox
def test_replicas_outlive_a_killed_controller_and_are_adopted(real: Real) -> None:
    killed(real, "ready")
    before = {one.port: ask(("127.0.0.1", one.port))["pid"] for one in real.box.list(ENVIRONMENT)}
    assert len(before) == 2
    begin = time.monotonic()
    fleet = real.fleet()
    found = fleet.look()[real.version("one")]
    assert time.monotonic() - begin < 1.0
    assert found.health is Health.READY
    assert {port for _, port in found.addresses} == set(before)
    fleet.keep([Wanted(real.version("one"), 2, contract="{}")])
    time.sleep(0.5)
    assert {one.port: ask(("127.0.0.1", one.port))["pid"] for one in real.box.list(ENVIRONMENT)} == before
    fleet.close(stop=True)
    assert list((real.state / "replicas").iterdir()) == []


@pytest.mark.sandbox
def test_whenever_the_controller_is_killed_the_next_one_has_as_many_as_wanted(real: Real) -> None:
    for moment in ("0.005", "0.01", "0.02", "0.03", "0.05", "0.2"):
        killed(real, moment)
        fleet = real.fleet()
        fleet.keep([Wanted(real.version("one"), 2)])
        until(lambda fleet=fleet: is_ready(fleet, real.version("one")))
        until(lambda: len(real.box.list(ENVIRONMENT)) == 2)
        fleet.close(stop=False)


@pytest.mark.sandbox
def test_a_replica_that_dies_is_seen_at_once_and_replaced(real: Real) -> None:
    fleet = real.fleet()
    version = real.version("one")
    fleet.keep([Wanted(version, 2, record=True)])
    until(lambda: is_ready(fleet, version))
    victim, other = fleet.look()[version].addresses
    assert ask(victim)["access"] == "answers"
    with suppress(OSError, http.client.HTTPException):
        ask(victim, "/die")
    until(lambda: fleet.look()[version].addresses == (other,), 0.5)
    assert "ended with exit code 3" in fleet.look()[version].why
    assert "dying" in fleet.look()[version].why
    assert ask(other)["word"] == "one"
    until(lambda: is_ready(fleet, version))
    assert fleet.look()[version].restarts == 1
    assert b"dying\n" in fleet.logs(version)


@pytest.mark.sandbox
def test_a_version_is_drained_and_no_request_is_lost(real: Real) -> None:
    fleet = real.fleet()
    one, two = real.version("one"), real.version("two")
    fleet.keep([Wanted(one, 2)])
    until(lambda: is_ready(fleet, one))
    route, stop, answers, lost = [fleet.look()[one].addresses], threading.Event(), [], []

    def call() -> None:
        while not stop.is_set():
            try:
                answers.append(ask(route[0][len(answers) % 2], "/slow")["word"])
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    fleet.keep([Wanted(one, 2), Wanted(two, 2)])
    until(lambda: is_ready(fleet, two))
    route[0] = fleet.look()[two].addresses
    fleet.keep([Wanted(two, 2)])
    assert list(fleet.look()) == [two]
    until(lambda: len(real.box.list(ENVIRONMENT)) == 2)
    time.sleep(0.6)
    stop.set()
    for caller in callers:
        caller.join()
    assert lost == []
    assert {"one", "two"} == set(answers)
    assert b"ending" in fleet.logs(one)


@pytest.mark.sandbox
def test_what_is_unfit_fails_with_its_reason_and_a_stranger_is_taken_as_it_is(real: Real) -> None:
    fleet = real.fleet()
    one, foreign = real.version("one"), real.version("foreign")
    fleet.keep([Wanted(one, env={"MODE": "unfit"}), Wanted(foreign, contract='{"response": {}}')])
    until(lambda: is_ready(fleet, foreign) and fleet.look()[one].health is Health.FAILING)
    assert "example 1 is answered wrongly" in fleet.look()[one].why
    assert ask(fleet.look()[foreign].addresses[0])["contract"] == '{"response": {}}'


@pytest.mark.sandbox
def test_looking_costs_next_to_nothing(real: Real) -> None:
    fleet = real.fleet()
    versions = [real.version("one"), real.version("two")]
    fleet.keep([Wanted(version, 2) for version in versions])
    until(lambda: all(is_ready(fleet, version) for version in versions))
    begin = time.thread_time()
    for _ in range(200):
        fleet.look()
    assert (time.thread_time() - begin) / 200 < 0.002


@pytest.mark.parametrize("name", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ENGINES])
@pytest.mark.usefixtures("podman_configured")
def test_engines_keep_a_fleet_too(real: Real, name: str) -> None:
    runtime, version = ENGINES[name](), real.version("one")
    try:
        fleet = real.fleet(runtime)
        fleet.keep([Wanted(version, 2, contract='{"stable": 1}', record=True)])
        until(lambda: is_ready(fleet, version), 120)
        addresses = fleet.look()[version].addresses
        answer = ask(addresses[0])
        assert (answer["contract"], answer["access"]) == ('{"stable": 1}', "answers")
        until(lambda: b"GET /predict" in fleet.logs(version))
        fleet.close(stop=False)
        # The next one, of a controller that was started again.
        fleet = real.fleet(ENGINES[name]())
        assert fleet.look()[version] == Found(version, Health.READY, addresses)
        fleet.keep([Wanted(version, 2)])
        victim, other = addresses
        with suppress(OSError, http.client.HTTPException):
            ask(victim, "/die")
        until(lambda: fleet.look()[version].addresses == (other,), 10)
        until(lambda: "dying" in fleet.look()[version].why or is_ready(fleet, version))
        until(lambda: is_ready(fleet, version), 60)
        assert ask(fleet.look()[version].addresses[0])["word"] == "one"
        fleet.close(stop=True)
        assert runtime.list(ENVIRONMENT) == ()
    finally:
        for one in runtime.list(ENVIRONMENT):
            one.running.stop(0)
        forget(name, real.layout, real.images["one"])
