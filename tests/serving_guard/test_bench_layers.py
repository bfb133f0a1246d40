"""The script that says where the time of a request goes: stacks in, layers out, a table, a picture."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCH = Path(__file__).resolve().parents[2] / "bench" / "serving"
SOURCE = BENCH.parents[1] / "src"


def parts(*names: str) -> list[ModuleType]:
    """Modules of the bench, a folder of scripts; names that other folders have, too, are theirs again."""
    own = {file.stem for file in BENCH.glob("*.py")}
    theirs = {name: sys.modules.pop(name) for name in own & sys.modules.keys()}
    sys.path.insert(0, str(BENCH))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(BENCH))
        for name in own & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(theirs)


layers, flame, report = parts("layers", "flame", "report")


@pytest.mark.parametrize(
    ("stack", "layer"),
    [
        (["serve (serinus/serving/server.py)"], "server"),
        (["Router.__call__ (serinus/serving/app.py)"], "routing"),
        (["Router.__call__ (serinus/serving/app.py)", layers.EXCHANGE], "server"),
        (["OnnxService._decode (serinus/serving/onnx.py)"], "decode"),
        (
            ["OnnxService._decode (serinus/serving/onnx.py)", "Reader.read (serinus/serving/reading.py)"],
            "tensor",
        ),
        (["OnnxService._here (serinus/serving/onnx.py)", "Session.run (onnxruntime/capi/x.py)"], "run"),
        (["AccessLog.flush (serinus/serving/logs.py)"], "metrics"),
        (["AccessLog.flush (serinus/serving/logs.py)", "WeakSet.add (_weakrefset.py)"], "metrics"),
        (["OnnxService._answer (serinus/serving/onnx.py)", "<lambda> (<string>)"], "routing"),
        (["predict (service.py)"], "run"),
        (["predict (service.py)", "loads (json/decoder.py)"], "run"),
        (["app (granian_layers.py)", "tensor (granian_layers.py)"], "tensor"),
        (["app (granian_layers.py)"], "server"),
        (["wait (threading.py)", "<lambda> (<string>)"], "server"),
        (["main (runpy.py)"], "other"),
        ([layers.NATIVE], layers.NATIVE),
    ],
)
def test_a_stack_belongs_to_the_innermost_function_that_has_a_layer(stack: list[str], layer: str) -> None:
    assert layers.layer_of(stack) == layer


def test_the_calls_for_body_and_answer_are_the_servers() -> None:
    lines = (SOURCE / "serinus/serving/rsgi.py").read_text().splitlines()
    number = next(at for at, line in enumerate(lines, 1) if "await exchange()" in line)
    frame = "body (serinus/serving/rsgi.py:%d)"
    [stacks] = layers.read([f"thread (7): MainThread;{frame % number} 3"]).values()
    assert stacks == {("body (serinus/serving/rsgi.py)", layers.EXCHANGE): 3}
    [stacks] = layers.read([f"thread (7): MainThread;{frame % (number + 1)} 3"]).values()
    assert stacks == {("body (serinus/serving/rsgi.py)",): 3}
    assert not layers.exchanges("f (no/such/file.py:1)")


names = st.sampled_from(["a (x.py)", "b (x.py)", "serve (serinus/serving/server.py)"])
stacks = st.dictionaries(st.lists(names, min_size=1, max_size=4).map(tuple), st.integers(1, 50), min_size=1)


@given(
    st.dictionaries(st.integers(1, 5), stacks, max_size=3),
    st.dictionaries(st.integers(1, 6), st.floats(0, 9)),
)
def test_all_processor_time_is_dealt_out_once(
    looks: dict[int, dict[tuple[str, ...], int]], spent: dict[int, float]
) -> None:
    times = layers.times(looks, spent, 100, 10.0)
    found = layers.Profile(1.0, times)
    assert sum(times.values()) == pytest.approx(sum(spent.values()) / 100 * 1e6)
    assert sum(found.layers.values()) == pytest.approx(sum(times.values()))


def test_looks_at_a_sleeping_thread_do_not_count() -> None:
    serve, work = ("serve (serinus/serving/server.py)",), ("f (service.py)",)
    assert layers.awake({serve: 80, work: 20}, 0.5) == {serve: 30, work: 20}
    assert layers.awake({serve: 10, work: 90}, 0.5) == {serve: 0, work: 90}
    assert layers.awake({work: 5}, 0.5) == {work: 5}


@given(st.text(), st.text(), st.text())
def test_a_table_is_written_into_its_place_and_nowhere_else(before: str, after: str, text: str) -> None:
    page = f"{before}{layers.BEGIN}\nold\n{layers.END}{after}"
    once = layers.written(page, text)
    assert once == f"{before}{layers.BEGIN}\n\n{text}\n\n{layers.END}{after}"


@pytest.mark.parametrize("page", ["", layers.BEGIN, f"{layers.END} {layers.BEGIN}"])
def test_a_page_without_the_place_is_an_error(page: str) -> None:
    with pytest.raises(layers.CannotMeasureError, match="the page has no"):
        layers.written(page, "text")


def test_the_documentation_has_the_place_and_a_picture_without_paths_of_a_machine() -> None:
    folder = SOURCE.parent / "docs" / "explanation"
    page = (folder / "serving.md").read_text()
    assert layers.written(page, "text") != page
    assert "| server |" in page
    picture = (folder / "serving-small.svg").read_text()
    assert len(picture) < 300_000
    ElementTree.fromstring(picture)
    assert "(/" not in picture


@given(
    st.dictionaries(
        st.lists(st.text('a<&"é', min_size=1), max_size=4).map(tuple),
        st.floats(1e-3, 1e4) | st.just(0.0),
        min_size=1,
    )
)
def test_the_picture_is_xml_and_as_wide_as_all_of_its_boxes(times: dict[tuple[str, ...], float]) -> None:
    root = ElementTree.fromstring(flame.draw(times, "<title>", lambda path: "#fff", {"all": "#fff"}))
    boxes = root.findall(".//{http://www.w3.org/2000/svg}g/{http://www.w3.org/2000/svg}rect")
    right = max(float(box.attrib["x"]) + float(box.attrib["width"]) for box in boxes)
    assert right <= flame.WIDTH - flame.MARGIN + 1
    assert flame.tree(times).microseconds == pytest.approx(sum(times.values()))


# ------------------------------------------------------------------------------------- ratios


def test_a_ratio_is_that_of_the_rounds_not_of_the_medians() -> None:
    ratio = report.Ratio.of([100.0, 10.0, 40.0], [50.0, 5.0, 80.0])
    assert ratio == report.Ratio(2.0, 0.5, 2.0)
    claim = report.Claim.of("as fast", ratio, 2.0)
    assert str(claim) == "- as fast: 2 (rounds: 0.5 to 2), at least 2: holds"
    with pytest.raises(ValueError, match="zip"):
        report.Ratio.of([1.0], [])


rates = st.lists(st.tuples(st.floats(1, 1e5), st.floats(1, 1e5)), min_size=1)


@given(rates, st.floats(0.1, 10))
def test_a_slow_round_changes_no_ratio(pairs: list[tuple[float, float]], slow: float) -> None:
    ours, theirs = zip(*pairs, strict=True)
    ratio = report.Ratio.of(ours, theirs)
    again = report.Ratio.of([own * slow for own in ours], [other * slow for other in theirs])
    assert again.median == pytest.approx(ratio.median)
    assert ratio.low <= ratio.median <= ratio.high
