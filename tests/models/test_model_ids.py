"""Ids, facts and manifests: pure, and so tested by what must hold for all of them."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serinus.errors import ModelError
from serinus.models import ids
from serinus.models.compare import compare, pairs
from serinus.models.digest import model_digest
from serinus.models.facts import (
    Facts,
    Lineage,
    check_metrics,
    facts_of,
    parse_metric,
    parse_param,
    to_annotations,
)
from serinus.models.formats import parts_of
from serinus.models.ids import Id
from serinus.models.lineage import params_around, without_password
from serinus.models.lookup import ranges
from serinus.models.manifest import Stored, artifact, format_of, kind_of
from serinus.registry import MANIFEST
from serinus.registry.content import parse_manifest

names = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8}){0,2}", fullmatch=True)
versions = st.integers(1, 999_999_999)
aliases = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(lambda a: a != ids.NEWEST)
digests = st.text(string.hexdigits[:16], min_size=64, max_size=64).map("sha256:{}".format)
valid = st.one_of(
    st.builds(Id, names),
    st.builds(Id, names, version=versions),
    st.builds(Id, names, alias=aliases),
    st.builds(Id, names, digest=digests),
)


@given(valid)
def test_an_id_is_read_as_it_is_written(one: Id) -> None:
    assert ids.parse(str(one)) == one


@given(st.text(max_size=40) | st.text("ab:@.-_/1 ", max_size=12))
def test_any_text_is_an_id_or_an_error_that_shows_it(text: str) -> None:
    try:
        found = ids.parse(text)
    except ModelError as error:
        assert "expected" in error.message
        assert error.todo
    else:
        assert ids.parse(str(found)) == found


def test_latest_is_the_newest() -> None:
    assert ids.parse("x@latest") == Id("x")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Sentiment", "the name 'Sentiment', expected lower-case"),
        ("a/b:1", "the name 'a/b'"),
        ("a:0", "the version '0', expected a number from 1"),
        ("a:production", "An alias stands behind '@': a@production."),
        ("a@3", "the alias '3', expected a letter"),
        ("a@sha256:12", "the alias 'sha256:12'"),
        ("", "'' is no name of a model"),
    ],
)
def test_a_wrong_id_is_told(text: str, told: str) -> None:
    with pytest.raises(ModelError) as error:
        ids.parse(text)
    assert told in str(error.value)


@given(versions, st.text("0123456789", max_size=3))
def test_a_version_is_no_alias_and_an_alias_no_version(number: int, more: str) -> None:
    assert ids.version_of(str(number)) == number
    assert not ids.is_alias(str(number))
    assert not ids.is_alias(f"sha256-{'0' * 64}{more}")
    assert not ids.version_of(f"0{more}")


plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
values = (
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | plain
)
facts = st.builds(
    Facts,
    created=st.just("2026-01-02T03:04:05Z"),
    content=digests,
    note=st.text(st.characters(codec="utf-8"), max_size=20),
    metrics=st.dictionaries(plain, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    params=st.dictionaries(plain, values, max_size=3),
    interface=st.dictionaries(
        plain, st.fixed_dictionaries({"inputs": st.dictionaries(plain, plain)}), max_size=2
    ),
    lineage=st.builds(
        Lineage,
        commit=st.sampled_from(["", "0" * 40]),
        clean=st.sampled_from([None, True, False]),
        repository=st.sampled_from(["", "https://example.org/x.git"]),
        data=st.dictionaries(plain, digests, max_size=2),
        pipeline=st.sampled_from(["", "train"]),
        run=st.sampled_from(["", "r1"]),
        who=st.sampled_from(["", "ada@host"]),
    ),
    claim=st.sampled_from(["", "00ff"]),
)


@given(facts)
def test_facts_survive_the_manifest(one: Facts) -> None:
    found = facts_of(json.loads(json.dumps(to_annotations("x", 3, one))))
    assert found.to_json() == one.to_json()
    assert found.claim == one.claim
    assert {k: type(v) for k, v in found.params.items()} == {k: type(v) for k, v in one.params.items()}


@given(st.dictionaries(st.sampled_from(["metrics", "params", "interface", "lineage"]), st.text(max_size=20)))
def test_what_others_write_there_is_left_out(told: dict[str, str]) -> None:
    facts_of({f"dev.serinus.model.{key}": text for key, text in told.items()})


@given(plain.filter(lambda t: "=" not in t and t.strip() == t and t), values)
def test_a_parameter_is_read_as_it_is_written(name: str, value: bool | float | str) -> None:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    found_name, found = parse_param(f"{name}={text}")
    assert found_name == name
    if not isinstance(value, str):
        assert found == value
        assert type(found) is type(value)
    else:
        assert not isinstance(found, str) or found == text


@pytest.mark.parametrize("text", ["accuracy", "=1", "a=", "a=nan", "a=inf", "a=high"])
def test_a_metric_is_a_finite_number_with_a_name(text: str) -> None:
    with pytest.raises(ModelError, match="expected"):
        parse_metric(text)
    assert parse_metric("a=1e-3") == ("a", 0.001)


def test_metrics_of_a_file_are_numbers() -> None:
    assert check_metrics({"a": 1, "b": 0.5}, "m.json") == {"a": 1.0, "b": 0.5}
    for wrong in ([], {"a": "1"}, {"a": True}, {"a": float("nan")}, {"a": None}):
        with pytest.raises(ModelError, match=r"m\.json"):
            check_metrics(wrong, "m.json")


paths = st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}){0,2}\.(onnx|json|md|py|csv|bin)", fullmatch=True)


@given(st.dictionaries(paths, digests, min_size=1, max_size=6), names, versions, facts)
def test_a_manifest_says_which_files_it_is_made_of(
    contents: dict[str, str], name: str, version: int, told: Facts
) -> None:
    files = [Stored(path, digest, 7) for path, digest in contents.items()]
    made = artifact(name, version, files, told)
    manifest = parse_manifest(made.body, made.descriptor)
    found = parts_of(manifest, "the model")
    assert {p.path: p.descriptor.digest for p in found} == contents
    assert [p.kind for p in found] == [kind_of(p.path) for p in found]
    assert not any(p.archive for p in found)
    document = json.loads(made.body)
    assert document["mediaType"] == MANIFEST
    assert document["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert document["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    config = json.loads(made.configuration)
    assert set(config) == {"descriptor", "config", "modelfs"}
    assert config["descriptor"]["name"] == name
    assert config["modelfs"] == {
        "type": "layers",
        "diffIds": [layer["digest"] for layer in document["layers"]],
    }
    assert artifact(name, version, files[::-1], told) == made


def test_a_manifest_that_no_registry_takes_is_refused() -> None:
    files = [Stored(f"{i:06d}{'x' * 100}", f"sha256:{i:064x}", 1) for i in range(12_000)]
    with pytest.raises(ModelError, match="12000 files"):
        artifact("x", 1, files, Facts())


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("model.onnx", "weight"),
        ("model.onnx.data", "weight"),
        ("tokenizer.json", "weight.config"),
        ("vocab.txt", "weight.config"),
        ("README.md", "doc"),
        ("LICENSE", "doc"),
        ("LICENSE.txt", "doc"),
        ("predict.py", "code"),
        ("labels.csv", "dataset"),
    ],
)
def test_what_a_file_is_for(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_the_format_is_told_where_there_is_one() -> None:
    assert format_of(["a.onnx", "tokenizer.json"]) == "onnx"
    assert format_of(["a.onnx", "b.safetensors"]) == ""
    assert format_of(["a.weights"]) == ""


@given(st.dictionaries(paths, digests, min_size=1, max_size=5))
def test_the_digest_of_a_content_changes_with_it(contents: dict[str, str]) -> None:
    plain_ = {path: digest.partition(":")[2] for path, digest in contents.items()}
    found = model_digest(plain_)
    assert found == model_digest(dict(reversed(plain_.items())))
    changed = {**plain_, next(iter(plain_)): "f" * 63 + "e"}
    assert (model_digest(changed) == found) is (changed == plain_)
    assert model_digest({}) is None


@given(st.dictionaries(plain, values, max_size=4), st.dictionaries(plain, values, max_size=4))
def test_a_difference_leads_from_one_to_the_other(
    old: dict[str, bool | float | str], new: dict[str, bool | float | str]
) -> None:
    found = pairs(old, new)
    assert pairs(old, old) == {}
    applied = {**old, **{name: to for name, (_, to) in found.items() if to is not None}}
    for name, (_, to) in found.items():
        if to is None:
            del applied[name]
    assert applied == new


def test_an_interface_is_compared_name_by_name() -> None:
    old = Facts(interface={"m.onnx": {"inputs": {"x": "int64[?]"}, "outputs": {"y": "float32[?]"}}})
    new = Facts(
        interface={"m.onnx": {"inputs": {"x": "int32[?]"}, "outputs": {"y": "float32[?]", "z": "bool[]"}}}
    )
    found = compare(({}, {}), old, new)
    assert found.interface == {
        "m.onnx inputs.x": ("int64[?]", "int32[?]"),
        "m.onnx outputs.z": (None, "bool[]"),
    }
    assert found
    assert not compare(({}, {}), old, old)


@given(st.sets(st.integers(1, 30)))
def test_ranges_say_which_numbers(numbers: set[int]) -> None:
    found: set[int] = set()
    for part in filter(None, ranges(sorted(numbers)).split(", ")):
        first, _, last = part.partition(" to ")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ada:secret@example.org/x.git", "https://example.org/x.git"),
        ("https://token@example.org:8443/x", "https://example.org:8443/x"),
        ("git@example.org:acme/x.git", "git@example.org:acme/x.git"),
        ("/srv/x.git", "/srv/x.git"),
    ],
)
def test_no_password_of_a_repository_is_kept(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_parameters_of_a_run_are_plain_values() -> None:
    assert params_around({}) == {}
    assert params_around({"SERINUS_PARAMS": '{"epochs": 3, "quick": true}'}) == {"epochs": 3, "quick": True}
    for wrong in ("[]", "{", '{"a": null}', '{"a": [1]}'):
        with pytest.raises(ModelError, match="SERINUS_PARAMS is"):
            params_around({"SERINUS_PARAMS": wrong})
