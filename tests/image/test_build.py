"""The flow: what is in the image, the same digest from the same inputs, and nothing half done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build_bench import (
    RESPONSE,
    SERVICE,
    Bench,
    config_of,
    fake_base,
    fake_uv,
    files_of,
    in_child,
    layout_of,
    manifest_of,
    no_base,
    project,
    write,
)

from serinus.contract import Contract
from serinus.errors import BaseError, BuildError, ContractError, LockError, ProjectError, SecretFound
from serinus.events import Finished, Noted
from serinus.image import SBOM_TYPE, layers
from serinus.image.build import build
from serinus.image.contracts import Python, find_interpreter, own_python
from serinus.project import ContractFiles, Image, Model, Project, Service
from serinus.serving import Settings


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "cache")


# What is in the image


def test_an_image_holds_code_model_dependencies_runtime_settings_and_contract(
    tmp_path: Path, bench: Bench
) -> None:
    made = project(tmp_path / "p", {"tests/test_x.py": "x", ".env": "SECRET=1", ".git/config": "x"})
    built = bench.build(made)
    assert [layer.name for layer in built.layers] == ["base", "dependencies", "runtime", "model", "code"]
    assert built.reference == "sentiment:latest"
    files = files_of(made, built)
    assert files["srv/service.py"] == SERVICE["service.py"].encode()  # type: ignore[union-attr]
    assert files["srv/weights/model.bin"] == SERVICE["weights/model.bin"]
    assert files["opt/serinus/lib/demo/__init__.py"] == b"VALUE = 1\n"
    assert b"Serinus" in files["opt/serinus/runtime/serinus/__init__.py"]
    assert not {
        path for path in files if "test_x" in path or ".env" in path or ".git" in path or "toml" in path
    }
    settings = Settings.from_json(files["opt/serinus/service.json"].decode())
    assert (settings.name, settings.entrypoint, settings.model) == ("sentiment", "service:predict", "weights")
    assert settings.build.startswith("sha256:")
    contract = Contract.from_json(files["opt/serinus/contract.json"])
    assert contract.response == RESPONSE
    assert contract.examples[0].request == ["good"]


def test_the_configuration_runs_the_server_as_nobody(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    config = config_of(made, bench.build(made))
    runs = config["config"]
    assert runs["Entrypoint"] == ["/usr/bin/python3", "-m", "serinus.serving"]
    assert (runs["User"], runs["WorkingDir"], runs["StopSignal"]) == ("65532:65532", "/srv", "SIGTERM")
    assert runs["ExposedPorts"] == {"5000/tcp": {}}
    assert {"BASE=1", "ORT_DISABLE_TELEMETRY=1", "PYTHONPATH=/opt/serinus/runtime:/opt/serinus/lib"} <= set(
        runs["Env"]
    )
    assert runs["Labels"]["org.opencontainers.image.base.name"] == "debian:bookworm"
    assert json.loads(runs["Labels"]["dev.serinus.contract"])["response"] == RESPONSE
    assert len(config["rootfs"]["diff_ids"]) == len(config["history"]) == 5


def test_the_sbom_refers_to_the_image(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    built = bench.build(made)
    (found,) = layout_of(made).referrers(built.descriptor.digest, SBOM_TYPE)
    attached = json.loads(layout_of(made).manifest(found))
    bill = json.loads(layout_of(made).path(attached["layers"][0]["digest"]).read_bytes())
    named = {(component["type"], component["name"]) for component in bill["components"]}
    assert {
        ("library", "demo"),
        ("library", "libc6"),
        ("machine-learning-model", "weights/model.bin"),
    } <= named


def test_several_platforms_make_an_index_with_an_sbom_each(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    built = bench.build(made, platforms=["linux/amd64", "linux/arm64/v8"])
    index = manifest_of(made, built)
    assert [entry["platform"] for entry in index["manifests"]] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
    ]
    for entry in index["manifests"]:
        assert len(layout_of(made).referrers(entry["digest"], SBOM_TYPE)) == 1


def test_a_large_model_is_one_uncompressed_layer(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    with (tmp_path / "p/weights/large.bin").open("wb") as file:
        file.truncate(layers.LARGE)
    built = bench.build(made)
    model = [layer for layer in built.layers if layer.name == "model"]
    assert [layer.descriptor.media_type.endswith("gzip") for layer in model] == [False, True]
    assert model[0].descriptor.digest == model[0].diff_id
    assert model[0].descriptor.size > layers.LARGE


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Model(path="one.onnx"), "srv/one.onnx"),
        (Model(source="one.onnx"), "srv/one.onnx"),
        (Model(source="one.onnx", path="models/m.onnx"), "srv/models/m.onnx"),
        (Model(source="../outside/other.onnx"), "srv/other.onnx"),
        (Model(source="../outside", path="m"), "srv/m/other.onnx"),
    ],
)
def test_where_the_model_comes_from_and_goes(
    tmp_path: Path, bench: Bench, model: Model, expected: str
) -> None:
    write(tmp_path / "outside", {"other.onnx": "model"})
    made = project(tmp_path / "p", {"one.onnx": "model"}, model=model)
    built = bench.build(made)
    files = files_of(made, built)
    assert files[expected] == b"model"
    # The model is in its own layer alone: where it is taken from, nothing of it stays in the code.
    taken_from_here = "one.onnx" in (model.source, model.path)
    assert ("srv/one.onnx" in files) == (expected == "srv/one.onnx" or not taken_from_here)


# The same inputs, the same digest


def copied(source: Path, target: Path, names: list[str]) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((source / name).read_bytes())


def other_folder(made: Project, place: Path) -> None:
    copied(made.root, place, sorted(SERVICE))


def other_order(made: Project, place: Path) -> None:
    copied(made.root, place, sorted(SERVICE, reverse=True))


def other_umask(made: Project, place: Path) -> None:
    before = os.umask(0o077)
    try:
        copied(made.root, place, sorted(SERVICE))
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "service.py").stat().st_mode) == 0o600


def another_day(made: Project, place: Path) -> None:
    copied(made.root, place, sorted(SERVICE))
    for name in SERVICE:
        os.utime(place / name, (time.time() + 86400,) * 2)


def empty_folders_and_caches(made: Project, place: Path) -> None:
    copied(made.root, place, sorted(SERVICE))
    (place / "empty").mkdir()
    write(place, {"__pycache__/service.pyc": "x", ".serinus/cache/contents.json": "{damaged"})


@pytest.mark.parametrize(
    "change", [other_folder, other_order, other_umask, another_day, empty_folders_and_caches]
)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_same_inputs_same_digest(
    tmp_path: Path, bench: Bench, change: Callable[[Project, Path], None], warm: bool
) -> None:
    made = project(tmp_path / "first")
    expected = bench.build(made).descriptor
    place = tmp_path / "elsewhere/deeper"
    place.mkdir(parents=True)
    change(made, place)
    again = bench if warm else Bench(tmp_path / "another-cache")
    assert again.build(replace(made, root=place)).descriptor == expected
    assert again.build(replace(made, root=place)).descriptor == expected


def test_a_second_build_packs_nothing_and_gives_the_same(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    first = bench.build(made)
    bench.events.clear()
    second = bench.build(made)
    assert (second.descriptor, second.size) == (first.descriptor, first.size)
    # The fake base is made anew each time; it is the only layer that is not told to be cached.
    assert all(layer.cached for layer in second.layers[1:])
    assert not [
        event for event in bench.events if isinstance(event, Finished) and event.step.startswith("pack")
    ]


def test_a_touched_file_changes_nothing_and_a_changed_one_only_its_layer(
    tmp_path: Path, bench: Bench
) -> None:
    made = project(tmp_path / "p")
    first = bench.build(made)
    os.utime(made.root / "service.py", (1, 1))
    assert bench.build(made).descriptor == first.descriptor
    write(made.root, {"service.py": "changed = True\n"})
    second = bench.build(made)
    changed = [a.name for a, b in zip(first.layers, second.layers, strict=True) if a.diff_id != b.diff_id]
    assert changed == ["code"]


def test_a_change_in_the_same_moment_and_of_the_same_size_is_seen(tmp_path: Path, bench: Bench) -> None:
    """As quick as it can be done, many times: no time of a file tells the two contents apart."""
    made = project(tmp_path / "p")
    for number in range(20):
        write(made.root, {"service.py": f"VALUE = {number:04}\n"})
        built = bench.build(made)
        assert files_of(made, built)["srv/service.py"] == f"VALUE = {number:04}\n".encode()


def test_the_execute_bit_of_the_owner_counts(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    first = bench.build(made)
    (made.root / "service.py").chmod(0o700)
    assert bench.build(made).descriptor != first.descriptor
    (made.root / "service.py").chmod(0o604)
    assert bench.build(made).descriptor == first.descriptor


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can build as another user")
def test_another_user_gets_the_same_digest(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "first")
    expected = bench.build(made).descriptor.digest  # which also imports all that the other user may not read
    # The folders of pytest are for their owner alone.
    shelf = Path("/var/tmp") / f"serinus-test-{os.getpid()}"
    shelf.mkdir(mode=0o777)
    try:
        place = shelf / "p"
        other_folder(made, place)
        for path in [shelf, *shelf.rglob("*")]:
            os.chown(path, 12345, 12345)

        def work() -> None:
            built = Bench(shelf / "cache").build(replace(made, root=place))
            (shelf / "digest").write_text(built.descriptor.digest)

        assert in_child(work, 12345) == 0
        assert (shelf / "digest").read_text() == expected
        assert (place / ".serinus/layout/index.json").stat().st_uid == 12345
    finally:
        shutil.rmtree(shelf)


# What stops a build


def untouched(made: Project, expected: dict[str, Any]) -> None:
    """The tags are what they were, and no temporary file is left."""
    assert layout_of(made).tags() == expected
    left = {path.name for path in (made.root / ".serinus").rglob(".*")}
    assert left <= {".gitignore"}


def test_a_secret_stops_it_and_is_named_but_not_shown(tmp_path: Path, bench: Bench) -> None:
    token = "gh" + "p_" + "a1" * 18
    made = project(tmp_path / "p", {"helpers/config.py": f"# token\nTOKEN = '{token}'\n"})
    with pytest.raises(SecretFound, match=r"'helpers/config.py', line 2: GitHub token") as caught:
        bench.build(made)
    assert token not in str(caught.value)
    with pytest.raises(SecretFound):  # and again, with what the first try remembered
        bench.build(made)
    untouched(made, {})
    allowed = replace(made, image=Image(allow_secrets=("helpers/*.py",)))
    assert bench.build(allowed).reference == "sentiment:latest"
    left_out = replace(made, image=Image(ignore=("config.py",)))
    assert "srv/helpers/config.py" not in files_of(made, bench.build(left_out))


def test_a_secret_in_the_models_folder_stops_it_too(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p", {"weights/notes.txt": "h" + "f_" + "aB" * 17})
    with pytest.raises(SecretFound, match=r"'notes.txt', line 1: Hugging Face token"):
        bench.build(made)


def test_what_an_app_is_told_to_ignore_stays_out(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p", {".serinusignore": "*.csv\n!keep.csv\n", "a.csv": "1", "keep.csv": "2"})
    files = files_of(made, bench.build(made))
    assert "srv/keep.csv" in files
    assert "srv/a.csv" not in files


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"model": Model(path="gone.onnx")}, ProjectError, "no model at .*gone.onnx"),
        ({"model": Model(source="weights", path="../up")}, ProjectError, "expected a path below"),
        ({"contract": ContractFiles(request="request.json")}, ProjectError, "response is missing"),
        ({"contract": ContractFiles(request="request.json", response="no.json")}, ContractError, "no.json"),
        ({"service": Service(name="x")}, ContractError, "weights"),
        (
            {"service": Service(name="x"), "model": Model(), "contract": ContractFiles()},
            ProjectError,
            "nothing to serve",
        ),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, bench: Bench, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    made = project(
        tmp_path / "p", **{"contract": ContractFiles(), **changes} if "service" in changes else changes
    )
    with pytest.raises(error, match=said):
        bench.build(made)
    untouched(made, {})


def test_an_example_that_breaks_the_contract_stops_it(tmp_path: Path, bench: Bench) -> None:
    made = project(
        tmp_path / "p", {"examples.jsonl": '{"request": ["a"], "response": {"positive": "false"}}\n'}
    )
    with pytest.raises(ContractError, match=r"example 1 .*/positive"):
        bench.build(made)


def test_a_platform_that_is_none_is_named(tmp_path: Path, bench: Bench) -> None:
    with pytest.raises(BuildError, match="'windows'"):
        bench.build(project(tmp_path / "p"), platforms=["windows"])


def test_locked_wants_a_lock(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    with pytest.raises(LockError, match="there is no"):
        bench.build(made, locked=True)
    first = bench.build(made)
    assert bench.build(made, locked=True).descriptor == first.descriptor
    write(made.root, {"requirements.txt": "numpy\n"})
    with pytest.raises(LockError, match="'numpy' was added"):
        bench.build(made, locked=True)


def test_a_build_that_fails_leaves_the_tag_where_it_was(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    first = bench.build(made)
    write(made.root, {"service.py": "changed = 1\n", "weights/model.bin": "changed"})
    with pytest.raises(BaseError, match="no base"):
        bench.build(made, resolve_base=no_base)
    untouched(made, {"sentiment:latest": first.descriptor})


def test_an_interrupt_leaves_the_tag_where_it_was(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    first = bench.build(made)

    def interrupted(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    write(made.root, {"service.py": "changed = 1\n"})
    with pytest.raises(KeyboardInterrupt):
        bench.build(made, resolve_base=interrupted)
    untouched(made, {"sentiment:latest": first.descriptor})
    assert bench.build(made).descriptor != first.descriptor


def test_a_kill_at_any_moment_leaves_the_tag_where_it_was(tmp_path: Path, bench: Bench) -> None:
    """Killed at each event that a build tells of, one after the other, until a build comes through."""
    made = project(tmp_path / "p")
    first = bench.build(made)
    names = ("service.py", "weights/model.bin", "requirements.txt")
    write(made.root, dict.fromkeys(names, "# changed\n"))
    for moment in range(1, 100):
        left = moment

        def kill(event: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        options: dict[str, Any] = {
            "resolve_base": fake_base,
            "run_uv": fake_uv,
            "cache": tmp_path / "another",
        }
        outcome = in_child(lambda kill=kill, options=options: build(made, observer=kill, **options))
        if outcome == 0:
            break
        assert outcome == -signal.SIGKILL
        assert layout_of(made).resolve("sentiment:latest") == first.descriptor
    assert moment > 5
    other = replace(made, root=tmp_path / "q")
    other_folder(made, other.root)
    write(other.root, {name: (made.root / name).read_bytes() for name in names})
    assert layout_of(made).resolve("sentiment:latest") == bench.build(other).descriptor


def test_a_cache_that_cannot_be_written_is_told_and_no_error(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    expected = bench.build(made).descriptor
    # A folder where a file should be: nobody can write that, root included.
    other = replace(made, root=tmp_path / "q")
    other_folder(made, other.root)
    (other.root / ".serinus/cache/contents.json").mkdir(parents=True)
    assert bench.build(other).descriptor == expected
    assert any(
        isinstance(event, Noted) and "cache cannot be written" in event.message for event in bench.events
    )


def test_two_builds_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    made = project(tmp_path / "p")
    outcomes: list[Any] = []

    def work() -> None:
        try:
            outcomes.append(Bench(tmp_path / "cache").build(made).descriptor)
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    assert len(set(outcomes)) == 1
    assert layout_of(made).resolve("sentiment:latest").digest == outcomes[0].digest
    untouched(made, layout_of(made).tags())


def test_what_is_not_needed_any_more_is_dropped(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    first = bench.build(made)
    write(made.root, {"service.py": "changed = 1\n"})
    old = set((made.root / ".serinus/layout/blobs/sha256").iterdir())
    for blob in old:
        os.utime(blob, (1, 1))  # long ago: nobody can be about to name it
    bench.build(made)
    gone = [blob for blob in old if not blob.exists()]
    assert layout_of(made).path(first.layers[-1].descriptor.digest) in gone
    assert layout_of(made).path(first.layers[1].descriptor.digest) not in gone
    # The dependencies are still in the user's cache, for another project.
    elsewhere = replace(made, root=tmp_path / "q")
    other_folder(made, elsewhere.root)
    assert bench.build(elsewhere).layers[1] == replace(first.layers[1], cached=True)


# Contracts


def test_a_bare_onnx_file_needs_nothing_else(tmp_path: Path, bench: Bench) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value("x", onnx.TensorProto.FLOAT, ["n", 3])],
        [value("y", onnx.TensorProto.FLOAT, ["n", 3])],
    )
    root = tmp_path / "p"
    write(root, {"model.onnx": onnx.helper.make_model(graph).SerializeToString()})
    made = Project(root=root, service=Service(name="relu"), model=Model(path="model.onnx"))
    built = bench.build(made)
    files = files_of(made, built)
    contract = Contract.from_json(files["opt/serinus/contract.json"])
    assert set(contract.request["properties"]) == {"x"}
    assert Settings.from_json(files["opt/serinus/service.json"].decode()).model == "model.onnx"
    assert [layer.name for layer in built.layers] == ["base", "dependencies", "runtime", "model", "code"]


def _types_uv(arguments: Any, folder: Path) -> None:
    """Installs what typed functions need, from this interpreter's own packages."""
    fake_uv(arguments, folder)
    if arguments[1] == "install":
        import pydantic

        own = Path(pydantic.__file__).parents[1]
        target = Path(arguments[arguments.index("--target") + 1])
        for name in (
            "pydantic",
            "pydantic_core",
            "annotated_types",
            "typing_inspection",
            "jsonschema_rs",
            "orjson",
        ):
            if (own / name).is_dir():
                shutil.copytree(own / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(own / "typing_extensions.py", target)


TYPED = """
from dataclasses import dataclass

@dataclass
class Sentiment:
    positive: bool

def predict(texts: list[str]) -> Sentiment:
    return Sentiment(True)
"""


@pytest.fixture(scope="session")
def types_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("types")


def test_a_typed_function_is_imported_with_the_locked_packages_and_nothing_else(
    tmp_path: Path, types_cache: Path
) -> None:
    bench = Bench(types_cache)
    examples = '{"request": ["a"]}\n'
    made = project(
        tmp_path / "p", {"service.py": TYPED, "examples.jsonl": examples}, contract=ContractFiles()
    )
    built = bench.build(made, run_uv=_types_uv, interpreter=lambda _: own_python())
    contract = Contract.from_json(files_of(made, built)["opt/serinus/contract.json"])
    assert contract.response["properties"] == {"positive": {"title": "Positive", "type": "boolean"}}
    assert not list(made.root.rglob("__pycache__"))
    # Nothing changed: it is not imported again.
    bench.events.clear()
    assert bench.build(made, run_uv=_types_uv, interpreter=_must_not_be_asked).descriptor == built.descriptor
    # The same size in the same second: no bytecode of the first may stand for the second.
    write(made.root, {"service.py": TYPED.replace("positive: bool", "negative: bool")})
    changed = bench.build(made, run_uv=_types_uv, interpreter=lambda _: own_python())
    assert "negative" in Contract.from_json(files_of(made, changed)["opt/serinus/contract.json"]).to_json()
    # pytest is installed here, and not locked.
    write(made.root, {"service.py": "import pytest\n" + TYPED})
    with pytest.raises(ContractError, match=r"(?s)No module named 'pytest'.*Traceback"):
        bench.build(made, run_uv=_types_uv, interpreter=lambda _: own_python())


def test_a_change_inside_a_function_does_not_import_the_service_again(
    tmp_path: Path, types_cache: Path
) -> None:
    bench = Bench(types_cache)
    made = project(tmp_path / "p", {"service.py": TYPED}, contract=ContractFiles())
    bench.build(made, run_uv=_types_uv, interpreter=lambda _: own_python())
    write(made.root, {"service.py": TYPED.replace("return Sentiment(True)", "return Sentiment(not texts)")})
    changed = bench.build(made, run_uv=_types_uv, interpreter=_must_not_be_asked)
    assert b"not texts" in files_of(made, changed)["srv/service.py"]
    # The digest is that of a build which remembers nothing.
    (made.root / ".serinus/cache/contract.json").unlink()
    assert (
        bench.build(made, run_uv=_types_uv, interpreter=lambda _: own_python()).descriptor
        == changed.descriptor
    )
    write(made.root, {"service.py": TYPED.replace("texts: list[str]", "texts: list[int]")})
    with pytest.raises(AssertionError, match="was asked for"):
        bench.build(made, run_uv=_types_uv, interpreter=_must_not_be_asked)
    write(made.root, {"service.py": TYPED, "other.py": ""})
    with pytest.raises(AssertionError, match="was asked for"):
        bench.build(made, run_uv=_types_uv, interpreter=_must_not_be_asked)


def _must_not_be_asked(python: str) -> Python:
    raise AssertionError(f"Python {python} was asked for")


def test_an_app_that_says_nothing_about_itself_has_no_contract_and_that_is_told(
    tmp_path: Path, types_cache: Path
) -> None:
    bench = Bench(types_cache)
    app = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"
    made = project(
        tmp_path / "p",
        {"service.py": app},
        service=Service(name="app", entrypoint="service:app"),
        contract=ContractFiles(),
    )
    built = bench.build(made, run_uv=_types_uv, interpreter=lambda _: own_python())
    assert "opt/serinus/contract.json" not in files_of(made, built)
    assert "dev.serinus.contract" not in config_of(made, built)["config"]["Labels"]
    assert any(isinstance(event, Noted) and "has no contract" in event.message for event in bench.events)


def test_a_python_that_is_not_here_is_named() -> None:
    with pytest.raises(BuildError, match=r"Python 3\.99"):
        find_interpreter("3.99")


def test_our_own_python_stands_in_for_an_older_one_that_is_not_here() -> None:
    assert find_interpreter("3.0") == own_python()
    assert find_interpreter(own_python().version) == own_python()


def test_a_full_disk_while_packing_leaves_nothing(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    first = bench.build(made)

    def full(*args: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(made.root, {"service.py": "changed = 1\n"})
    with pytest.raises(OSError, match="No space left"):
        bench.build(made, resolve_base=full)
    untouched(made, {"sentiment:latest": first.descriptor})


def test_the_base_is_asked_with_what_the_lock_says(tmp_path: Path, bench: Bench) -> None:
    made = project(tmp_path / "p")
    asked: list[Any] = []

    def asking(*args: Any, locked: str | None, **options: Any) -> Any:
        asked.append((locked, options["strict"], options["refresh"], options["python"]))
        return fake_base(*args, **options)

    bench.build(made, resolve_base=asking)
    bench.build(made, resolve_base=asking, locked=True)
    bench.build(made, resolve_base=asking, upgrade=True)
    digest = "sha256:" + "ba5e" * 16
    assert asked == [
        (None, False, False, "3.11"),
        (digest, True, False, "3.11"),
        (digest, False, True, "3.11"),
    ]
