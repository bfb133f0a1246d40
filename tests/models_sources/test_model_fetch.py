"""Fetching: one question, all or nothing, verified, and what happens when nobody answers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fetching import LARGE, Machine, contents, project, sha256
from hypothesis import given, settings
from hypothesis import strategies as st

from serinus.errors import ModelError, SourceUnavailable, Unavailable
from serinus.events import Event, Finished, Noted, Progress
from serinus.models import Found
from serinus.models import Progress as Tell
from serinus.models.cache import Cached
from serinus.models.digest import model_digest
from serinus.models.fetch import address_of, elsewhere, fetch, resolve
from serinus.models.forms import Address, Local, Registered
from serinus.project import Fetched, Model, Project, Service

S3, PINNED, COMMIT = "s3://models/mood", "s3://models/mood?versionId=7", f"hf://acme/mood@{'c' * 40}"


@dataclass
class Shop:
    """A source that the test has in its hands."""

    files: dict[str, bytes] = field(default_factory=lambda: {"model.onnx": b"one"})
    identity: str = "1"
    digest: str = ""
    fault: Exception | None = None
    asked: int = 0
    brought: int = 0

    def __call__(self, address: Address, *, root: Path, registry: str) -> Shop:
        return self

    def find(self) -> Found:
        self.asked += 1
        if self.fault:
            raise self.fault
        return Found(f"shop://{self.identity}", self.identity, self.digest, facts={"manifest": self.identity})

    def fetch(self, found: Found, folder: Path, progress: Tell) -> None:
        self.brought += 1
        assert not list(folder.iterdir())
        for path, data in self.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            progress(len(data), None)


@dataclass
class Bench:
    """A cache and a source."""

    root: Path
    shop: Shop = field(default_factory=Shop)
    events: list[Event] = field(default_factory=list)

    def fetch(self, source: str = S3) -> Fetched:
        found = fetch(
            project(self.root, source), self.events.append, cache=self.root / "cache", open_source=self.shop
        )
        assert found
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_second_time_one_question_is_asked_and_nothing_travels(bench: Bench) -> None:
    first, second = bench.fetch(), bench.fetch()
    assert first == second
    assert (bench.shop.asked, bench.shop.brought) == (2, 1)
    assert (first.name, first.uri, first.manifest) == ("model.onnx", "shop://1", "1")
    assert first.digest == sha256(b"one")
    assert first.path.read_bytes() == b"one"
    details = [event.detail for event in bench.events if isinstance(event, Finished)]
    assert details == ["shop://1, 3 bytes", "shop://1, cached"]
    assert Progress("model", 3, None) in bench.events


def test_a_model_of_several_files_is_a_folder_under_its_own_name(bench: Bench) -> None:
    bench.shop.files = {"a.bin": b"a", "sub/b.bin": b"b"}
    found = bench.fetch()
    assert contents(found) == bench.shop.files
    assert found.name == "mood"
    assert found.digest == model_digest({p: sha256(d)[7:] for p, d in bench.shop.files.items()})


def test_what_has_changed_at_its_source_is_fetched_and_the_old_one_stays(bench: Bench) -> None:
    old = bench.fetch()
    bench.shop.files, bench.shop.identity = {"model.onnx": b"two"}, "2"
    new = bench.fetch()
    assert (old.path.read_bytes(), new.path.read_bytes()) == (b"one", b"two")


def test_an_address_that_fixes_the_content_is_served_without_a_question(bench: Bench) -> None:
    first = bench.fetch(COMMIT)
    bench.shop.fault = AssertionError("nobody may be asked")
    assert bench.fetch(COMMIT) == first


@pytest.mark.parametrize(
    "fault", [SourceUnavailable("the shop is closed"), Unavailable("the registry is down")]
)
def test_a_version_that_never_changes_serves_while_its_source_is_away(bench: Bench, fault: Exception) -> None:
    first = bench.fetch(PINNED)
    bench.shop.fault = fault
    assert bench.fetch(PINNED) == first
    notes = [event.message for event in bench.events if isinstance(event, Noted)]
    assert notes == [f"{fault}; using shop://1, which was fetched before"]


@pytest.mark.parametrize(("source", "fault"), [
    (S3, SourceUnavailable("away")),  # it may be another one by now
    (PINNED, ModelError("you may not read it")),  # whoever lost the right to it does not get it
])  # fmt: skip
def test_otherwise_the_fault_is_told(bench: Bench, source: str, fault: Exception) -> None:
    bench.fetch(source)
    bench.shop.fault = fault
    with pytest.raises(type(fault)) as caught:
        bench.fetch(source)
    assert caught.value is fault


def test_what_was_never_fetched_cannot_be_served(bench: Bench) -> None:
    bench.shop.fault = SourceUnavailable("away")
    with pytest.raises(SourceUnavailable):
        bench.fetch(PINNED)


def test_the_digest_that_the_source_says_is_held_to(bench: Bench) -> None:
    bench.shop.digest = sha256(b"another")
    with pytest.raises(ModelError, match="expected sha256:"):
        bench.fetch()
    assert not [path for path in (bench.root / "cache").rglob("*") if path.is_file()]
    bench.shop.digest = sha256(b"one")
    assert bench.fetch().digest == sha256(b"one")


@pytest.mark.parametrize("mistake", ["nothing", "link", "pipe", "failure"])
def test_nothing_is_kept_of_what_is_no_model(bench: Bench, mistake: str) -> None:
    def broken(found: Found, folder: Path, progress: Tell) -> None:
        match mistake:
            case "link":
                (folder / "model.onnx").symlink_to("/etc/passwd")
            case "pipe":
                os.mkfifo(folder / "model.onnx")
            case "failure":
                (folder / "model.onnx").write_bytes(b"half")
                raise ModelError("the connection broke")

    bench.shop.fetch = broken  # type: ignore[method-assign]
    with pytest.raises(ModelError):
        bench.fetch()
    assert not [path for path in (bench.root / "cache").rglob("*") if not path.is_dir()]


def test_a_damaged_model_is_fetched_again(bench: Bench) -> None:
    found = bench.fetch()
    found.path.chmod(0o644)
    found.path.write_bytes(b"bad")
    assert bench.fetch().path.read_bytes() == b"one"
    (found.path.parent / "extra").write_bytes(b"")
    assert contents(bench.fetch()) == {"model.onnx": b"one"}
    assert bench.shop.brought == 3


def test_a_cache_that_was_copied_is_verified_and_used(bench: Bench) -> None:
    bench.fetch(PINNED)
    shutil.copytree(bench.root / "cache", bench.root / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(bench.root / "cache")
    (bench.root / "copy").rename(bench.root / "cache")
    assert bench.fetch(PINNED).path.read_bytes() == b"one"
    assert bench.shop.brought == 1


@given(st.binary(max_size=60), st.integers(0, 2))
@settings(max_examples=60)
def test_whatever_stands_in_the_notes_of_the_cache_the_right_model_comes(junk: bytes, which: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        found = bench.fetch(PINNED)
        notes = sorted((bench.root / "cache").rglob("*.json"))
        assert len(notes) == 2
        for note in notes[which:] or notes:
            note.write_bytes(junk)
        assert bench.fetch(PINNED).path.read_bytes() == b"one"
        assert found.path.read_bytes() == b"one"


def test_files_in_the_cache_are_not_to_be_written_to_and_stay_executable(bench: Bench) -> None:
    bench.shop.files = {"run.sh": b"#!/bin/sh", "a": b""}
    bring = bench.shop.fetch

    def executable(found: Found, folder: Path, progress: Tell) -> None:
        bring(found, folder, progress)
        (folder / "run.sh").chmod(0o755)

    bench.shop.fetch = executable  # type: ignore[method-assign]
    path = bench.fetch().path
    assert [(path / name).stat().st_mode & 0o777 for name in ("run.sh", "a")] == [0o555, 0o444]


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(bench: Bench) -> None:
    (bench.root / "cache").write_text("a file")
    with pytest.raises(ModelError, match="cannot be kept in"):
        bench.fetch()


# Processes


def program(root: Path, pause: float) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("slow_fetch.py")
    command = [sys.executable, str(script), str(root), str(root / "log"), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def awaited(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen within a minute")


def test_several_processes_bring_a_model_once(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(LARGE[:3000])
    programs = [program(tmp_path, 0.02) for _ in range(3)]
    said = [one.communicate(timeout=120)[0].strip() for one in programs]
    assert said == [sha256(LARGE[:3000])] * 3
    assert (tmp_path / "log").read_text().split() == ["began", "ended"]


def test_a_kill_in_the_middle_leaves_nothing_that_is_used_and_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(LARGE[:3000])
    killed = program(tmp_path, 0.5)
    awaited(lambda: any(f.stat().st_size for f in (tmp_path / "cache").rglob("model.bin")))
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert list((tmp_path / "cache").rglob(".serinus-*"))
    again = program(tmp_path, 0)
    assert again.communicate(timeout=120)[0].strip() == sha256(LARGE[:3000])
    assert not list((tmp_path / "cache").rglob(".serinus-*"))
    assert (tmp_path / "log").read_text().split() == ["began", "began", "ended"]


# Which source is meant


def test_a_file_that_is_there_is_meant_before_an_id(tmp_path: Path) -> None:
    assert isinstance(address_of(project(tmp_path, "mood:1")), Registered)
    (tmp_path / "mood:1").write_bytes(b"")
    assert address_of(project(tmp_path, "mood:1")) == Local("mood:1")
    assert elsewhere(project(tmp_path, "mood:1")) is None


def test_a_model_of_this_machine_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"")
    assert fetch(project(tmp_path, "m")) is None
    assert fetch(project(tmp_path, f"file:{tmp_path}/m")) is None
    assert fetch(Project(root=tmp_path, service=Service(name="x"), model=Model(path="mood:1"))) is None
    assert fetch(project(tmp_path, None)) is None
    with pytest.raises(ModelError, match="is on this machine"):
        resolve(project(tmp_path, "m"))


def test_resolve_asks_and_brings_nothing(tmp_path: Path) -> None:
    shop = Shop()
    assert resolve(project(tmp_path, S3), open_source=shop).identity == "1"
    assert (shop.asked, shop.brought) == (1, 0)


def test_the_same_id_in_two_registries_is_two_models(tmp_path: Path) -> None:
    shop = Shop()
    for registry, data in (("oci:a", b"one"), ("oci:b", b"two"), ("ghcr.io/acme", b"three")):
        shop.files = {"model.onnx": data}
        one = project(tmp_path, "mood:1", registry=registry)
        found = fetch(one, cache=tmp_path / "cache", open_source=shop)
        assert found
        assert found.path.read_bytes() == data


def test_the_same_name_on_two_servers_is_two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()
    for server in ("https://a.example", "https://b.example"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        shop.files = {"model.onnx": server.encode()}
        found = fetch(project(tmp_path, "mlflow:models:/m/1"), cache=tmp_path / "cache", open_source=shop)
        assert found
        assert found.path.read_bytes() == server.encode()


def test_two_digests_of_one_file_are_an_error(machine: Machine) -> None:
    with pytest.raises(ModelError, match="Keep the one that is right"):
        machine.fetch(f"https://a.example/m#sha256={'1' * 64}", digest=f"sha256:{'2' * 64}")


def test_places_share_no_folder(tmp_path: Path) -> None:
    assert Cached.of(tmp_path, "a").folder != Cached.of(tmp_path, "b").folder
