"""The model registry, the same in a folder and in a registry: versions that stay, aliases that move."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from artifacts import FILEPATH, KIT_FILES, model_kit

from fakes.registry import Registry, serving
from serinus.errors import ModelError, RegistryError
from serinus.events import Event, Finished, Noted, Progress
from serinus.models import remote
from serinus.models.numbers import Claim, claim_of
from serinus.models.registry import ModelRegistry
from serinus.project import Models, Project, Service
from serinus.registry.client import Repository
from serinus.registry.copy import copy
from serinus.registry.layout import Layout
from serinus.registry.places import connect
from serinus.registry.reference import Reference

Make = Callable[..., ModelRegistry]


@pytest.fixture
def fake() -> Iterator[Registry]:
    with serving(Registry()) as running:
        yield running


@pytest.fixture(params=["layout", "registry"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes the model registry at one place, in a folder or in a registry."""
    with ExitStack() as stack:
        where = "oci:store"
        if request.param == "registry":
            where = f"{stack.enter_context(serving(Registry())).host}/acme/models"
        project = tmp_path / "project"
        project.mkdir()

        def one(**options: Any) -> ModelRegistry:
            return ModelRegistry(where, project, **{"environ": {}, "shelf": {"settle": 0.5}, **options})

        yield one


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "roberta"
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx/model.bin").write_bytes(b"weights" * 1000)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("# Sentiment")
    (folder / ".secret").write_text("left out")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/x.pyc").write_text("left out")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


MODEL = {"onnx/model.bin": b"weights" * 1000, "config.json": b"{}", "README.md": b"# Sentiment"}


def test_versions_count_up_and_keep_what_was_said(make: Make, files: Path, tmp_path: Path) -> None:
    models = make(now=lambda: datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC))
    data = tmp_path / "train.csv"
    data.write_text("a,b\n")
    first = models.register(
        "roberta", [files], metrics={"accuracy": 0.9}, params={"epochs": 3}, note="the first", data=[data]
    )
    second = models.register("roberta", [files], metrics={"accuracy": 0.91}, aliases=["staging", "staging"])
    assert (first.id, second.id) == ("roberta:1", "roberta:2")
    assert second.aliases == ("staging",)
    shown = models.show("roberta:1")
    assert shown == first
    assert shown.facts.metrics == {"accuracy": 0.9}
    assert shown.facts.params == {"epochs": 3}
    assert shown.facts.note == "the first"
    assert shown.facts.created == "2026-05-01T12:00:00Z"
    assert "@" in shown.facts.lineage.who
    assert shown.facts.lineage.data[str(data)].startswith("sha256:")
    assert shown.facts.content == second.facts.content
    assert {f.path: f.kind for f in shown.files} == {
        "README.md": "doc",
        "config.json": "weight.config",
        "onnx/model.bin": "weight",
    }
    assert [v.id for v in models.versions("roberta")] == ["roberta:1", "roberta:2"]
    assert [v.aliases for v in models.versions("roberta")] == [(), ("staging",)]
    assert models.names() == ("roberta",)


def test_every_way_of_naming_a_version(make: Make, files: Path) -> None:
    models = make()
    first = models.register("m", [files], aliases=["production"])
    second = models.register("m", [files / "config.json"])
    for id_ in ("m:1", "m@production", f"m@{first.digest}"):
        assert models.resolve(id_).id == "m:1"
        assert models.resolve(id_).digest == first.digest
    for id_ in ("m", "m@latest", "m:2"):
        assert models.resolve(id_).digest == second.digest


def test_an_alias_moves_and_versions_do_not(make: Make, files: Path) -> None:
    models = make()
    digests = [models.register("m", [files], note=str(i)).digest for i in range(3)]
    for number in (1, 3, 2):
        assert models.alias(f"m:{number}", "production").id == f"m:{number}"
        assert models.resolve("m@production").digest == digests[number - 1]
    assert models.alias("m@production", "staging").version == 2
    assert models.show("m:2").aliases == ("production", "staging")
    assert [v.digest for v in models.versions("m")] == digests


