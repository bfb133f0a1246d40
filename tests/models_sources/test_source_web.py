"""Models from the web: one file, whose digest is known, whatever the server and the network do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fetching import LARGE, Machine, contents, sha256

from fakes.cloud import Answer, Asked, Authority, Double, ranged, secured
from serinus.errors import ModelError, SourceUnavailable
from serinus.events import Progress
from serinus.models import Found
from serinus.models.forms import Web
from serinus.models.sources.web import WebFile

DIGEST = sha256(LARGE)
HEX = DIGEST.removeprefix("sha256:")


@pytest.fixture
def secure(double: Double, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The double behind TLS, its authority trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with secured(double, authority) as url:
        yield url


def whole(asked: Asked) -> Answer:
    return ranged(asked, LARGE, '"one"')


def bring(url: str, folder: Path, sha: str = HEX) -> Path:
    """Fetch by the adapter alone, without waiting between tries."""
    folder.mkdir(exist_ok=True)
    source = WebFile(Web(url, sha), sleep=lambda seconds: None)
    source.fetch(source.find(), folder, lambda done, total: None)
    (file,) = folder.iterdir()
    return file


@pytest.mark.usefixtures("authority")
def test_a_file_comes_over_tls_with_progress(machine: Machine, double: Double, authority: Authority) -> None:
    double.on("GET", "/models/m%20%C3%A4.onnx", whole)
    with secured(double, authority) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority.file))
        found = machine.fetch(f"{url}/models/m%20%C3%A4.onnx?token=secret#sha256={HEX}")
    assert contents(found) == {"m ä.onnx": LARGE}
    assert found.digest == DIGEST
    assert found.uri == f"{url}/models/m%20%C3%A4.onnx#sha256={HEX}"  # without the token
    assert Progress("model", len(LARGE), len(LARGE)) in machine.events
    assert double.seen[0].path.endswith("?token=secret")


def test_model_digest_says_the_digest_too_and_then_nobody_is_asked(machine: Machine, double: Double) -> None:
    double.on("GET", "/m", whole)
    machine.fetch(f"{double.url}/m", digest=DIGEST)
    machine.fetch(f"{double.url}/m", digest=DIGEST)
    assert len(double.seen) == 1
    with pytest.raises(ModelError, match="has no digest"):
        machine.fetch(f"{double.url}/m")


def test_another_content_is_refused_and_not_kept(machine: Machine, double: Double) -> None:
    double.on("GET", "/m", lambda asked: Answer(200, b"something else"))
    with pytest.raises(ModelError, match=rf"is sha256:\w+ \(14 bytes\), expected {DIGEST}"):
        machine.fetch(f"{double.url}/m#sha256={HEX}")
    assert not machine.left()
    assert not list(machine.cache.rglob("m"))


def test_a_cut_connection_is_gone_on_with_where_it_was_cut(tmp_path: Path, double: Double) -> None:
    def cutting(asked: Asked) -> Answer:
        answer = whole(asked)
        return Answer(answer.status, answer.body, answer.headers, cut=len(answer.body) // 2)

    double.on("GET", "/m", lambda asked: cutting(asked) if len(double.seen) < 4 else whole(asked))
    assert bring(f"{double.url}/m", tmp_path / "x").read_bytes() == LARGE
    starts = [int(a.headers["range"][6:-1]) for a in double.seen[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 0
    assert {a.headers["if-range"] for a in double.seen[1:]} == {'"one"'}


@pytest.mark.parametrize("etag", ['"two"', 'W/"one"', ""])
def test_a_file_that_changed_meanwhile_or_has_no_strong_mark_is_begun_anew(
    tmp_path: Path, double: Double, etag: str
) -> None:
    def first(asked: Asked) -> Answer:
        return Answer(200, b"x" * 1000, {"etag": '"one"' if etag == '"two"' else etag}, cut=500)

    double.on("GET", "/m", lambda a: first(a) if len(double.seen) == 1 else ranged(a, LARGE, etag))
    assert bring(f"{double.url}/m", tmp_path / "x").read_bytes() == LARGE


def test_without_ranges_the_whole_file_comes_again(tmp_path: Path, double: Double) -> None:
    def plain(asked: Asked) -> Answer:
        return Answer(200, LARGE, {"etag": '"one"'}, cut=1000 if len(double.seen) < 3 else -1)

    double.on("GET", "/m", plain)
    assert bring(f"{double.url}/m", tmp_path / "x").read_bytes() == LARGE


def test_a_server_that_goes_on_elsewhere_is_an_error(tmp_path: Path, double: Double) -> None:
    def lying(asked: Asked) -> Answer:
        if len(double.seen) == 1:
            return Answer(200, LARGE, {"etag": '"one"'}, cut=1000)
        return Answer(206, LARGE[5:], {"content-range": f"bytes 5-{len(LARGE) - 1}/{len(LARGE)}"})

    double.on("GET", "/m", lying)
    with pytest.raises(ModelError, match=r"came with the Content-Range 'bytes 5-"):
        bring(f"{double.url}/m", tmp_path / "x")


@pytest.mark.parametrize("length", [10, len(LARGE) + 10])
def test_lies_about_the_length_are_found_out(tmp_path: Path, double: Double, length: int) -> None:
    double.on("GET", "/m", lambda asked: Answer(200, LARGE, length=length))
    with pytest.raises(ModelError):
        bring(f"{double.url}/m", tmp_path / "x")


def test_an_answer_without_a_length_will_do(tmp_path: Path, double: Double) -> None:
    double.on("GET", "/m", lambda asked: Answer(200, LARGE, length=-1))
    assert bring(f"{double.url}/m", tmp_path / "x").read_bytes() == LARGE


def test_busy_servers_are_asked_again_and_others_are_not(tmp_path: Path, double: Double) -> None:
    double.on("GET", "/busy", lambda a: Answer(503) if len(double.asked("busy")) < 3 else whole(a))
    double.on("GET", "/down", lambda asked: Answer(500))
    double.on("GET", "/mine", lambda asked: Answer(401))
    assert bring(f"{double.url}/busy", tmp_path / "a").read_bytes() == LARGE
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        bring(f"{double.url}/down", tmp_path / "b")
    with pytest.raises(ModelError, match=r"(?s)may not be read.*~/\.netrc"):
        bring(f"{double.url}/mine", tmp_path / "c")
    with pytest.raises(ModelError, match="there is no model"):
        bring(f"{double.url}/gone", tmp_path / "d")
    assert len(double.asked("mine")) == len(double.asked("gone")) == 1


def test_a_redirect_is_followed_but_not_to_plain_http(tmp_path: Path, double: Double, secure: str) -> None:
    double.on("GET", "/here", lambda asked: Answer(302, headers={"location": "/there"}))
    double.on("GET", "/there", whole)
    double.on("GET", "/plain", lambda asked: Answer(302, headers={"location": "http://models.example/m"}))
    double.on("GET", "/round", lambda asked: Answer(302, headers={"location": "/round"}))
    assert bring(f"{secure}/here", tmp_path / "x").read_bytes() == LARGE
    with pytest.raises(ModelError, match="was to be asked over http"):
        bring(f"{secure}/plain", tmp_path / "y")
    with pytest.raises(ModelError, match="redirects"):
        bring(f"{secure}/round", tmp_path / "z")


def test_the_netrc_speaks_to_its_own_host_alone(
    tmp_path: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(file))
    port = double.address[1]
    double.on("GET", "/m", lambda asked: Answer(302, headers={"location": f"http://localhost:{port}/n"}))
    double.on("GET", "/n", whole)
    bring(f"{double.url}/m", tmp_path / "x")
    assert [asked.headers.get("authorization", "")[:6] for asked in double.seen] == ["Basic ", ""]
    file.write_text("machine")
    with pytest.raises(ModelError, match="netrc cannot be read"):
        bring(f"{double.url}/m", tmp_path / "y")


def test_a_certificate_of_nobody_and_a_closed_port_are_told(
    tmp_path: Path, double: Double, authority: Authority
) -> None:
    with (
        secured(double, authority) as url,
        pytest.raises(ModelError, match="certificate that cannot be trusted"),
    ):
        bring(f"{url}/m", tmp_path / "x")
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        bring("http://127.0.0.1:1/m", tmp_path / "y")


def test_what_was_fetched_is_the_digests(tmp_path: Path) -> None:
    found = WebFile(Web("https://a.example/m?sig=x", HEX)).find()
    assert found == Found(f"https://a.example/m#sha256={HEX}", DIGEST, DIGEST)
