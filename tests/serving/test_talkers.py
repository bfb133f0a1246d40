"""Threads that talk to callers are kept off the cores on which others compute."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import thread

from serinus.serving.admission import LONG, Pool
from serinus.serving.talkers import FRESH, NAME, SHORT, Talkers, slices

CORES = sorted(os.sched_getaffinity(0))


class Kernel:
    """Stands in for the one that this runs on: four cores, and threads by their names."""

    def __init__(self, tasks: Path, **names: str) -> None:
        self.tasks = tasks
        self.cores = {0, 1, 2, 3}
        self.placed: dict[int, set[int]] = {}
        self.told = 0
        for number, name in names.items():
            self.start(int(number.removeprefix("t")), name)

    def start(self, thread: int, name: str) -> None:
        (self.tasks / str(thread)).mkdir(parents=True)
        (self.tasks / str(thread) / "comm").write_text(f"{name}\n")

    def place(self, thread: int, cores: set[int]) -> None:
        self.told += 1
        if not (self.tasks / str(thread)).exists():
            raise ProcessLookupError
        self.placed[thread] = set(cores)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel(tmp_path / "task", t7=NAME, t8=NAME, t9="predict-0")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(found.cores))
    monkeypatch.setattr(os, "sched_setaffinity", found.place)
    return found


def on(kernel: Kernel, cores: list[int], clock: Callable[[], float] = lambda: 0.0) -> Talkers:
    """Those of a process whose calls begin on these cores, one after the other."""
    here = iter(cores)
    return Talkers(lambda: next(here), kernel.tasks, clock)


def test_who_talks_is_kept_off_the_cores_that_compute_and_may_come_back(kernel: Kernel) -> None:
    talkers = on(kernel, [2, 0])
    assert [talkers.begin(), talkers.begin()] == [2, 0]
    assert kernel.placed == {7: {1, 3}, 8: {1, 3}}
    talkers.end(2)
    assert kernel.placed == {7: {1, 2, 3}, 8: {1, 2, 3}}
    talkers.end(0)
    assert kernel.placed == {7: kernel.cores, 8: kernel.cores}


def test_when_all_cores_compute_who_talks_may_be_anywhere(kernel: Kernel) -> None:
    talkers = on(kernel, [0, 1, 2, 3])
    for _ in range(4):
        talkers.begin()
    assert kernel.placed == {7: kernel.cores, 8: kernel.cores}


def test_two_calls_on_one_core_take_one_core(kernel: Kernel) -> None:
    talkers = on(kernel, [1, 1])
    talkers.begin(), talkers.begin()
    talkers.end(1)
    assert kernel.placed[7] == {0, 2, 3}


@given(st.lists(st.integers(-1, 3) | st.none(), max_size=40))
def test_who_talks_always_has_a_core_and_one_without_a_call_if_there_is(steps: list[int | None]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        kernel = Kernel(Path(folder), t7=NAME)
        patch.setattr(os, "sched_getaffinity", lambda _: set(kernel.cores))
        patch.setattr(os, "sched_setaffinity", kernel.place)
        talkers = on(kernel, [step for step in steps if step is not None])
        under_way: list[int] = []
        for step in steps:
            if step is not None:
                under_way.append(talkers.begin())
            elif under_way:
                talkers.end(under_way.pop(0))
            busy = Counter(under_way)
            if kernel.placed:
                assert kernel.placed[7] == ({core for core in range(4) if not busy[core]} or kernel.cores)


def test_the_kernel_is_told_only_what_has_changed(kernel: Kernel) -> None:
    talkers = on(kernel, [1] * 10)
    talkers.begin()
    told = kernel.told
    for _ in range(9):
        talkers.begin()
    assert kernel.told == told == 2


def test_threads_that_were_started_or_have_ended_are_found_in_a_while(kernel: Kernel) -> None:
    now = 0.0
    talkers = on(kernel, [1] * 3, lambda: now)
    talkers.begin()
    kernel.start(5, NAME)
    for file in (kernel.tasks / "8" / "comm", kernel.tasks / "8"):
        file.unlink() if file.is_file() else file.rmdir()
    talkers.end(1)
    assert kernel.placed == {7: kernel.cores, 8: {0, 2, 3}}  # the one that has ended was told nothing
    now, kernel.cores = FRESH, {0, 1}
    talkers.begin()
    assert (kernel.placed[7], kernel.placed[5]) == ({0}, {0})


def test_where_nobody_says_who_talks_nobody_is_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: pytest.fail("nobody is to be told"))
    talkers = Talkers(lambda: 0, tmp_path / "none")
    talkers.join()
    talkers.end(talkers.begin())


# ------------------------------------------------------------------------------------------ on this kernel


KNOWN = os.uname().machine in ("x86_64", "aarch64")
SLICED = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 12) and os.uname().machine == "x86_64"


def slice_of(thread: int) -> int:
    """Nanoseconds, as the kernel says (``sched_getattr(2)``)."""
    attributes = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(315, thread, attributes, 48, 0) == 0
    return int(struct.unpack("=IIQiIQQQ", attributes.raw)[5])


def test_who_joins_talks_and_so_does_whom_it_starts_and_a_thread_of_a_pool_does_not() -> None:
    talkers, started = Talkers(), []

    def talk() -> None:
        talkers.join()
        started.append(threading.Thread(target=done.wait, args=(30,)))
        started[0].start()

    def compute() -> None:
        talkers.join()
        talkers.leave("predict-0")

    done = threading.Event()
    try:
        with thread(talk) as talking, thread(compute) as computing:
            core = talkers.begin()
            assert sorted(talkers._threads) == sorted([talking, started[0].native_id])
            away = set(CORES) - {core} or set(CORES)
            assert os.sched_getaffinity(talking) == away
            assert os.sched_getaffinity(computing) == set(CORES)
            talkers.end(core)
            assert os.sched_getaffinity(talking) == set(CORES)
            if SLICED:
                assert slice_of(talking) == SHORT < slice_of(computing)
            assert Path(f"/proc/self/task/{computing}/comm").read_text() == "predict-0\n"
    finally:
        done.set()
        started[0].join(30)


def test_a_thread_has_the_slices_of_the_one_that_starts_it() -> None:
    with ExitStack() as stack:
        found: list[int] = []

        def start() -> None:
            assert slices(SHORT) == KNOWN
            found.append(stack.enter_context(thread()))

        stack.enter_context(thread(start))
        assert not SLICED or slice_of(found[0]) == SHORT


def test_slices_are_heard_and_priority_stays() -> None:
    text = (
        f"KNOWN = {KNOWN}"
        + """