def test_a_model_is_pulled_as_it_was(make: Make, files: Path, tmp_path: Path) -> None:
    models = make()
    models.register("m", [files])
    target = tmp_path / "deep" / "pulled"
    assert models.pull("m:1", target).id == "m:1"
    assert tree(target) == MODEL
    before = (target / "config.json").stat().st_ino
    models.pull("m:1", target)
    assert (target / "config.json").stat().st_ino == before
    (target / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="holds something else than the model"):
        models.pull("m:1", target)
    empty = tmp_path / "empty"
    empty.mkdir()
    models.pull("m", empty)
    assert tree(empty) == MODEL
    assert not list(tmp_path.rglob(".serinus-pull-*"))


def test_what_killed_pulls_left_goes_and_what_others_pull_stays(
    make: Make, files: Path, tmp_path: Path
) -> None:
    import fcntl

    models = make()
    models.register("m", [files])
    left, busy = tmp_path / ".serinus-pull-left", tmp_path / ".serinus-pull-busy"
    left.mkdir()
    (left / "half").write_text("x")
    busy.mkdir()
    handle = os.open(busy, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    models.pull("m", tmp_path / "pulled")
    os.close(handle)
    assert not left.exists()
    assert busy.exists()


def test_several_paths_keep_their_names(make: Make, files: Path, tmp_path: Path) -> None:
    models = make()
    made = models.register("m", [files / "README.md", files / "onnx", os.fspath(files / "config.json")])
    assert [f.path for f in made.files] == ["README.md", "config.json", "onnx/model.bin"]
    one = models.register("m", [files / "config.json"])
    assert [f.path for f in one.files] == ["config.json"]
    assert one.facts.content == one.files[0].digest


def test_links_are_followed_and_loops_are_told(make: Make, files: Path, tmp_path: Path) -> None:
    models = make()
    outside = tmp_path / "outside.bin"
    outside.write_bytes(b"o")
    (files / "linked.bin").symlink_to(outside)
    made = models.register("m", [files])
    assert "linked.bin" in [f.path for f in made.files]
    (files / "loop").symlink_to(files)
    with pytest.raises(ModelError, match="a symbolic link to a folder that it lies in"):
        models.register("m", [files])
    (files / "loop").unlink()
    (files / "gone").symlink_to(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"gone cannot be read: no such file"):
        models.register("m", [files])
    (files / "gone").unlink()
    os.mkfifo(files / "pipe")
    with pytest.raises(ModelError, match="is no file and no folder"):
        models.register("m", [files])
    assert [v.version for v in models.versions("m")] == [1]


def test_paths_that_are_wrong_are_told(make: Make, files: Path, tmp_path: Path) -> None:
    models = make()
    (tmp_path / "none").mkdir()
    with pytest.raises(ModelError, match="no files were named"):
        models.register("m", [])
    with pytest.raises(ModelError, match="holds no files"):
        models.register("m", [tmp_path / "none"])
    with pytest.raises(ModelError, match=r"missing\.onnx cannot be read"):
        models.register("m", [tmp_path / "missing.onnx"])
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"'config\.json' twice"):
        models.register("m", [files / "config.json", other / "config.json"])
    for wrong in ("M", "a/b", "a:1"):
        with pytest.raises(ModelError, match="no name of a model"):
            models.register(wrong, [files])
    with pytest.raises(ModelError, match="always the newest version"):
        models.register("m", [files], aliases=["latest"])
    with pytest.raises(ModelError, match="'3' is no alias"):
        models.register("m", [files], aliases=["3"])


