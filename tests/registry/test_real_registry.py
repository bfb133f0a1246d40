"""The client against Debian's ``docker-registry``, and Skopeo against what the client pushed."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from small_images import digest_of, image, index, noise, sbom, whole

from parts import RealRegistry
from serinus.errors import DigestMismatch, NotFound, Unauthorized
from serinus.registry import LAYER, Descriptor, Platform
from serinus.registry.client import Repository
from serinus.registry.copy import copy
from serinus.registry.layout import Layout
from serinus.registry.network import Interrupted

pytestmark = pytest.mark.registry


def opened(registry: RealRegistry, name: str, **options: Any) -> Repository:
    environ = registry.environment()
    return Repository(f"{registry.host}/{name}", environ=environ, sleep=lambda _: None, **options)


@pytest.fixture
def repository(registry: RealRegistry, request: pytest.FixtureRequest) -> Iterator[Repository]:
    """A repository of this test's own."""
    name = request.node.name.replace("_", "-").strip("[]").replace("[", "/")
    with opened(registry, f"tests/{name}") as one:
        yield one


def test_there_and_back(repository: Repository, layout: Layout, tmp_path: Path) -> None:
    made = image(layout, [noise(200_000), b"code"], ["1"])
    assert copy(layout, repository, "1", ["1", "latest"]) == made
    assert sorted(repository.tags()) == ["1", "latest"]
    back = Layout(tmp_path / "back")
    copy(repository, back, "latest", ["1"])
    assert whole(back, "1") == whole(layout, "1")


def test_a_second_push_sends_the_changed_layer_and_the_manifest_alone(
    repository: Repository, layout: Layout
) -> None:
    image(layout, [noise(500_000), b"code"], ["1"])
    copy(layout, repository, "1", ["1"])
    before = repository.traffic.sent
    made = image(layout, [noise(500_000), b"new code"], ["2"])
    copy(layout, repository, "2", ["2"])
    config = json.loads(layout.manifest(made))["config"]["size"]
    assert repository.traffic.sent - before == len(b"new code") + config + made.size


def test_chunks_are_put_together(registry: RealRegistry, repository: Repository, layout: Layout) -> None:
    data = noise(1_000_000)
    image(layout, [data], ["1"])
    with Repository(
        repository.reference, chunk=300_000, environ={}, connection=repository._connection
    ) as chunked:
        copy(layout, chunked, "1", ["1"])
    made = next(d for d in layout.entries())
    layer = json.loads(layout.manifest(made))["layers"][0]
    with repository.blob(Descriptor(LAYER, layer["digest"], layer["size"])) as file:
        assert file.read() == data


def test_blobs_are_mounted(registry: RealRegistry, repository: Repository, layout: Layout) -> None:
    made = image(layout, [noise(300_000)], ["1"])
    copy(layout, repository, "1", ["1"])
    with opened(registry, "tests/mounted") as second:
        copy(repository, second, "1", ["1"])
        assert second.traffic.sent == made.size


def test_an_index_comes_whole(repository: Repository, layout: Layout, tmp_path: Path) -> None:
    platforms = [Platform("linux", "amd64"), Platform("linux", "arm64")]
    top = index(layout, [image(layout, [str(p).encode()], (), p) for p in platforms], ["multi"])
    assert copy(layout, repository, "multi", ["multi"]) == top
    back = Layout(tmp_path / "back")
    copy(repository, back, "multi", ["multi"])
    assert whole(back, "multi") == whole(layout, "multi")


def test_referrers_stand_under_the_tag_where_the_api_is_missing(
    repository: Repository, layout: Layout, tmp_path: Path
) -> None:
    made = image(layout, [b"1"], ["1"])
    bom = sbom(layout, made)
    copy(layout, repository, "1", ["1"], referrers=True)
    copy(layout, repository, "1", ["1"], referrers=True)
    assert [d.digest for d in repository.referrers(made.digest)] == [bom.digest]
    assert f"sha256-{made.digest[7:]}" in repository.tags()
    back = Layout(tmp_path / "back")
    copy(repository, back, "1", ["1"], referrers=True)
    assert [d.digest for d in back.referrers(made.digest, "application/vnd.cyclonedx+json")] == [bom.digest]


def test_a_wrong_password(registry: RealRegistry, layout: Layout) -> None:
    image(layout, [b"1"], ["1"])
    environ = registry.environment() | {"SERINUS_REGISTRY_PASSWORD": "wrong-s3cret"}
    with Repository(f"{registry.host}/tests/x", environ=environ) as one:
        with pytest.raises(
            Unauthorized, match="refused user 'canary' from SERINUS_REGISTRY_USERNAME"
        ) as caught:
            copy(layout, one, "1", ["1"])
        assert "s3cret" not in str(caught.value)
    with (
        Repository(f"{registry.host}/tests/x", environ={}) as one,
        pytest.raises(Unauthorized, match="none were found"),
    ):
        one.resolve("1")


