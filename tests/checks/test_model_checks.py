"""The layer ``model``: pickles, digests, tokenizers, names, graphs."""

from __future__ import annotations

import ast
import gzip
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from checked import checked, small, told
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from serinus.checks import Verdict
from serinus.checks.model import CHECKS
from serinus.checks.model.graph import read, rows
from serinus.checks.model.interface import names
from serinus.checks.model.pickles import is_object_array, is_pickle, kind
from serinus.checks.model.tokenizer import highest

BARE = '[service]\nname = "mood"\n\n[model]\npath = "model.onnx"\n'


def embedding(count: int) -> onnx.ModelProto:
    """input_ids -> rows of a table, by way of a Cast."""
    table = numpy_helper.from_array(np.zeros((count, 4), dtype=np.float32), "words")
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["words", "ids"], ["vectors"]),
    ]
    ends = (
        [helper.make_tensor_value_info("input_ids", TensorProto.INT32, [None])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [None, 4])],
    )
    graph = helper.make_graph(nodes, "g", *ends, initializer=[table])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def bare(folder: Path, **files: str) -> Path:
    small(folder, serinus__toml=BARE, service__py="", examples__jsonl="", **files)
    onnx.save(embedding(10), folder / "model.onnx")
    return folder


def only(folder: Path, check: str) -> Verdict:
    return checked(folder, check, checks=CHECKS)[check]


@given(
    st.recursive(st.integers() | st.text() | st.none(), lambda v: st.lists(v) | st.dictionaries(st.text(), v))
)
def test_every_pickle_is_told_by_its_bytes(value: object) -> None:
    for protocol in (2, 3, 4, 5):
        assert is_pickle(pickle.dumps(value, protocol)[:4096])


@given(st.binary(max_size=200))
def test_other_bytes_are_no_pickle(data: bytes) -> None:
    assert not is_pickle(b"\x08" + data)
    assert not is_object_array(b"\x08" + data)


def test_pickles_in_many_wrappings(tmp_path: Path) -> None:
    data = pickle.dumps({"a": 1})
    (tmp_path / "a.bin").write_bytes(data)
    (tmp_path / "b.gz").write_bytes(gzip.compress(data))
    (tmp_path / "old.pkl").write_bytes(pickle.dumps([1], 0))
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.save(tmp_path / "plain.npy", np.zeros(3))
    np.savez(tmp_path / "plain.npz", a=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("weights/data.pkl", data)
    onnx.save(embedding(3), tmp_path / "model.onnx")
    found = {file.name: bool(kind(file)) for file in tmp_path.iterdir()}
    assert found == {
        "a.bin": True, "b.gz": True, "old.pkl": True, "objects.npy": True, "plain.npy": False,
        "plain.npz": False, "weights.pt": True, "model.onnx": False,
    }  # fmt: skip


def test_a_pickle_is_told_of_and_forbidden_where_the_project_says_so(tmp_path: Path) -> None:
    folder = bare(tmp_path)
    assert "no pickle among" in told(only(folder, "model.pickle"))
    (folder / "words.joblib").write_bytes(pickle.dumps([1, 2]))
    verdict = only(folder, "model.pickle")
    assert verdict.status == "passed"
    assert "words.joblib is a pickle" in verdict.summary
    (folder / "serinus.toml").write_text(BARE + "\n[checks.model]\nforbid_pickle = true\n")
    verdict = only(folder, "model.pickle")
    assert (verdict.status, verdict.findings[0].file) == ("failed", "words.joblib")


def test_the_digest_is_said_and_held_to(tmp_path: Path) -> None:
    folder = bare(tmp_path)
    verdict = only(folder, "model.digest")
    assert verdict.status == "not applicable"
    digest = verdict.summary.partition("the model is ")[2].partition(".")[0]
    (folder / "serinus.toml").write_text(BARE + f'digest = "{digest}"\n')
    assert only(folder, "model.digest").status == "passed"
    onnx.save(embedding(11), folder / "model.onnx")
    assert only(folder, "model.digest").status == "failed"


@pytest.mark.parametrize(
    ("document", "last"),
    [
        ({"model": {"vocab": {"a": 0, "b": 7}}}, 7),
        ({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 9}]}, 9),
        ({"model": {"vocab": [["a", 0.1], ["b", 0.2]]}}, 1),
    ],
)
def test_the_highest_id(document: dict[str, object], last: int) -> None:
    assert highest(document) == last


