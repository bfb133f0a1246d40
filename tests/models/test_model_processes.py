"""Registering from several processes at once, and being killed at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.registry import Registry, serving
from parts import RealRegistry
from parts import registry as registry
from serinus.models.registry import ModelRegistry
from serinus.registry.layout import Layout

REGISTER = """
import sys
from serinus.models.registry import ModelRegistry
where, root, settle, *paths = sys.argv[1:]
models = ModelRegistry(where, root, shelf={"settle": float(settle)})
sys.stdin.readline()
print(models.register("m", paths).version)
"""
SIZE = 24 << 20


def start(where: str, root: Path, *paths: Path, settle: float = 1.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", REGISTER, where, str(root), str(settle), *map(str, paths)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=dict(os.environ))


def together(processes: list[subprocess.Popen[str]]) -> list[int]:
    """Let all of them go at the same moment; the versions that they got."""
    time.sleep(0.5)
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    found = []
    for process in processes:
        out, error = process.communicate(timeout=100)
        assert process.returncode == 0, error
        found.append(int(out))
    return sorted(found)


def model(folder: Path, name: str, size: int = 1000) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def test_two_at_the_same_moment_get_two_versions(tmp_path: Path) -> None:
    file = model(tmp_path, "model.bin", 1 << 20)
    processes = [start("oci:store", tmp_path, file) for _ in range(6)]
    assert together(processes) == [1, 2, 3, 4, 5, 6]
    found = ModelRegistry("oci:store", tmp_path).versions("m")
    assert [v.version for v in found] == [1, 2, 3, 4, 5, 6]
    assert len({v.files[0].digest for v in found}) == 1
    assert len(list((tmp_path / "store/blobs/sha256").iterdir())) == 1 + 2 * 6


def test_two_at_the_same_moment_get_two_versions_in_a_registry(tmp_path: Path) -> None:
    files = [model(tmp_path, f"{i}.bin") for i in range(4)]
    with serving(Registry()) as fake:
        where = f"{fake.host}/acme"
        found = together([start(where, tmp_path, file) for file in files])
        assert len(set(found)) == len(files)
        versions = ModelRegistry(where, tmp_path).versions("m")
    assert [v.version for v in versions] == found
    assert {v.files[0].path for v in versions} == {f.name for f in files}


@pytest.mark.registry
def test_two_at_the_same_moment_get_two_versions_in_a_real_registry(
    tmp_path: Path, registry: RealRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in registry.environment().items():
        monkeypatch.setenv(name, value)
    where = f"{registry.host}/together/{tmp_path.name.lower().replace('_', '-')}"
    files = [model(tmp_path, f"{i}.bin") for i in range(3)]
    found = together([start(where, tmp_path, file) for file in files])
    assert len(set(found)) == len(files)
    versions = ModelRegistry(where, tmp_path).versions("m")
    assert [v.version for v in versions] == found
    assert {v.files[0].path for v in versions} == {f.name for f in files}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("large"), "large.bin", SIZE)


@settings(max_examples=8)
@given(share=st.floats(0, 1.2))
def test_killed_while_it_registers_there_is_a_whole_version_or_none(
    share: float, large: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("killed")
    began = time.monotonic()
    process = start("oci:store", root, large)
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()
    time.sleep(share)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert time.monotonic() - began < 60
    models = ModelRegistry("oci:store", root)
    before = set(Layout(root / "store").tags())
    assert before in (set(), {"m:1"})
    again = models.register("m", [large])
    assert set(Layout(root / "store").tags()) == before | {f"m:{again.version}"}
    for version in models.versions("m"):
        models.pull(version.id, root / f"pulled-{version.version}")
        assert (root / f"pulled-{version.version}/large.bin").read_bytes() == large.read_bytes()


def test_killed_while_it_pushes_there_is_a_whole_version_or_none(large: Path, tmp_path: Path) -> None:
    """Killed between the claim and the version: the claim holds its number, and nobody else is held up."""
    with serving(Registry()) as fake:
        where = f"{fake.host}/acme"
        for count, path in enumerate((r"uploads/", r"/manifests/_", r"/tags/list"), 1):
            process = start(where, tmp_path, large, settle=0.4)
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
            seen = len(fake.seen)
            _until(lambda path=path, seen=seen: any(path.strip("\\") in s.path for s in fake.seen[seen:]))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
            models = ModelRegistry(where, tmp_path, shelf={"settle": 0.4})
            models.register("m", [large])
            found = models.versions("m")
            assert count <= len(found) <= 2 * count
            assert len({v.version for v in found}) == len(found)
            for version in found:
                assert [f.size for f in version.files] == [SIZE]


def _until(true: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():  # type: ignore[operator]
            return
        time.sleep(0.002)
    pytest.fail("it did not come so far")
