"""Archives: what engines load, whole or not at all."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from build_bench import Bench, layout_of, project
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import BuildError, RuntimeUnavailable
from serinus.events import Event, Progress
from serinus.image import Built
from serinus.image.archive import Output, docker_archive, load, oci_archive, parse_output, write
from serinus.project import Project
from serinus.registry.layout import Layout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Built]:
    folder = tmp_path_factory.mktemp("archive")
    made = project(folder / "p")
    return made, Bench(folder / "cache").build(made)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Built]:
    folder = tmp_path_factory.mktemp("both")
    made = project(folder / "p")
    return made, Bench(folder / "cache").build(made, platforms=["linux/amd64", "linux/arm64"])


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        opened = {member.name: tar.extractfile(member) for member in tar.getmembers()}
    return {name: file.read() for name, file in opened.items() if file is not None}


def archived(writer: Any, pair: tuple[Project, Built], *references: str) -> bytes:
    made, image = pair
    file = io.BytesIO()
    writer(layout_of(made), image.descriptor, references, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker-archive:a.tar", Output("docker-archive", Path("a.tar"))),
        ("docker-archive:/a:b.tar", Output("docker-archive", Path("/a:b.tar"))),
        ("oci-archive:x/y.tar", Output("oci-archive", Path("x/y.tar"))),
        ("oci:dir", Output("oci", Path("dir"))),
        ("oci:dir:1.2", Output("oci", Path("dir"), "1.2")),
        ("oci:dir:name:1.2", Output("oci", Path("dir"), "name:1.2")),
    ],
)
def test_outputs(text: str, expected: Output) -> None:
    assert parse_output(text) == expected


@given(
    st.text(max_size=12)
    | st.sampled_from(["docker-archive", "docker-archive:", "oci:", "oci:x:", "oci::t", "zip:x"])
)
def test_any_other_output_is_named(text: str) -> None:
    if not text.startswith(("oci:", "docker-archive:", "oci-archive:")) or text in (
        "docker-archive:",
        "oci:",
        "oci:x:",
        "oci::t",
    ):
        with pytest.raises(BuildError, match="expected docker-archive:FILE"):
            parse_output(text)


def test_a_docker_archive_says_what_docker_load_wants(built: tuple[Project, Built]) -> None:
    files = members(archived(docker_archive, built, "sentiment:1", "localhost:5000/sentiment"))
    (described,) = json.loads(files["manifest.json"])
    assert described["RepoTags"] == ["sentiment:1", "localhost:5000/sentiment:latest"]
    assert len(described["Layers"]) == 5
    assert {described["Config"], *described["Layers"]} <= set(files)
    config = described["Config"].rpartition("/")[2]
    assert json.loads(files["repositories"]) == {
        "sentiment": {"1": config},
        "localhost:5000/sentiment": {"latest": config},
    }


def test_a_docker_archive_is_an_oci_layout_with_the_same_digest(
    built: tuple[Project, Built], tmp_path: Path
) -> None:
    with tarfile.open(fileobj=io.BytesIO(archived(docker_archive, built, "sentiment:1"))) as tar:
        tar.extractall(tmp_path, filter="data")
    unpacked = Layout(tmp_path)
    assert unpacked.resolve("sentiment:1").digest == built[1].descriptor.digest
    assert unpacked.manifest(unpacked.resolve("sentiment:1"))


def test_the_same_image_gives_the_same_archive(built: tuple[Project, Built]) -> None:
    assert archived(docker_archive, built, "a:1") == archived(docker_archive, built, "a:1")


def test_an_index_goes_whole_into_an_oci_archive_and_its_own_platform_into_a_docker_archive(
    both: tuple[Project, Built],
) -> None:
    files = members(archived(oci_archive, both, "sentiment:1"))
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == both[1].descriptor.digest
    index = json.loads(files["blobs/" + entry["digest"].replace(":", "/")])
    for child in index["manifests"]:
        manifest = json.loads(files["blobs/" + child["digest"].replace(":", "/")])
        assert all("blobs/" + blob["digest"].replace(":", "/") in files for blob in manifest["layers"])
    (described,) = json.loads(members(archived(docker_archive, both, "x:1"))["manifest.json"])
    config = json.loads(members(archived(docker_archive, both, "x:1"))[described["Config"]])
    assert config["architecture"] == {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def test_an_index_without_this_machine_is_no_docker_archive(tmp_path: Path) -> None:
    made = project(tmp_path / "p")
    image = Bench(tmp_path / "cache").build(made, platforms=["linux/arm64", "linux/arm64/v8"])
    if os.uname().machine == "x86_64":
        with pytest.raises(
            BuildError, match=r"is for linux/arm64, linux/arm64/v8, and not for .*linux/amd64"
        ):
            archived(docker_archive, (made, image), "x:1")


def test_files_are_there_whole_or_not_at_all(built: tuple[Project, Built], tmp_path: Path) -> None:
    made, image = built
    for kind in ("docker-archive", "oci-archive"):
        output = parse_output(f"{kind}:{tmp_path}/{kind}.tar")
        write(layout_of(made), image.descriptor, image.reference, output)
        assert members(output.path.read_bytes())["oci-layout"]
    assert {path.name for path in tmp_path.iterdir()} == {"docker-archive.tar", "oci-archive.tar"}
    with pytest.raises(BuildError, match="cannot be written: No such file"):
        write(layout_of(made), image.descriptor, "a:1", parse_output(f"oci-archive:{tmp_path}/no/a.tar"))
    write(layout_of(made), image.descriptor, image.reference, parse_output(f"oci:{tmp_path}/dir:v1"))
    copied = Layout(tmp_path / "dir")
    assert copied.resolve("v1").digest == image.descriptor.digest
    assert len(copied.referrers(image.descriptor.digest)) == 1


def script(folder: Path, text: str) -> str:
    """An engine that is a shell script."""
    path = folder / "engine"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_loading_streams_into_the_engine(built: tuple[Project, Built], tmp_path: Path) -> None:
    made, image = built
    events: list[Event] = []
    engine = script(tmp_path, f'[ "$1 $2" = "--quiet load" ] && cat > {tmp_path}/got')
    layout = layout_of(made)
    found = load(
        "docker",
        layout,
        image.descriptor,
        "x:1",
        program=engine,
        arguments=["--quiet"],
        observer=events.append,
    )
    assert found == json.loads(layout.manifest(image.descriptor))["config"]["digest"]
    assert (tmp_path / "got").read_bytes() == archived(docker_archive, built, "x:1")
    assert [event.done for event in events if isinstance(event, Progress)][-1] > 0


@pytest.mark.parametrize(
    "behaviour", ["cat > /dev/null; echo 'no room' >&2; exit 1", "echo 'no room' >&2; exit 1"]
)
def test_an_engine_that_refuses_says_why(
    built: tuple[Project, Built], tmp_path: Path, behaviour: str
) -> None:
    made, image = built
    with pytest.raises(RuntimeUnavailable, match="docker did not load the image: no room"):
        load("docker", layout_of(made), image.descriptor, "x:1", program=script(tmp_path, behaviour))


def test_an_engine_that_is_not_there_is_named(built: tuple[Project, Built], tmp_path: Path) -> None:
    made, image = built
    with pytest.raises(RuntimeUnavailable, match="cannot be run: No such file") as caught:
        load("podman", layout_of(made), image.descriptor, "x:1", program=str(tmp_path / "none"))
    assert "apt-get install podman" in caught.value.todo


def _asked(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def _loads(engine: Any, built: tuple[Project, Built]) -> None:
    made, image = built
    name = f"localhost/serinus-test-{os.getpid()}:1"
    found = load(engine, layout_of(made), image.descriptor, name)
    try:
        identity = _asked(engine, "image", "inspect", "--format", "{{.Id}}", name)
        assert identity.removeprefix("sha256:") == found.removeprefix("sha256:")
        user = _asked(engine, "image", "inspect", "--format", "{{.Config.User}}", name)
        assert user == "65532:65532"
    finally:
        _asked(engine, "rmi", name)


@pytest.mark.docker
def test_docker_loads_it(built: tuple[Project, Built]) -> None:
    _loads("docker", built)


@pytest.mark.podman
def test_podman_loads_it(built: tuple[Project, Built]) -> None:
    _loads("podman", built)


@pytest.mark.skopeo
def test_skopeo_finds_the_same_digest_in_each_form(built: tuple[Project, Built], tmp_path: Path) -> None:
    made, image = built
    layout = layout_of(made)
    write(layout, image.descriptor, "s:1", parse_output(f"docker-archive:{tmp_path}/d.tar"))
    write(layout, image.descriptor, "s:1", parse_output(f"oci-archive:{tmp_path}/o.tar"))
    for place in (
        f"oci:{layout.root}:sentiment:latest",
        f"oci-archive:{tmp_path}/o.tar",
        f"oci-archive:{tmp_path}/d.tar",
    ):
        assert _asked("skopeo", "inspect", "--format", "{{.Digest}}", place) == image.descriptor.digest
    labels = json.loads(_asked("skopeo", "inspect", f"docker-archive:{tmp_path}/d.tar"))["Labels"]
    assert labels["org.opencontainers.image.title"] == "sentiment"