class Changing:
    """An observer that writes to a file once a part of it is through."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress) and event.step.startswith("store") and self.file.stat().st_size:
            with self.file.open("ab") as more:
                more.write(b"more")


def test_a_file_that_changes_meanwhile_is_an_error(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "growing.bin"
    file.write_bytes(b"x" * (3 << 20))
    models = make(observer=Changing(file))
    with pytest.raises(ModelError, match=r"growing\.bin was changed while it was registered"):
        models.register("m", [file])
    with pytest.raises(ModelError, match="there is no model m"):
        make().show("m")


def test_what_is_not_there_is_told_with_what_is_near(make: Make, files: Path) -> None:
    models = make()
    models.register("sentiment", [files], aliases=["production"])
    models.register("sentiment", [files])
    for id_, told in {
        "sentimnt": "there are sentiment",
        "sentiment:9": "it has the versions 1 to 2",
        "sentiment@prod": "it has the aliases production",
        f"sentiment@sha256:{'0' * 64}": "it has the versions 1 to 2",
    }.items():
        with pytest.raises(ModelError, match=told):
            models.resolve(id_)


def test_equal_files_are_stored_once(make: Make, files: Path) -> None:
    events: list[Event] = []
    models = make(observer=events.append)
    models.register("m", [files])
    events.clear()
    models.register("m", [files])
    details = {e.step: e.detail for e in events if isinstance(e, Finished)}
    assert {detail for step, detail in details.items() if step.startswith("store")} == {"present"}
    assert any(isinstance(e, Progress) for e in events)


def test_a_difference_between_two_versions(make: Make, files: Path) -> None:
    models = make()
    models.register("m", [files], metrics={"accuracy": 0.9}, params={"epochs": 3, "seed": 1})
    (files / "config.json").write_text("[]")
    (files / "README.md").unlink()
    models.register("m", [files], metrics={"accuracy": 0.92}, params={"epochs": 5, "seed": 1})
    found = models.diff("m:1", "m")
    assert set(found.files) == {"README.md", "config.json"}
    assert found.files["README.md"][1] is None
    assert found.metrics == {"accuracy": (0.9, 0.92)}
    assert found.params == {"epochs": (3, 5)}
    assert not models.diff("m:2", "m@latest")


def test_the_interface_of_an_onnx_file_is_kept(make: Make, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    def save(name: str, kind: int) -> Path:
        x = helper.make_tensor_value_info("x", kind, ["batch", 3])
        y = helper.make_tensor_value_info("y", kind, ["batch", 3])
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        onnx.save(made, tmp_path / name)
        return tmp_path / name

    events: list[Event] = []
    models = make(observer=events.append)
    models.register("m", [save("model.onnx", TensorProto.FLOAT)])
    models.register("m", [save("model.onnx", TensorProto.DOUBLE)])
    assert models.show("m:1").facts.interface == {
        "model.onnx": {
            "inputs": {"x": "float32[batch, 3]"},
            "outputs": {"y": "float32[batch, 3]"},
            "opset": 17,
        }
    }
    assert models.diff("m:1", "m:2").interface == {
        "model.onnx inputs.x": ("float32[batch, 3]", "float64[batch, 3]"),
        "model.onnx outputs.y": ("float32[batch, 3]", "float64[batch, 3]"),
    }
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    models.register("m", [tmp_path / "broken.onnx"])
    assert any(isinstance(e, Noted) and "broken.onnx is not registered" in e.message for e in events)


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_lineage_is_what_lies_around(make: Make, files: Path) -> None:
    run = {"SERINUS_RUN": "r-7", "SERINUS_PIPELINE": "train", "SERINUS_PARAMS": '{"epochs": 3, "seed": 1}'}
    models = make(environ=run)
    assert models.register("m", [files]).facts.lineage.commit == ""
    root = models.root
    git(root, "init", "-q")
    (root / "train.py").write_text("1")
    git(root, "add", "train.py")
    git(root, "commit", "-q", "-m", "one")
    git(root, "remote", "add", "origin", "https://ada:secret@example.org/acme/m.git")
    clean = models.register("m", [files], params={"seed": 2}).facts
    (root / "train.py").write_text("2")
    dirty = models.register("m", [files]).facts
    assert clean.lineage.commit == git(root, "rev-parse", "HEAD")
    assert (clean.lineage.clean, dirty.lineage.clean) == (True, False)
    assert clean.lineage.repository == "https://example.org/acme/m.git"
    assert (clean.lineage.run, clean.lineage.pipeline) == ("r-7", "train")
    assert clean.params == {"epochs": 3, "seed": 2}


# In a layout alone


def test_a_number_is_never_given_again_also_when_its_tag_is_gone(tmp_path: Path, files: Path) -> None:
    models = ModelRegistry("oci:store", tmp_path)
    for _ in range(3):
        models.register("m", [files])
    layout = Layout(tmp_path / "store")
    layout.remove("m:3")
    layout.remove("m:2")
    assert models.register("m", [files]).id == "m:4"
    (tmp_path / "store/serinus-models.json").unlink()
    assert models.register("m", [files]).id == "m:5"
    (tmp_path / "store/serinus-models.json").write_text("[]")
    with pytest.raises(ModelError, match=r"serinus-models\.json is damaged"):
        models.register("m", [files])


def test_models_of_one_layout_count_alone_and_beside_images(tmp_path: Path, files: Path) -> None:
    models = ModelRegistry("oci:store", tmp_path)
    layout = Layout(tmp_path / "store")
    made = models.register("a", [files])
    layout.write_manifest(layout.resolve("a:1"), layout.manifest(layout.resolve("a:1")), ["mood:latest", "x"])
    assert models.register("b", [files], aliases=["production"]).id == "b:1"
    assert models.names() == ("a", "b")
    assert models.show("a").digest == made.digest


def test_the_project_says_where_and_git_does_not_see_it(tmp_path: Path, files: Path) -> None:
    project = Project(root=tmp_path, service=Service(name="x"))
    models = ModelRegistry.of(project)
    models.register("m", [files])
    assert (tmp_path / ".serinus/.gitignore").read_text() == "*\n"
    assert (tmp_path / ".serinus/models/index.json").is_file()
    other = ModelRegistry.of(
        Project(root=tmp_path, service=Service(name="x"), models=Models(registry="oci:m"))
    )
    assert other.names() == ()


def test_a_place_that_is_wrong_is_told() -> None:
    with pytest.raises(ModelError, match="names no folder"):
        ModelRegistry("oci:")
    with pytest.raises(RegistryError, match="is not an image reference"):
        ModelRegistry("ghcr.io/Acme/models")


# In a registry alone


def at(fake: Registry, **options: Any) -> ModelRegistry:
    return ModelRegistry(f"{fake.host}/acme", shelf={"settle": 0.2, **options})


def test_claims_are_hidden_and_old_ones_go(fake: Registry, files: Path) -> None:
    models = at(fake)
    for _ in range(3):
        models.register("m", [files])
    claims = [c for c in map(claim_of, fake.repo("acme/m").tags) if c]
    assert [c.number for c in claims] == [3]
    assert [v.version for v in models.versions("m")] == [1, 2, 3]
    assert models.show("m").aliases == ()


def test_a_number_stays_taken_when_its_tag_is_deleted(fake: Registry, files: Path) -> None:
    models = at(fake)
    models.register("m", [files])
    second = models.register("m", [files])
    with Repository(f"{fake.host}/acme/m") as repository:
        repository.delete(second.digest)
    assert models.register("m", [files]).id == "m:3"


def test_a_registry_that_deletes_nothing_keeps_the_claims(fake: Registry, files: Path) -> None:
    fake.deletes = False
    models = at(fake)
    for number in (1, 2, 3):
        assert models.register("m", [files]).version == number
    assert len([t for t in fake.repo("acme/m").tags if claim_of(t)]) == 3
    assert [v.version for v in models.versions("m")] == [1, 2, 3]


def test_a_rival_with_the_right_of_way_gets_the_number(fake: Registry, files: Path) -> None:
    """Somebody has claimed 2 with a lower id, and not pushed yet: it is theirs."""
    models = at(fake, new_id=iter(["5" * 8] * 9).__next__)
    models.register("m", [files])
    _claim(fake, Claim(2, "1" * 8))
    assert models.register("m", [files]).id == "m:3"


def _claim(fake: Registry, claim: Claim) -> None:
    with Repository(f"{fake.host}/acme/m") as repository:
        descriptor, body = remote.claim_manifest(claim)
        repository.write_manifest(descriptor, body, [claim.tag])


def test_a_lost_answer_to_the_push_is_no_second_version(fake: Registry, files: Path) -> None:
    from fakes.registry import Fault

    fake.faults.append(Fault("PUT", r"/manifests/1$", status=503))
    slept: list[float] = []
    made = at(fake, sleep=slept.append).register("m", [files])
    assert made.id == "m:2"
    assert slept == [0.1]
    assert [v.version for v in at(fake).versions("m")] == [2]


def test_what_a_registry_refuses_is_told(fake: Registry, files: Path) -> None:
    from fakes.registry import Fault

    fake.faults.append(Fault("PUT", r"/manifests/1$", status=400))
    with pytest.raises(RegistryError, match="answered 400"):
        at(fake).register("m", [files])


def test_a_registry_without_a_list_of_repositories_wants_a_name(fake: Registry, files: Path) -> None:
    models = at(fake)
    models.register("m", [files])
    fake.catalog = False
    with pytest.raises(ModelError, match="does not list its repositories") as error:
        models.names()
    assert "model list NAME" in error.value.todo
    assert models.show("m:1").version == 1
    with pytest.raises(ModelError, match="there is no model x"):
        models.show("x")


def test_kits_and_copies_of_others_are_versions_too(fake: Registry, files: Path, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    model_kit(layout)
    with connect(Reference(fake.host, "acme/m")) as repository:
        copy(layout, repository, "kit", ["1", "blessed"])
    models = at(fake)
    shown = models.show("m:1")
    assert shown.aliases == ("blessed",)
    assert all(f.archive for f in shown.files)
    models.pull("m@blessed", tmp_path / "kit")
    assert tree(tmp_path / "kit") == KIT_FILES
    with pytest.raises(ModelError, match="holds something else"):
        models.pull("m@blessed", tmp_path / "kit")
    assert models.register("m", [files]).id == "m:2"
    assert models.resolve("m@blessed").version == 1


def test_tags_without_versions_are_named(fake: Registry, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    model_kit(layout)
    with connect(Reference(fake.host, "acme/m")) as repository:
        copy(layout, repository, "kit", ["blessed"])
    models = at(fake)
    with pytest.raises(ModelError, match="has no versions, only the tags blessed"):
        models.resolve("m")
    found = models.resolve("m@blessed")
    assert (found.version, found.id) == (0, f"m@{found.digest}")


def test_a_file_that_comes_otherwise_leaves_nothing(fake: Registry, files: Path, tmp_path: Path) -> None:
    models = at(fake)
    made = models.register("m", [files])
    digest = next(f.digest for f in made.files if f.path == "config.json")
    fake.repo("acme/m").blobs[digest] = b"[]"
    with pytest.raises(RegistryError):
        models.pull("m", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    assert not list(tmp_path.glob(".serinus-pull-*"))


def test_what_is_pushed_names_its_files_for_oras(fake: Registry, files: Path) -> None:
    made = at(fake).register("m", [files])
    document = json.loads(fake.repo("acme/m").manifests[made.digest][1])
    for layer in document["layers"]:
        told = layer["annotations"]
        assert told[FILEPATH] == told["org.opencontainers.image.title"]


def test_a_run_that_goes_on_after_a_kill_registers_once(make: Make, files: Path) -> None:
    run = {"SERINUS_RUN": "train-7", "SERINUS_PIPELINE": "train", "SERINUS_PARAMS": '{"epochs": 3}'}
    models = make(environ=run)
    first = models.register("m", [files])
    again = models.register("m", [files], aliases=["staging"])
    assert (again.id, again.digest, again.aliases) == ("m:1", first.digest, ("staging",))
    assert models.show("m").aliases == ("staging",)
    assert models.register("m", [files], params={"epochs": 4}).id == "m:2", "another model of the same run"
    assert make(environ=run | {"SERINUS_RUN": "train-8"}).register("m", [files]).id == "m:3"
    assert make(environ={}).register("m", [files]).id == "m:4"
    assert make(environ={}).register("m", [files]).id == "m:5", "by hand, each is one of its own"