def test_the_password_of_docker_login_is_used(registry: RealRegistry, tmp_path: Path) -> None:
    registry.auth_file(tmp_path)
    with (
        Repository(f"{registry.host}/tests/none", environ={"DOCKER_CONFIG": str(tmp_path)}) as one,
        pytest.raises(NotFound, match=r"has not got 127.0.0.1:\d+/tests/none:1"),
    ):
        one.resolve("1")


def test_wrong_bytes_are_refused(repository: Repository) -> None:
    data = noise(10_000)
    made = Descriptor(LAYER, "sha256:" + "0" * 64, len(data))
    with pytest.raises(DigestMismatch):
        repository.write(made, lambda: io.BytesIO(data))
    assert not repository.has(made)


def test_a_cut_chunk_ends_in_a_whole_blob(registry: RealRegistry, repository: Repository) -> None:
    """The source fails in the middle of a chunk once; the registry gets the blob whole all the same.

    This registry (2.8) drops an upload that was cut within a chunk, so the blob begins anew.
    """

    data, cuts = noise(900_000), [1]

    class Cut(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if cuts and self.tell() >= 400_000:
                cuts.pop()
                raise Interrupted("cut")
            return super().read(min(size or -1, 100_000))

    made = Descriptor(LAYER, digest_of(data), len(data))
    with opened(registry, repository.reference.repository, chunk=300_000) as chunked:
        assert chunked.write(made, lambda: Cut(data)) == "written"
    with repository.blob(made) as file:
        assert file.read() == data


@contextmanager
def cutting(host: str, *, up: int = -1, down: int = -1) -> Iterator[str]:
    """A way to a registry whose first long connection is cut after so many bytes up or down."""
    name, _, port = host.partition(":")
    left = {"up": up, "down": down}
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, way: str) -> None:
        count = 0
        with suppress(OSError):
            while data := source.recv(65536):
                count += len(data)
                if 0 <= left[way] < count:
                    left[way] = -1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def pair(client: socket.socket) -> None:
        with client, socket.create_connection((name, int(port))) as server:
            back = threading.Thread(target=pump, args=(server, client, "down"))
            back.start()
            pump(client, server, "up")
            back.join()

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=pair, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.mark.parametrize("chunk", [300_000, 10_000_000])
def test_a_connection_cut_in_the_middle_of_a_blob(
    registry: RealRegistry, layout: Layout, tmp_path: Path, chunk: int
) -> None:
    made = image(layout, [noise(2_000_000, chunk)], ["1"])
    environ = {
        f"SERINUS_REGISTRY_{k}": v
        for k, v in (("USERNAME", registry.username), ("PASSWORD", registry.password))
    }
    with cutting(registry.host, up=1_000_000) as way:
        mine = environ | {"SERINUS_REGISTRY_HOST": way}
        with Repository(f"{way}/tests/cut-{chunk}", environ=mine, chunk=chunk, sleep=lambda _: None) as one:
            copy(layout, one, "1", ["1"], jobs=1)
            assert one.traffic.sent > 2_900_000, "nothing was cut"
    back = Layout(tmp_path / "back")
    with cutting(registry.host, down=1_000_000) as way:
        mine = environ | {"SERINUS_REGISTRY_HOST": way}
        with Repository(f"{way}/tests/cut-{chunk}", environ=mine, sleep=lambda _: None) as one:
            assert copy(one, back, "1", ["1"], jobs=1).digest == made.digest
    assert whole(back, "1") == whole(layout, "1")


@pytest.mark.skopeo
def test_skopeo_reads_what_was_pushed(
    registry: RealRegistry, repository: Repository, layout: Layout, tmp_path: Path
) -> None:
    made = image(layout, [noise(1000)], ["1"])
    copy(layout, repository, "1", ["1"])
    auth = ["--authfile", str(registry.auth_file(tmp_path))]
    name = f"docker://{repository.origin}:1"
    inspected = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", *auth, name], capture_output=True, text=True, check=False
    )
    assert inspected.returncode == 0, inspected.stderr
    assert json.loads(inspected.stdout)["Digest"] == made.digest
    back = tmp_path / "back"
    command = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        *auth,
        name,
        f"oci:{back}:x",
    ]
    copied = subprocess.run(command, capture_output=True, text=True, check=False)
    assert copied.returncode == 0, copied.stderr
    assert Layout(back).resolve("x").digest == made.digest
    assert whole(Layout(back), "x") == whole(layout, "1")


@pytest.mark.skopeo
def test_we_read_what_skopeo_pushed(
    registry: RealRegistry, repository: Repository, layout: Layout, tmp_path: Path
) -> None:
    made = image(layout, [noise(1000)], ["1"])
    auth = ["--authfile", str(registry.auth_file(tmp_path))]
    command = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", *auth]
    command += [f"oci:{layout.root}:1", f"docker://{repository.origin}:1"]
    copied = subprocess.run(command, capture_output=True, text=True, check=False)
    assert copied.returncode == 0, copied.stderr
    back = Layout(tmp_path / "back")
    assert copy(repository, back, "1", ["1"]).digest == made.digest
    assert whole(back, "1") == whole(layout, "1")
