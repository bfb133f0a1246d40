"""Models from object stores: S3 as moto plays it, Google's and Azure's by doubles of what is called there."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from fetching import FILES, LARGE, Machine, contents, project, sha256

from fakes.cloud import Answer, Double
from fakes.stores import azure, google
from serinus.errors import ModelError, SourceUnavailable
from serinus.events import Progress
from serinus.models import Found
from serinus.models.forms import Bucket
from serinus.models.sources.bucket import Objects
from serinus.models.sources.failures import need

# S3


@pytest.fixture
def s3(aws: Any) -> Any:
    """A bucket with a model."""
    client = aws.client("s3")
    client.create_bucket(Bucket="models")
    for path, data in FILES.items():
        client.put_object(Bucket="models", Key=f"mood/{path}", Body=data)
    return client


def test_an_object_of_s3(machine: Machine, s3: Any) -> None:
    found = machine.fetch("s3://models/mood/model.onnx")
    assert contents(found) == {"model.onnx": LARGE}
    assert found.uri == "s3://models/mood/model.onnx"
    assert Progress("model", len(LARGE), len(LARGE)) in machine.events
    machine.fetch("s3://models/mood/model.onnx")
    assert not [event for event in machine.events if isinstance(event, Progress)]


def test_a_prefix_of_s3(machine: Machine, s3: Any) -> None:
    s3.put_object(Bucket="models", Key="mood/", Body=b"")
    s3.put_object(Bucket="models", Key="mood-other/x", Body=b"")
    for source in ("s3://models/mood", "s3://models/mood/"):
        found = machine.fetch(source)
        assert contents(found) == FILES
        assert found.name == "mood"
    s3.put_object(Bucket="models", Key="mood/sub/tokenizer.json", Body=b"new")
    assert contents(machine.fetch("s3://models/mood"))["sub/tokenizer.json"] == b"new"


def test_a_version_of_s3_is_named_and_stays(machine: Machine, s3: Any) -> None:
    s3.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
    one = s3.put_object(Bucket="models", Key="m", Body=b"one")["VersionId"]
    two = s3.put_object(Bucket="models", Key="m", Body=b"two")["VersionId"]
    now = machine.fetch("s3://models/m")
    assert (contents(now), now.uri) == ({"m": b"two"}, f"s3://models/m?versionId={two}")
    assert contents(machine.fetch(f"s3://models/m?versionId={one}")) == {"m": b"one"}


def test_s3_says_what_is_missing(machine: Machine, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ("s3://models/none", "s3://no-such-bucket/m"):
        with pytest.raises(ModelError, match="there is no model s3://"):
            machine.fetch(source)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ModelError, match=r"(?s)may not be read.*AWS_ACCESS_KEY_ID"):
        machine.fetch("s3://models/mood")


def test_what_is_replaced_while_it_is_fetched_is_no_model(machine: Machine, s3: Any) -> None:
    source = Objects(Bucket("s3", "models", "mood/model.onnx"))
    found = source.find()
    folder = machine.root / "folder"
    folder.mkdir()

    def replacing(done: int, total: int | None) -> None:
        s3.put_object(Bucket="models", Key="mood/model.onnx", Body=b"another")

    with pytest.raises(ModelError, match="was replaced while it was fetched"):
        source.fetch(found, folder, replacing)


def test_a_closed_store_is_unavailable_and_a_version_serves(
    machine: Machine, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        machine.fetch("s3://models/mood/model.onnx")


# Google


@pytest.fixture
def gs(double: Double, monkeypatch: pytest.MonkeyPatch) -> Double:
    google(double, {f"mood/{path}": data for path, data in FILES.items()})
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", double.url)
    return double


def test_an_object_and_a_prefix_of_google(machine: Machine, gs: Double) -> None:
    one = machine.fetch("gs://models/mood/model.onnx")
    assert (contents(one), one.uri) == ({"model.onnx": LARGE}, "gs://models/mood/model.onnx#17")
    assert Progress("model", len(LARGE), len(LARGE)) in machine.events
    assert contents(machine.fetch("gs://models/mood/model.onnx#17")) == {"model.onnx": LARGE}
    every = machine.fetch("gs://models/mood")
    assert (contents(every), every.uri) == (FILES, "gs://models/mood")


def test_google_says_what_is_missing(machine: Machine, gs: Double) -> None:
    with pytest.raises(ModelError, match="there is no model gs://"):
        machine.fetch("gs://models/mood/model.onnx#18")
    refusal = json.dumps({"error": {"message": "caller has no access", "code": 401}}).encode()
    gs.on("GET", "/storage/.*", lambda asked: Answer(401, refusal, {"content-type": "application/json"}))
    with pytest.raises(ModelError, match=r"(?s)may not be read.*GOOGLE_APPLICATION_CREDENTIALS"):
        machine.fetch("gs://models/mood/model.onnx")


# Azure


@pytest.fixture
def blobs(double: Double, monkeypatch: pytest.MonkeyPatch) -> Double:
    azure(double, {f"mood/{path}": data for path, data in FILES.items()}, "/account/models")
    key = base64.b64encode(b"no key of anybody").decode()
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey={key};BlobEndpoint={double.url}/account;",
    )
    return double


def test_a_blob_and_a_prefix_of_azure(machine: Machine, blobs: Double) -> None:
    one = machine.fetch("abfs://models/mood/model.onnx")
    assert (contents(one), one.uri) == ({"model.onnx": LARGE}, "abfs://models/mood/model.onnx")
    assert Progress("model", len(LARGE), len(LARGE)) in machine.events
    assert contents(machine.fetch("abfs://models/mood/")) == FILES


def test_azure_says_what_is_missing(machine: Machine, blobs: Double) -> None:
    with pytest.raises(ModelError, match="there is no model abfs://"):
        machine.fetch("abfs://models/none")
    blobs.on(
        "GET|HEAD", "/account/.*", lambda asked: Answer(403, b"", {"x-ms-error-code": "AuthenticationFailed"})
    )
    with pytest.raises(ModelError, match=r"(?s)may not be read.*AZURE_STORAGE_ACCOUNT_NAME"):
        machine.fetch("abfs://models/mood/model.onnx")


# Of all


@pytest.mark.parametrize("key", ["../evil", "/evil", "a/../../evil"])
@pytest.mark.parametrize("play", [google, lambda d, s: azure(d, s, "/account/models")])
def test_a_name_that_leads_out_of_the_folder_is_refused(
    machine: Machine,
    double: Double,
    monkeypatch: pytest.MonkeyPatch,
    play: Callable[[Double, dict[str, bytes]], None],
    key: str,
) -> None:
    play(double, {f"mood/{key}": b"x", "mood/model.onnx": b"y"})
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", double.url)
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey=eA==;BlobEndpoint={double.url}/account;",
    )
    with pytest.raises(ModelError):
        machine.fetch("gs://models/mood/" if play is google else "abfs://models/mood/")
    assert not list(machine.root.rglob("evil*"))


def test_a_missing_library_is_named_with_how_to_get_it() -> None:
    with pytest.raises(ModelError) as caught:
        need("no_such_library.inner", "gs", "the model gs://a/b")
    assert str(caught.value) == (
        "the model gs://a/b needs no_such_library, which is not installed\npip install 'serinus[gs]'"
    )


def test_what_is_found_says_size_and_identity(s3: Any) -> None:
    found = Objects(Bucket("s3", "models", "mood/")).find()
    assert isinstance(found, Found)
    assert found.size == sum(map(len, FILES.values()))
    assert len(found.identity) == 64


def test_the_digest_of_the_project_is_for_the_build_to_hold_to(machine: Machine, s3: Any) -> None:
    from serinus.image.sources import with_model

    right = project(machine.root, "s3://models/mood/model.onnx", digest=sha256(LARGE))
    assert with_model(right, cache=machine.cache).fetched
    wrong = project(machine.root, "s3://models/mood/model.onnx", digest=sha256(b"other"))
    with pytest.raises(ModelError, match="as model.digest says"):
        with_model(wrong, cache=machine.cache)