import os
from serinus.serving.talkers import slices
os.nice(3)
assert slices(100_000) == KNOWN
assert os.getpriority(os.PRIO_PROCESS, 0) == 3
assert slices(0) == KNOWN
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
assert not slices(100_000)
assert os.sched_getscheduler(0) == os.SCHED_BATCH
"""
    )
    subprocess.run([sys.executable, "-c", text], check=True, timeout=60)


def test_slices_of_an_unknown_processor_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    assert not slices(100_000)


def test_slices_of_a_thread_that_has_ended_are_nobodys() -> None:
    with thread() as ended:
        pass
    assert not slices(100_000, ended)


# -------------------------------------------------------------------------------------------------- pools


class Told(Talkers):
    """Notes what a pool says."""

    def __init__(self) -> None:
        super().__init__(lambda: 0)
        self.said: list[str | int] = []

    def leave(self, name: str) -> None:
        self.said.append(name)

    def begin(self) -> int:
        self.said.append("begin")
        return 5

    def end(self, core: int) -> None:
        self.said.append(core)


def compute(seconds: float) -> None:
    begin = time.thread_time()
    while time.thread_time() < begin + seconds:
        pass


def test_room_is_made_for_calls_that_compute_for_long_and_not_for_those_that_wait() -> None:
    talkers = Told()
    pool = Pool(1, 9, talkers=talkers)

    async def scenario() -> None:
        for work in (time.sleep, time.sleep, compute):
            await pool.run(work, 20 * LONG)
        assert talkers.said == ["predict-0"]
        await pool.run(compute, 0.0)

    asyncio.run(scenario())
    assert talkers.said == ["predict-0", "begin", 5]


def test_when_a_long_call_fails_its_core_is_free_again() -> None:
    talkers = Told()
    pool = Pool(1, 9, talkers=talkers)

    def fail() -> None:
        compute(20 * LONG)
        raise SystemExit

    async def scenario() -> None:
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await pool.run(fail)

    asyncio.run(scenario())
    assert talkers.said == ["predict-0", "begin", 5]
