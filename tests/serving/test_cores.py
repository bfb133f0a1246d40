"""The cores of the container, from the files that the kernel shows."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.serving import cores


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = "0::/\n"
V1 = "4:cpu,cpuacct:/docker/abc\n2:memory:/docker/abc\n0::/\n"

CASES = {
    "nothing to read, as in a sandbox": ({}, 8, 8),
    "no limit in version 2": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8, 8),
    "two cores in version 2": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 8, 2),
    "a core and a half is rounded up": (
        {"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "150000 100000\n"},
        8,
        2,
    ),
    "a tenth of a core is one": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 8, 1),
    "a cpuset is smaller than the quota": (
        {"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "800000 100000\n"},
        3,
        3,
    ),
    "a group above has the limit": (
        {
            "proc/self/cgroup": "0::/pods/one\n",
            "sys/fs/cgroup/pods/cpu.max": "300000 100000\n",
            "sys/fs/cgroup/pods/one/cpu.max": "max 100000\n",
        },
        8,
        3,
    ),
    "a group beside ours names no folder": (
        {"proc/self/cgroup": "0::/../other\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"},
        8,
        4,
    ),
    "version 1 seen from inside a container": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        8,
        3,
    ),
    "version 1 without a limit": (
        {
            "proc/self/cgroup": "1:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        4,
        4,
    ),
    "version 2 beside version 1": (
        {"proc/self/cgroup": "1:name=systemd:/\n0::/\n", "sys/fs/cgroup/unified/cpu.max": "100000 100000\n"},
        4,
        1,
    ),
    "words instead of numbers": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "all of them\n"}, 5, 5),
}


@pytest.mark.parametrize(("files", "cpus", "expected"), CASES.values(), ids=CASES.keys())
def test_the_cores_of_a_container(tmp_path: Path, files: dict[str, str], cpus: int, expected: int) -> None:
    assert cores.available(tree(tmp_path, files), cpus) == expected


def test_this_process_has_at_least_one_core_and_no_more_than_its_affinity() -> None:
    assert 1 <= cores.available() <= len(os.sched_getaffinity(0))


@given(st.integers(1, 10**9), st.integers(1, 10**6))
def test_a_quota_is_its_share_of_the_period(quota: int, period: int) -> None:
    assert cores.bandwidth(str(quota), f"{period}\n") == quota / period


@given(st.lists(st.none() | st.floats(0.001, 500)), st.integers(1, 512))
def test_never_less_than_one_core_and_never_more_than_any_limit_rounded_up(
    limits: list[float | None], cpus: int
) -> None:
    count = cores.usable(limits, cpus)
    assert 1 <= count <= cpus
    assert all(count <= math.ceil(limit) for limit in limits if limit is not None)


@given(st.text(), st.text())
def test_no_text_in_the_files_stops_the_service(quota: str, period: str) -> None:
    share = cores.bandwidth(quota, period)
    assert share is None or share > 0


def test_the_threads_of_the_runtimes_follow_the_cores() -> None:
    environ = {"OMP_NUM_THREADS": "7"}
    assert cores.apply(environ, 3) == 3
    assert environ["OMP_NUM_THREADS"] == "7", "what the operator has set stays"
    assert environ["OPENBLAS_NUM_THREADS"] == environ["RAYON_NUM_THREADS"] == "3"
    assert environ["SERINUS_CORES"] == "3"
    assert environ["TOKENIZERS_PARALLELISM"] == "true"
    assert cores.environment(1)["TOKENIZERS_PARALLELISM"] == "false"


@given(st.integers(1, 512), st.integers(1, 512))
def test_calls_at_once_share_the_cores(count: int, calls: int) -> None:
    each = cores.each(count, calls)
    assert each >= 1
    assert each == 1 or each * calls <= count
    environ = cores.environment(count, calls)
    assert environ["OMP_NUM_THREADS"] == str(each)
    assert environ["SERINUS_CORES"] == str(count)
    assert environ["TOKENIZERS_PARALLELISM"] == ("true" if each > 1 else "false")


def test_it_loads_no_library() -> None:
    script = "import sys, serinus.serving.cores; print('numpy' in sys.modules, 'onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
