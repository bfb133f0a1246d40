"""Part 5: two workers beside one, for a small model; and the weights of a large one, held once or twice."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from closed import Measured, Settings, figures, measure, ratio, table
from peers import Service, requirements, serinus
from report import Claim, Part, Table
from stand import CACHE, layout, proportional
from tasks import Task, small

TIMES = 1.7
HALF = 0.5
"""Share of the weights that a second worker may take at most: it is to share them."""
LAYERS, WIDTH = 12, 2048
WEIGHTS = LAYERS * WIDTH * WIDTH * 4 / 1e6
"""Megabytes of the large model's weights."""
_SETTLED = 1.0


def two_workers(settings: Settings) -> Part:
    """5: throughput of two workers on two cores over one on one, and the memory of both."""
    task = small()
    most = max(settings.connections)
    own = Settings(settings.rounds, settings.seconds, (most,))
    services = {
        count: serinus(task, "small", count, f"{count} worker{'s' * (count > 1)}") for count in (1, 2)
    }
    runs: dict[int, Measured] = {1: {}, 2: {}}
    for number in range(settings.rounds):
        for count in (1, 2) if number % 2 else (2, 1):
            found = measure([services[count]], Settings(1, own.seconds, own.connections), layout(count))
            for name, counts in found.items():
                kept = runs[count].setdefault(name, {most: []})
                kept[most] += counts[most]
    measured = runs[1] | runs[2]
    times = ratio(measured, "1 worker", most, "2 workers")
    held, claims = weights()
    notes = [
        f"One worker: {layout(1)}; two: {layout(2)}. Where service and load share cores, they share as many "
        "as there are workers: what the load takes is taken from both.",
        f"The large model has {WEIGHTS:.0f} MB of weights, in its one file or in a second one beside it.",
    ]
    return Part(
        "5. Two workers",
        [table(measured, most, "2 workers"), held],
        [Claim.of(f"two workers over one, {most} connections", times, TIMES), *claims],
        notes,
        figures(measured) | {"memory": [list(row) for row in held.rows]},
    )


def weights() -> tuple[Table, list[Claim]]:
    """The memory of one worker and of two with a large model, and what the second one adds."""
    rows: list[tuple[Any, ...]] = []
    claims = []
    for form in ("one", "beside"):
        sizes = [_weighed(form, count) for count in (1, 2)]
        added = sizes[1] - sizes[0]
        shown = "weights in the model's file" if form == "one" else "weights in a file beside it"
        rows.append((shown, *sizes, added))
        claims.append(Claim(f"a second worker's share of the {shown}", added / WEIGHTS, HALF, least=False))
    heads = ("Large model, proportional MB", "one worker", "two workers", "the second adds")
    return Table(heads, rows), claims


def _weighed(form: str, count: int) -> float:
    task = Task("large", ({"X": [[0.0] * WIDTH]},), ({"Y": [[0.0] * WIDTH]},))
    service: Service = serinus(task, f"large-{form}", count, f"large, {form}, {count}", write=_write)
    with service.run(layout(2).service) as started:
        for _ in range(8):  # the kernel spreads connections: each worker has answered
            service.check(started)
        time.sleep(_SETTLED)
        size = proportional(started.pids(service.without))
    print(f"large model, {form}, {count}: {size:.0f} MB", file=sys.stderr)
    return size


def _write(folder: Path, name: str, count: int) -> None:
    """The project of a large model: random weights, in one file or in two."""
    source = model(beside=name.endswith("beside"))
    for file in source.iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).hardlink_to(file)
    text = f'[service]\nname = "{name}"\nworkers = {count}\n[model]\npath = "model.onnx"\n'
    (folder / "serinus.toml").write_text(text)
    (folder / "requirements.txt").write_text(requirements("granian", "numpy", "onnxruntime"))


def model(*, beside: bool) -> Path:
    """A folder with a model of :data:`LAYERS` matrix products with random weights, made once."""
    folder = CACHE / "models" / ("beside" if beside else "one")
    if (folder / "model.onnx").is_file():
        return folder
    import numpy
    import onnx
    from onnx import helper, numpy_helper

    chance = numpy.random.default_rng(1)
    nodes, stored, name = [], [], "X"
    for number in range(LAYERS):
        matrix = (chance.standard_normal((WIDTH, WIDTH)) / WIDTH).astype(numpy.float32)
        stored.append(numpy_helper.from_array(matrix, f"w{number}"))
        result = "Y" if number == LAYERS - 1 else f"h{number}"
        nodes.append(helper.make_node("MatMul", [name, f"w{number}"], [result]))
        name = result
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", WIDTH]) for name in ("X", "Y")
    ]
    graph = helper.make_graph(nodes, "large", values[:1], values[1:], stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    making = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    onnx.save(made, making / "model.onnx", save_as_external_data=beside, location="model.onnx.data")
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)
    return folder
