"""What an image says of how it is to be run."""

from __future__ import annotations

from pathlib import Path

import pytest
from images import layer_of, make_image, make_index

from serinus.errors import NotFound, RegistryError
from serinus.registry import Platform
from serinus.registry.layout import Layout
from serinus.runtimes import launch
from serinus.runtimes.launch import Launch, User

PASSWD = "root:x:0:0:root:/root:/bin/sh\nbird:x:12:34::/nest:/bin/sh\nbroken\nodd:x:a:b:c:d:e\n"
GROUP = "root:x:0:\nflock:x:77:bird\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", User(0, 0, "/root")),
        ("0", User(0, 0, "/root")),
        ("bird", User(12, 34, "/nest")),
        ("12", User(12, 34, "/nest")),
        ("bird:flock", User(12, 77, "/nest")),
        ("bird:5", User(12, 5, "/nest")),
        ("65532:65532", User(65532, 65532, "/")),
        ("65532", User(65532, 0, "/")),
    ],
)
def test_a_user_is_who_docker_takes_it_for(tree: Path, text: str, expected: User) -> None:
    assert launch.user(tree, text) == expected


@pytest.mark.parametrize("text", ["cat", "bird:cats", "x"])
def test_an_unknown_name_is_an_error_that_names_it(tree: Path, text: str) -> None:
    with pytest.raises(RegistryError, match=text.rpartition(":")[2]):
        launch.user(tree, text)


def test_users_are_looked_up_in_the_image_alone(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/proc/self/mounts")
    assert launch.user(tmp_path, "0") == User(0, 0, "/")


def test_a_configuration_is_read_with_dockers_defaults() -> None:
    assert launch.launch({"config": {"Cmd": ["run"]}}) == Launch(("run",), {"PATH": launch.PATH})
    full = {
        "Entrypoint": ["python"],
        "Cmd": ["-m", "x"],
        "Env": ["PATH=/bin", "EMPTY=", "EQ=a=b", "BARE"],
        "WorkingDir": "/srv",
        "User": "1:2",
        "ExposedPorts": {"8001/tcp": {}, "53/udp": {}, "5000": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGINT",
    }
    assert launch.launch({"config": full}) == Launch(
        ("python", "-m", "x"),
        {"PATH": "/bin", "EMPTY": "", "EQ": "a=b", "BARE": ""},
        "/srv",
        "1:2",
        (5000, 8001),
        ("/data",),
        "SIGINT",
    )


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": {"Cmd": None, "Entrypoint": []}}])
def test_an_image_that_names_nothing_to_run_is_an_error(config: dict[str, object]) -> None:
    with pytest.raises(RegistryError, match="Entrypoint"):
        launch.launch(config)


def test_of_an_index_the_image_for_the_platform_is_taken(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    one = make_image(layout, [layer_of({"a": b"1"})], {"Cmd": ["one"]})
    two = make_image(layout, [layer_of({"a": b"2"})], {"Cmd": ["two"]})
    index = make_index(layout, [(one, "amd64"), (two, "arm64")])
    read = launch.read(layout, index, Platform("linux", "arm64"))
    assert (read.launch.argv, read.manifest.digest) == (("two",), two.digest)
    with pytest.raises(NotFound, match="linux/amd64, linux/arm64"):
        launch.read(layout, index, Platform("linux", "riscv64"))


def test_layers_and_diff_ids_must_be_as_many(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = make_image(layout, [layer_of({"a": b"1"})], {"Cmd": ["x"]}, diff_ids=["sha256:a", "sha256:b"])
    with pytest.raises(RegistryError, match="1 layers and 2 diff_ids"):
        launch.read(layout, image)
