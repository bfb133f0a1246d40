"""What a person writes as the source of a model, taken apart."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import ModelError, SerinusError
from serinus.models.address import EXAMPLES, parse
from serinus.models.forms import (
    Address,
    Artifact,
    AzureMl,
    Bucket,
    Hub,
    Local,
    Mlflow,
    Package,
    Registered,
    Web,
)
from serinus.models.ids import Id
from serinus.registry.reference import Reference

HEX = "0123456789abcdef" * 4
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
names = st.from_regex(r"[a-z0-9]+(?:[._-][a-z0-9]+){0,3}", fullmatch=True).filter(lambda n: n not in EXAMPLES)
numbers = st.integers(1, 10**9 - 1)
texts = st.text(st.characters(min_codepoint=0x20, exclude_characters="\x7f"), min_size=1, max_size=30)
paths = st.lists(texts.filter(lambda t: "/" not in t and t not in {".", ".."}), min_size=1, max_size=4).map(
    "/".join
)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
groups = st.from_regex(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,20}", fullmatch=True)
buckets = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}", fullmatch=True)


def _keys(scheme: str) -> st.SearchStrategy[str]:
    """Keys of objects: the sign that begins a version is not one of them."""
    mark = {"s3": "?", "gs": "#"}.get(scheme, "\0")
    return paths.filter(lambda p: mark not in p and p.strip("/") != "")


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    """Any address but those of registries, whose references have tests of their own."""
    scheme = draw(st.sampled_from(["s3", "gs", "abfs"]))
    account = draw(st.sampled_from(["", "@acme.dfs.core.windows.net"])) if scheme == "abfs" else ""
    version = draw(st.sampled_from(["", "1700000000000000"])) if scheme != "abfs" else ""
    made = [
        Local(draw(paths)),
        Registered(draw(st.one_of(
            st.builds(Id, names, version=numbers),
            st.builds(Id, names, alias=st.sampled_from(["production", "Staging.2"])),
            st.builds(Id, names, digest=digests.map("sha256:".__add__)),
            st.builds(Id, names),
        ))),
        Web(f"https://models.example/{quote(draw(paths))}", draw(digests)),
        Bucket(scheme, draw(buckets) + account, draw(_keys(scheme)), version),
        Mlflow(draw(texts.filter(lambda t: not set(t) & set("/:@"))), version=str(draw(numbers))),
        Mlflow("mood", alias=draw(words)),
        Package(draw(groups), str(draw(numbers)), draw(st.sampled_from(
            ["", "arn:aws:sagemaker:eu-central-1:123456789012:model-package"]
        ))),
        AzureMl(*(draw(words) for _ in range(4)), draw(st.sampled_from(["", SUBSCRIPTION]))),
        Hub(f"{draw(words)}/{draw(words)}", draw(texts), draw(st.one_of(st.just(""), paths))),
    ]  # fmt: skip
    return draw(st.sampled_from(made))


@given(addresses())
def test_the_text_of_an_address_reads_as_the_same_address(address: Address) -> None:
    assert parse(str(address)) == address


@given(st.text())
def test_any_text_is_an_address_or_an_error_that_says_what_to_do(text: str) -> None:
    try:
        address = parse(text)
    except SerinusError as error:
        assert error.todo
    else:
        assert parse(str(address)) == address


@given(st.sampled_from([*EXAMPLES, "http", "abfss"]), texts)
def test_whatever_stands_behind_a_known_scheme_is_never_taken_for_a_path(scheme: str, rest: str) -> None:
    try:
        address = parse(f"{scheme}:{rest}")
    except ModelError as error:
        assert error.todo
    else:
        assert isinstance(address, Local) == (scheme == "file")


@pytest.mark.parametrize(("text", "address"), [
    ("model.onnx", Local("model.onnx")),
    ("../models/mood", Local("../models/mood")),
    ("file:///srv/a%20b.onnx", Local("/srv/a b.onnx")),
    ("file:mood.onnx", Local("mood.onnx")),
    ("roberta-sequence:1", Registered(Id("roberta-sequence", 1))),
    ("mood@production", Registered(Id("mood", alias="production"))),
    (f"mood@sha256:{HEX}", Registered(Id("mood", digest=f"sha256:{HEX}"))),
    ("oci://ghcr.io/acme/mood:3", Artifact(Reference("ghcr.io", "acme/mood", "3"))),
    ("oci:build/layout:mood", Artifact(None, "build/layout:mood")),
    (f"https://a.example/m.onnx?x=1#sha256={HEX}", Web("https://a.example/m.onnx?x=1", HEX)),
    ("http://127.0.0.1:8000/m", Web("http://127.0.0.1:8000/m")),
    ("s3://models/mood/?versionId=abc", Bucket("s3", "models", "mood/", "abc")),
    ("gs://models/mood#17", Bucket("gs", "models", "mood", "17")),
    ("abfss://mod@acc.dfs.core.windows.net/m", Bucket("abfs", "mod@acc.dfs.core.windows.net", "m")),
    ("mlflow:models:/my model/3", Mlflow("my model", "3")),
    ("mlflow:models:/mood@champion", Mlflow("mood", alias="champion")),
    ("sagemaker://mood/3", Package("mood", "3")),
    (f"azureml://subscriptions/{SUBSCRIPTION}/resourceGroups/ml/workspaces/nlp/models/mood/versions/3",
     AzureMl("ml", "nlp", "mood", "3", SUBSCRIPTION)),
    ("azureml://resourcegroups/ml/workspaces/nlp/models/mood/versions/3", AzureMl("ml", "nlp", "mood", "3")),
    ("hf://acme/mood", Hub("acme/mood")),
    ("hf://acme/mood@refs%2Fpr%2F1/onnx/model.onnx", Hub("acme/mood", "refs/pr/1", "onnx/model.onnx")),
])  # fmt: skip
def test_forms(text: str, address: Address) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(("text", "said"), [
    ("ftp://x/y", "the scheme 'ftp'"),
    ("mood:production", "An alias stands behind '@': mood@production."),
    ("mood:01", "expected a number from 1"),
    ("oci://", "no repository"),
    ("oci:", "no folder"),
    ("file://elsewhere/x", "the host 'elsewhere'"),
    ("https:///x", "no host"),
    ("https://a.example:port/x", "a URL"),
    ("http://a.example/x", "plain http"),
    ("https://a.example/x#sha256=1", "64 hexadecimal digits"),
    ("https://a.example/x#md5=1", "64 hexadecimal digits"),
    ("s3:models/x", "its name behind '//'"),
    ("s3://models", "that of an object"),
    ("s3://models/../x", "that of an object"),
    ("s3://models/x?version=3", "versionId=<id of a version>"),
    ("gs://models/x#new", "the number of a generation"),
    ("mlflow:runs:/1/model", "models:/NAME/VERSION"),
    ("mlflow:models:/mood/Production", "MLflow has no stages any more"),
    ("sagemaker://mood", "GROUP/VERSION"),
    ("sagemaker://mood/latest", "GROUP/VERSION"),
    ("azureml://ml/nlp/mood/3", "subscription, resource group, workspace, model, version"),
    ("hf://mood", "OWNER/NAME"),
    ("hf://acme/mood/../x", "a path inside the repository"),
    ("a\nb", "without control characters"),
])  # fmt: skip
def test_what_is_wrong_is_named_with_an_example(text: str, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert caught.value.todo


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(ModelError) as caught:
        parse(f"https://me:secret@models.example/m?token=secret#sha256={HEX}")
    assert "secret" not in str(caught.value)
    assert "~/.netrc" in str(caught.value)


@pytest.mark.parametrize(("text", "exact", "fixed"), [
    ("mood@production", False, False), ("mood@latest", False, False), ("mood:3", False, True),
    (f"mood@sha256:{HEX}", True, True),
    ("oci://ghcr.io/acme/mood:3", False, False), (f"oci://ghcr.io/acme/mood@sha256:{HEX}", True, True),
    ("oci:layout:mood", False, False), (f"https://a.example/m#sha256={HEX}", True, True),
    ("s3://models/m", False, False), ("s3://models/m?versionId=x", False, True),
    ("gs://models/m#1", False, True),
    ("mlflow:models:/m/1", False, True), ("mlflow:models:/m@a", False, False),
    ("sagemaker://m/1", False, True),
    (EXAMPLES["azureml"].replace("<id>", SUBSCRIPTION), False, True),
    ("hf://a/m", False, False), ("hf://a/m@v1", False, False), (f"hf://a/m@{'a' * 40}", True, True),
])  # fmt: skip
def test_what_the_cache_may_do(text: str, exact: bool, fixed: bool) -> None:
    address = parse(text)
    assert (address.exact, address.fixed) == (exact, fixed)
