"""A project whose model comes from elsewhere: built, served, and what the image says of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build_bench import Bench, config_of, files_of, layout_of, project, write

from serinus.cli import DONE, FAILED, run
from serinus.errors import ModelError, ProjectError
from serinus.image import LABEL_MODEL, LABEL_MODEL_MANIFEST, LABEL_MODEL_SOURCE, SBOM_TYPE
from serinus.image import lock as locks
from serinus.image.dockerfile import export
from serinus.image.sources import fetched_digest, find_model, with_model
from serinus.models.registry import ModelRegistry
from serinus.project import Model, Project
from serinus.runtimes.local import prepare

FILES: dict[str, str | bytes] = {"model.bin": b"weights" * 1000, "words/vocabulary.txt": "good\nbad\n"}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("SERINUS_CACHE", str(tmp_path / "cache"))
    return Bench(tmp_path / "cache")


def registered(root: Path, files: dict[str, str | bytes] = FILES, **model: Any) -> Project:
    """A project whose model ``mood:1`` is in its registry, and nowhere in its folder."""
    made = project(root)
    for path in sorted((root / "weights").iterdir()):
        path.unlink()
    (root / "weights").rmdir()
    origin = root.parent / f"{root.name}-origin"
    write(origin, files)
    given = origin if len(files) > 1 else origin / next(iter(files))
    ModelRegistry(root=root).register("mood", [given], aliases=["production"])
    return replace(made, model=Model(source="mood@production", **model))


def sbom_of(made: Project, digest: str) -> dict[str, Any]:
    layout = layout_of(made)
    (attached,) = layout.referrers(digest, SBOM_TYPE)
    (layer,) = json.loads(layout.manifest(attached))["layers"]
    return json.loads(layout.path(layer["digest"]).read_bytes())  # type: ignore[no-any-return]


def test_an_image_has_the_model_and_says_where_it_is_from(tmp_path: Path, bench: Bench) -> None:
    made = registered(tmp_path / "p")
    built = bench.build(made)
    files = files_of(made, built)
    assert files["srv/mood/model.bin"] == FILES["model.bin"]
    assert files["srv/mood/words/vocabulary.txt"] == b"good\nbad\n"
    assert json.loads(files["opt/serinus/service.json"])["model"] == "mood"
    labels = config_of(made, built)["config"]["Labels"]
    manifest = ModelRegistry(root=made.root).resolve("mood:1").digest
    assert labels[LABEL_MODEL_SOURCE] == "mood:1"
    assert labels[LABEL_MODEL_MANIFEST] == manifest
    assert labels[LABEL_MODEL] == fetched_digest(with_model(made, cache=bench.cache))
    parts = [part for part in sbom_of(made, built.descriptor.digest)["components"] if "properties" in part]
    assert sorted(part["name"] for part in parts) == ["mood/model.bin", "mood/words/vocabulary.txt"]
    assert parts[0]["properties"] == [
        {"name": "serinus:model:manifest", "value": manifest},
        {"name": "serinus:model:source", "value": "mood:1"},
    ]


def test_the_same_model_from_a_cold_cache_and_another_folder_is_the_same_image(
    tmp_path: Path, bench: Bench
) -> None:
    made = registered(tmp_path / "p")
    first = bench.build(made)
    again = bench.build(made)
    assert again.descriptor == first.descriptor
    assert {layer.name for layer in again.layers if layer.cached} >= {"model"}
    other = replace(
        registered(tmp_path / "q"), models=replace(made.models, registry=f"oci:{tmp_path}/p/.serinus/models")
    )
    elsewhere = Bench(tmp_path / "another cache").build(other)
    assert elsewhere.descriptor.digest == first.descriptor.digest


def test_one_file_has_its_own_name_and_a_path_goes_before(tmp_path: Path, bench: Bench) -> None:
    one: dict[str, str | bytes] = {"mood.onnx": b"graph"}
    made = registered(tmp_path / "p", one)
    assert files_of(made, bench.build(made))["srv/mood.onnx"] == b"graph"
    there = replace(made, model=replace(made.model, path="models/current.onnx"))
    assert files_of(there, bench.build(there))["srv/models/current.onnx"] == b"graph"


def test_what_an_alias_means_is_asked_once_and_holds(tmp_path: Path, bench: Bench) -> None:
    made = registered(tmp_path / "p", {"mood.onnx": b"one"})
    held = with_model(made, cache=bench.cache)
    (tmp_path / "mood.onnx").write_bytes(b"two")
    ModelRegistry(root=made.root).register("mood", [tmp_path / "mood.onnx"], aliases=["production"])
    place = find_model(held)
    assert place
    assert place.source.read_bytes() == b"one"
    assert config_of(held, bench.build(held))["config"]["Labels"][LABEL_MODEL_SOURCE] == "mood:1"
    assert config_of(made, bench.build(made))["config"]["Labels"][LABEL_MODEL_SOURCE] == "mood:2"


def test_a_copy_of_the_project_stays_with_what_was_fetched(tmp_path: Path, bench: Bench) -> None:
    held = with_model(registered(tmp_path / "p"), cache=bench.cache)
    place = find_model(held)
    assert place
    shutil.copytree(held.root, tmp_path / "copy", ignore=shutil.ignore_patterns(".serinus"))
    copy = replace(held, root=tmp_path / "copy", model=Model(source=str(place.source), path=place.path))
    assert bench.build(copy).descriptor.digest == bench.build(held).descriptor.digest


def test_a_model_that_is_not_the_one_that_was_meant_is_refused(tmp_path: Path, bench: Bench) -> None:
    made = registered(tmp_path / "p")
    right = fetched_digest(with_model(made, cache=bench.cache))
    assert bench.build(replace(made, model=replace(made.model, digest=right)))
    wrong = replace(made, model=replace(made.model, digest="sha256:" + "0" * 64))
    with pytest.raises(ModelError, match="as model.digest says"):
        bench.build(wrong)


def test_a_local_model_has_no_label_of_a_source(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    by_uri = replace(made, model=Model(source=f"file:{tmp_path}/p/weights"))
    for one in (made, by_uri):
        built = bench.build(one)
        labels = config_of(one, built)["config"]["Labels"]
        assert LABEL_MODEL_SOURCE not in labels
        assert files_of(one, built)["srv/weights/vocabulary.txt"] == b"good\nbad\n"
    with pytest.raises(ProjectError, match="there is no model at"):
        bench.build(replace(made, model=Model(source="file:none")))


def test_an_exported_dockerfile_has_it_too(tmp_path: Path, bench: Bench) -> None:
    made = registered(tmp_path / "p")
    (made.root / "requirements.txt").write_text("")
    bench.build(made)
    lock = locks.load(made.root / locks.FILE)
    assert lock
    export(made, lock, None, tmp_path / "out")
    assert (tmp_path / "out/model/mood/model.bin").read_bytes() == FILES["model.bin"]
    assert f"{LABEL_MODEL_SOURCE}=mood:1" in (tmp_path / "out/Dockerfile").read_text()


@pytest.mark.network
def test_it_is_served_from_source(tmp_path: Path, bench: Bench) -> None:
    made = registered(tmp_path / "p")
    prepared = prepare(made, 0)
    assert (prepared.cwd / "mood/model.bin").read_bytes() == FILES["model.bin"]
    assert (prepared.cwd / "service.py").is_file()


def test_the_command_says_where_it_is(
    tmp_path: Path, bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = registered(tmp_path / "p")
    (made.root / "serinus.toml").write_text(
        '[service]\nname = "mood"\nentrypoint = "service:predict"\n[model]\nsource = "mood@production"\n'
    )
    folder = str(made.root)

    def fetched(*arguments: str) -> tuple[int, Any]:
        code = run(["model", "fetch", "-C", folder, "--json", *arguments])
        return code, json.loads(capsys.readouterr().out)

    code, document = fetched()
    assert code == DONE
    assert document["uri"] == "mood:1"
    assert document["digest"] == fetched_digest(with_model(made, cache=bench.cache))
    assert document["manifest"] == ModelRegistry(root=made.root).resolve("mood:1").digest
    assert Path(document["path"], "model.bin").read_bytes() == FILES["model.bin"]
    assert fetched("mood:1") == (code, document)
    (made.root / "here.bin").write_bytes(b"x")
    code, document = fetched("here.bin")
    assert (code, document["path"], document["uri"]) == (DONE, f"{folder}/here.bin", None)
    code, document = fetched("mood:7")
    assert (code, document["error"]["kind"]) == (FAILED, "ModelError")
    monkeypatch.chdir(made.root)
    assert run(["model", "fetch"]) == DONE
    assert "uri       mood:1" in capsys.readouterr().out
