"""The client against a registry that obeys the specification, and one that misbehaves."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest
from opening import Open
from small_images import digest_of, image, manifest_body, noise, sbom

from fakes.registry import Fault, Registry, serving
from serinus.errors import DigestMismatch, NotFound, RegistryError, Unauthorized, Unavailable
from serinus.registry import LAYER, MANIFEST, Descriptor
from serinus.registry.auth import Credentials
from serinus.registry.client import Repository
from serinus.registry.credentials import Search
from serinus.registry.layout import Layout

BLOB = noise(300_000)
LARGE = Descriptor(LAYER, digest_of(BLOB), len(BLOB))


class Opener:
    """Opens a blob, and counts how often."""

    def __init__(self, data: bytes = BLOB) -> None:
        self.data = data
        self.opened = 0

    def __call__(self) -> AbstractContextManager[BinaryIO]:
        self.opened += 1
        return BytesIO(self.data)


def stored(fake: Registry, data: bytes = BLOB, name: str = "acme/x") -> Descriptor:
    fake.repo(name).blobs[digest_of(data)] = data
    return Descriptor(LAYER, digest_of(data), len(data))


def pulled(repository: Repository, descriptor: Descriptor) -> bytes:
    with repository.blob(descriptor) as file:
        return file.read()


# Uploads


def test_a_blob_goes_in_one_piece_and_only_once(fake: Registry, connect: Open) -> None:
    told: list[int] = []
    repository, opener = connect(), Opener()
    assert repository.write(LARGE, opener, told.append) == "written"
    assert fake.repo("acme/x").blobs[LARGE.digest] == BLOB
    assert told == [len(BLOB)]
    assert repository.write(LARGE, opener) == "present"
    assert (opener.opened, fake.methods()["PUT"], fake.methods()["PATCH"]) == (1, 1, 0)
    assert repository.traffic.sent == len(BLOB)


def test_a_large_blob_goes_in_chunks(fake: Registry, connect: Open) -> None:
    repository = connect(chunk=100_000)
    assert repository.write(LARGE, Opener()) == "written"
    assert fake.repo("acme/x").blobs[LARGE.digest] == BLOB
    assert [s.length for s in fake.seen if s.method in {"PATCH", "PUT"}] == [100_000] * 3 + [0]


def test_chunks_are_as_long_as_the_registry_wants(fake: Registry, connect: Open) -> None:
    fake.smallest_chunk = 120_000
    connect(chunk=100_000).write(
        Descriptor(LAYER, digest_of(BLOB[:240_000]), 240_000), Opener(BLOB[:240_000])
    )
    assert [s.length for s in fake.seen if s.method == "PATCH"] == [120_000, 120_000]


@pytest.mark.parametrize("keep", [True, False])
def test_a_cut_upload_in_chunks_goes_on_where_it_was(fake: Registry, connect: Open, keep: bool) -> None:
    fake.faults = [Fault("PATCH", "uploads", cut=40_000, keep=keep), Fault("PATCH", "uploads", cut=0)]
    repository, opener = connect(chunk=100_000), Opener()
    assert repository.write(LARGE, opener) == "written"
    assert fake.repo("acme/x").blobs[LARGE.digest] == BLOB
    assert fake.methods()["POST"] == 1
    starts = [s.length for s in fake.seen if s.method == "PATCH"]
    assert sum(starts[2:]) == len(BLOB) - (40_000 if keep else 0)


def test_a_cut_upload_in_one_piece_begins_anew(fake: Registry, connect: Open, slept: list[float]) -> None:
    fake.faults = [Fault("PUT", "uploads", cut=40_000)]
    opener = Opener()
    assert connect().write(LARGE, opener) == "written"
    assert fake.repo("acme/x").blobs[LARGE.digest] == BLOB
    assert (opener.opened, fake.methods()["POST"], len(slept)) == (2, 2, 1)
    assert not fake.uploads


def test_an_upload_that_the_registry_has_lost_begins_anew(fake: Registry, connect: Open) -> None:
    repository = connect(chunk=100_000)

    def lose(done: int) -> None:
        if done == 200_000 and fake.methods()["POST"] == 1:
            fake.uploads.clear()

    assert repository.write(LARGE, Opener(), lose) == "written"
    assert fake.repo("acme/x").blobs[LARGE.digest] == BLOB
    assert fake.methods()["POST"] == 2


def test_an_answer_lost_after_the_last_byte_is_no_second_upload(fake: Registry, connect: Open) -> None:
    def arrive(done: int) -> None:
        stored(fake)

    fake.faults = [Fault("PUT", "uploads", status=502)]
    assert connect().write(LARGE, Opener(), arrive) == "present"
    assert fake.methods()["PUT"] == 1


def test_errors_of_the_server_are_tried_again_and_then_told(
    fake: Registry, connect: Open, slept: list[float]
) -> None:
    fake.faults = [Fault("POST", "uploads", times=2, status=503, body=b"<html>busy</html>")]
    assert connect().write(LARGE, Opener()) == "written"
    assert slept == [0.25, 0.5]
    fake.faults = [Fault("HEAD", "blobs", times=99, status=500)]
    with pytest.raises(Unavailable, match=r"answered 500 for the blob sha256:.* \(tried 5 times\)"):
        connect().has(LARGE)


def test_a_registry_that_asks_to_wait_is_waited_for(
    fake: Registry, connect: Open, slept: list[float]
) -> None:
    fake.faults = [Fault("HEAD", "blobs", status=429, headers={"retry-after": "7"})]
    assert connect().has(LARGE) is False
    assert slept == [7.0]
    fake.faults = [Fault("HEAD", "blobs", status=429, headers={"retry-after": "7000"})]
    with pytest.raises(Unavailable, match=r"429.*\(tried once\)"):
        connect().has(LARGE)


def test_a_source_that_gives_other_bytes_is_a_mismatch(fake: Registry, connect: Open) -> None:
    with pytest.raises(DigestMismatch, match="other bytes"):
        connect().write(LARGE, Opener(bytes(len(BLOB))))
    with pytest.raises(DigestMismatch, match="ended after 3 bytes"):
        connect().write(LARGE, Opener(b"abc"))
    assert not fake.repo("acme/x").blobs
    assert not fake.uploads


def test_a_failed_upload_is_given_up_at_the_registry(fake: Registry, connect: Open) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        connect().write(LARGE, Opener(), stop)
    assert not fake.uploads


def test_a_blob_is_mounted_from_another_repository(fake: Registry, connect: Open) -> None:
    stored(fake, name="acme/base")
    opener = Opener()
    mountable = Descriptor(
        LAYER, LARGE.digest, LARGE.size, annotations={"dev.serinus.mount": f"{fake.host}/acme/base"}
    )
    assert connect().write(mountable, opener) == "mounted"
    assert connect("acme/y", mount_from=["acme/none", "acme/base"]).write(LARGE, opener) == "mounted"
    assert opener.opened == 0
    assert not fake.uploads


def test_a_registry_that_does_not_mount_gets_the_bytes(fake: Registry, connect: Open) -> None:
    fake.mounts = False
    stored(fake, name="acme/base")
    repository = connect(mount_from=["acme/base"])
    assert repository.write(LARGE, Opener()) == "written"
    assert fake.methods()["POST"] == 1


def test_a_repository_of_another_registry_is_not_mounted_from(fake: Registry, connect: Open) -> None:
    elsewhere = Descriptor(
        LAYER, LARGE.digest, LARGE.size, annotations={"dev.serinus.mount": "ghcr.io/acme/base"}
    )
    connect().write(elsewhere, Opener())
    assert fake.count("POST", "mount") == 0


# Downloads


def test_a_blob_comes_and_is_verified(fake: Registry, connect: Open) -> None:
    assert pulled(connect(), stored(fake)) == BLOB
    fake.faults = [Fault("GET", "blobs", corrupt=True)]
    with pytest.raises(DigestMismatch, match="127.0.0.1:.*acme/x gave sha256:"):
        pulled(connect(), LARGE)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_goes_on_where_it_was(fake: Registry, connect: Open, ranges: bool) -> None:
    stored(fake)
    fake.ranges = ranges
    fake.faults = [
        Fault("GET", "blobs", cut=100_000),
        Fault("GET", "blobs", cut=50_000 if ranges else 150_000),
    ]
    repository = connect()
    assert pulled(repository, LARGE) == BLOB
    assert [s.range for s in fake.seen] == ["", "bytes=100000-", "bytes=150000-"]
    if ranges:
        assert repository.traffic.received == len(BLOB)


def test_a_download_that_is_cut_without_progress_ends(fake: Registry, connect: Open) -> None:
    stored(fake)
    fake.faults = [Fault("GET", "blobs", cut=100_000), Fault("GET", "blobs", times=99, cut=0)]
    with pytest.raises(Unavailable, match=r"the connection to 127.0.0.1:\d+ failed.*\(tried 5 times\)"):
        pulled(connect(), LARGE)


def test_another_host_gets_no_password(fake: Registry, connect: Open) -> None:
    fake.auth = "basic"
    with serving(Registry()) as store:
        store.repo("acme/x").blobs[LARGE.digest] = BLOB
        fake.redirect_blobs_to = f"http://{store.host}"
        stored(fake)
        assert pulled(connect(), LARGE) == BLOB
        assert [s.authorization for s in store.seen] == [""]
    assert fake.seen[-1].authorization.startswith("Basic ")


def test_redirects_in_a_circle_end(fake: Registry, connect: Open) -> None:
    fake.faults = [Fault("HEAD", "blobs", times=99, status=307, headers={"location": "/v2/acme/x/blobs/x"})]
    with pytest.raises(RegistryError, match="redirected the request for the blob .* 10 times"):
        connect().has(LARGE)


# Manifests and tags


def test_a_manifest_is_put_and_resolved(fake: Registry, connect: Open, layout: Layout) -> None:
    made = image(layout, [b"1"])
    body = layout.manifest(made)
    repository = connect()
    with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN"):
        repository.write_manifest(made, body, ["1"])
    fake.repo("acme/x").blobs.update(
        {f"sha256:{p.name}": p.read_bytes() for p in layout.root.glob("blobs/*/*")}
    )
    repository.write_manifest(made, body, ["1", "latest"])
    assert repository.has(made)
    for fake.blob_headers in (True, False):
        assert repository.resolve("1") == repository.resolve(made.digest) == made
    assert repository.manifest(made) == body
    fake.page = 1
    assert repository.tags() == ("1", "latest")


def test_a_manifest_that_was_changed_on_the_way_is_noticed(fake: Registry, connect: Open) -> None:
    body = manifest_body(stored(fake, b"{}"), [])
    fake.repo("acme/x").manifests[digest_of(body)] = (MANIFEST, body)
    fake.faults = [Fault("GET", "manifests", corrupt=True)]
    with pytest.raises(DigestMismatch):
        connect().manifest(Descriptor(MANIFEST, digest_of(body), len(body)))


def test_what_is_not_there_is_named(fake: Registry, connect: Open) -> None:
    with pytest.raises(NotFound, match=r"has not got 127.0.0.1:\d+/acme/x:1.2"):
        connect().resolve("1.2")
    with pytest.raises(NotFound, match="NAME_UNKNOWN"):
        connect("acme/none").tags()
    with pytest.raises(RegistryError, match="is not a digest"):
        connect().resolve("sha256:../..")


def test_a_manifest_may_not_be_too_large(connect: Open) -> None:
    body = bytes((4 << 20) + 1)
    with pytest.raises(RegistryError, match="4194305 bytes; at most 4194304"):
        connect().write_manifest(Descriptor(MANIFEST, digest_of(body), len(body)), body)


@pytest.mark.parametrize("api", [True, False])
def test_referrers_are_written_and_read(fake: Registry, connect: Open, layout: Layout, api: bool) -> None:
    fake.referrers_api = api
    made = image(layout, [b"1"])
    repository = connect()
    boms = [sbom(layout, made, text) for text in (b"1", b"2")]
    fake.repo("acme/x").blobs.update(
        {f"sha256:{p.name}": p.read_bytes() for p in layout.root.glob("blobs/*/*")}
    )
    for one in (made, *boms, boms[0]):
        repository.write_manifest(one, layout.manifest(one))
    found = repository.referrers(made.digest)
    assert {d.digest for d in found} == {d.digest for d in boms}
    assert repository.referrers(made.digest, "application/vnd.cyclonedx+json") == found
    assert repository.referrers(made.digest, "application/other") == ()
    assert (f"sha256-{made.digest[7:]}" in repository.tags()) is not api


# Authentication


def test_a_token_is_asked_for_once_with_the_scopes_of_a_push(fake: Registry, connect: Open) -> None:
    fake.auth = "bearer"
    repository = connect()
    repository.write(LARGE, Opener())
    assert fake.asked_scopes == [["repository:acme/x:pull,push"]]
    assert pulled(repository, LARGE) == BLOB
    assert fake.asked_scopes[1:] == [["repository:acme/x:pull"]]


def test_a_mount_asks_for_the_other_repository_too(fake: Registry, connect: Open) -> None:
    fake.auth = "bearer"
    stored(fake, name="acme/base")
    assert connect(mount_from=["acme/base"]).write(LARGE, Opener()) == "mounted"
    assert ["repository:acme/base:pull", "repository:acme/x:pull,push"] in fake.asked_scopes


@pytest.mark.parametrize("uses", [1, 2, 3, 4])
def test_tokens_that_expire_in_the_middle_of_a_push_are_renewed(
    fake: Registry, connect: Open, uses: int
) -> None:
    fake.auth, fake.token_uses = "bearer", uses
    assert connect(chunk=100_000).write(LARGE, Opener()) == "written"
    assert fake.repo("acme/x").blobs[LARGE.digest] == BLOB
    assert len(fake.asked_scopes) > 1


def test_a_token_is_renewed_before_it_expires(fake: Registry, connect: Open) -> None:
    fake.auth, now = "bearer", [0.0]
    repository = connect(clock=lambda: now[0])
    for now[0] in (0, 200, 269, 271):
        repository.has(LARGE)
    assert len(fake.asked_scopes) == 2
    assert sum(s.method == "HEAD" and not s.authorization for s in fake.seen) == 1


def test_an_identity_token_is_traded_in(fake: Registry, connect: Open) -> None:
    fake.auth = "bearer"
    mine = Credentials(identity_token=fake.identity_token, source="the test")
    assert connect(find=lambda *_, **__: Search(mine, ())).has(LARGE) is False
    assert fake.count("POST", "^/token") == 1


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_wrong_password_is_named_without_the_secret(fake: Registry, connect: Open, auth: str) -> None:
    fake.auth = auth
    mine = Credentials("canary", "s3cret-and-wrong", source="~/.docker/config.json")
    with pytest.raises(Unauthorized) as caught:
        connect(find=lambda *_, **__: Search(mine, ())).has(LARGE)
    text = str(caught.value)
    assert "refused user 'canary' from ~/.docker/config.json for the blob sha256:" in text
    assert "docker login" in text
    assert "s3cret" not in text + repr(caught.value)
    assert len(fake.seen) == 2


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_missing_credentials_are_told_with_where_they_were_looked_for(
    fake: Registry, connect: Open, auth: str
) -> None:
    fake.auth = auth
    with pytest.raises(Unauthorized, match="none were found in A, B"):
        connect(find=lambda *_, **__: Search(None, ("A", "B"))).has(LARGE)


def test_a_right_that_is_missing_is_a_403(fake: Registry, connect: Open) -> None:
    denied = json.dumps({"errors": [{"code": "DENIED", "message": "not yours"}]}).encode()
    fake.faults = [Fault("POST", "uploads", status=403, body=denied)]
    with pytest.raises(Unauthorized, match=r"forbids access to the blob .*DENIED: not yours"):
        connect().write(LARGE, Opener())


def test_a_challenge_that_we_cannot_answer_is_named(fake: Registry, connect: Open) -> None:
    fake.faults = [Fault("HEAD", "blobs", status=401, headers={"www-authenticate": "Negotiate"})]
    with pytest.raises(Unauthorized, match="offered 'Negotiate'; expected Bearer or Basic"):
        connect().has(LARGE)


# The network


def test_nobody_listens(connect: Open, slept: list[float]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    with Repository(f"{host}/x", sleep=slept.append) as repository, pytest.raises(Unavailable, match=host):
        repository.has(LARGE)
    assert len(slept) == 4


def test_a_registry_that_speaks_plain_http_on_https(fake: Registry, connect: Open) -> None:
    with pytest.raises(Unavailable, match="answered plain HTTP where HTTPS was expected") as caught:
        connect(insecure=False).has(LARGE)
    assert f"SERINUS_REGISTRY_INSECURE={fake.host}" in caught.value.todo


def test_a_registry_that_speaks_https_on_plain_http(fake: Registry, connect: Open) -> None:
    fake.faults = [
        Fault("HEAD", "blobs", status=400),
        Fault("GET", "tags", status=400, body=b"Client sent an HTTP request to an HTTPS server.\n"),
    ]
    with pytest.raises(RegistryError, match="speaks HTTPS"):
        connect().tags()


def test_plain_http_goes_to_loopback_alone_unless_asked_for() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.scheme)
        return httpx.Response(404, stream=httpx.ByteStream(b""))

    environ = {"SERINUS_REGISTRY_INSECURE": "registry.lan:5000, other.lan"}
    hosts = (
        "localhost:5000",
        "127.0.0.2",
        "a.localhost",
        "registry.lan:5000",
        "registry.lan",
        "10.0.0.1:5000",
    )
    for host in hosts:
        Repository(f"{host}/x", transport=httpx.MockTransport(answer), environ=environ).has(LARGE)
    assert asked == ["http"] * 4 + ["https"] * 2


def test_a_password_is_not_sent_to_a_token_server_in_the_clear() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "registry.example"
        headers = {"www-authenticate": 'Bearer realm="http://evil.example/token"'}
        return httpx.Response(401, headers=headers, stream=httpx.ByteStream(b""))

    mine = Search(Credentials("u", "p"), ())
    repository = Repository(
        "registry.example/x", transport=httpx.MockTransport(answer), find=lambda *_, **__: mine
    )
    with pytest.raises(Unauthorized, match="names the token server 'http://evil.example/token'"):
        repository.has(LARGE)


def test_a_host_that_is_not_there(slept: list[float]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        try:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error

    repository = Repository("ghcr.oi/x", transport=httpx.MockTransport(answer), sleep=slept.append)
    with pytest.raises(Unavailable, match="there is no host ghcr.oi"):
        repository.has(LARGE)
    assert slept == []


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[str]:
    """A socket that shakes hands with a certificate nobody knows, a few times."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                try:
                    connection, _ = listener.accept()
                    with connection, context.wrap_socket(connection, server_side=True) as secured:
                        secured.recv(1)
                except (OSError, ssl.SSLError):
                    continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_certificate_that_nobody_knows(tmp_path: Path, slept: list[float]) -> None:
    key = tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    )
    files = ["-keyout", str(key), "-out", str(tmp_path / "cert.pem")]
    made = subprocess.run([*command.split(), *files], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", key)
    with (
        tls_server(context) as host,
        pytest.raises(Unavailable, match="the certificate of .* cannot be trusted"),
    ):
        Repository(f"{host}/x", insecure=False, sleep=slept.append).has(LARGE)
    assert slept == []