@pytest.mark.parametrize(("last", "status"), [(9, "passed"), (10, "failed")])
def test_ids_must_be_rows_of_the_embedding(tmp_path: Path, last: int, status: str) -> None:
    folder = bare(tmp_path)
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0, "b": last}}}))
    verdict = only(folder, "model.tokenizer")
    assert verdict.status == status, told(verdict)


@given(st.integers(1, 40))
def test_rows_are_those_of_the_table(count: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        onnx.save(embedding(count), file)
        graph = read(file)
    assert rows(graph, "input_ids") == count
    assert rows(graph, "other") is None
    assert (graph.inputs, graph.outputs) == (("input_ids",), ("vectors",))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('s.run(["a", "b"], {"x": 1})', {"a", "b", "x"}),
        ('s.run(None, {"x": 1})', {"x"}),
        ('s.run(output_names=["a"], input_feed={"x": 1})', {"a", "x"}),
        ('def f():\n    feed = {"x": 1}\n    return s.run(["a"], feed)', {"a", "x"}),
        ('def f():\n    feed = {"x": 1}\n    feed = g(feed)\n    return s.run(["a"], feed)', set()),
        ('s.run(names, {"x": 1})', set()),
        ('import subprocess\nsubprocess.run(["ls"], {})', set()),
        ('app.run(port=1)', set()),
    ],
)  # fmt: skip
def test_only_literal_names_are_read(source: str, found: set[str]) -> None:
    assert {one.name for one in names(ast.parse(source))} == found


def test_a_contract_must_fit_the_graph(tmp_path: Path) -> None:
    folder = bare(tmp_path)
    assert only(folder, "model.interface").status == "passed"
    numbers = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 1}
    request = {"type": "object", "properties": {"input_ids": numbers}, "required": ["input_ids"],
               "additionalProperties": False}  # fmt: skip
    (folder / "response.json").write_text('{"type": "object"}')
    files = '\n[contract]\nrequest = "request.json"\nresponse = "response.json"\n'
    (folder / "serinus.toml").write_text(BARE + files)
    (folder / "request.json").write_text(json.dumps(request))
    verdict = only(folder, "model.interface")
    assert verdict.status == "passed", told(verdict)
    (folder / "request.json").write_text(json.dumps(request).replace("input_ids", "ids"))
    verdict = only(folder, "model.interface")
    assert verdict.status == "failed"
    assert "/ids" in told(verdict) or "input_ids" in told(verdict)


def test_a_malformed_model_is_found(tmp_path: Path) -> None:
    folder = bare(tmp_path)
    verdict = only(folder, "model.onnx")
    assert verdict.status == "passed", told(verdict)
    model = embedding(10)
    model.graph.node[1].input[1] = "made_by_nobody"
    onnx.save(model, folder / "model.onnx")
    verdict = only(folder, "model.onnx")
    assert verdict.status == "failed"
    assert "made_by_nobody" in told(verdict)


@pytest.mark.network
def test_a_model_that_does_not_load_is_found(tmp_path: Path) -> None:
    folder = bare(tmp_path)
    verdict = only(folder, "model.loads")
    assert verdict.status == "passed", told(verdict)
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    verdict = only(folder, "model.loads")
    assert verdict.status == "failed"
    assert "model.onnx does not load" in told(verdict)


def test_a_model_that_is_not_there_is_the_failure_of_one_check(tmp_path: Path) -> None:
    folder = bare(tmp_path)
    (folder / "model.onnx").unlink()
    found = checked(folder, "model.loads", "model.onnx", checks=CHECKS)
    assert (found["model.loads"].status, found["model.onnx"].status) == ("failed", "blocked")
