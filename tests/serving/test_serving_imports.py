"""What a replica does not carry: nothing that a build needs, and no pydantic for a bare ONNX file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from served import SOURCE, serving
from tiny_models import logarithm, save

NEVER = ("serinus.project", "serinus.image", "serinus.registry", "serinus.runtimes", "serinus.cli")
NEVER += ("httpx", "click", "rich", "uv", "isal", "watchfiles", "prometheus_client", "serinus.events")
MODULES = sorted(
    f"serinus.serving.{path.stem}"
    for path in (SOURCE / "serinus/serving").glob("*.py")
    if path.stem != "__main__"
)


def imported(statement: str, *, cwd: Path | None = None) -> set[str]:
    program = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        timeout=60,
        check=True,
        cwd=cwd,
        env={"PYTHONPATH": str(SOURCE)},
    )
    return set(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["serinus.serving", "serinus.serving.__main__", *MODULES])
def test_no_module_of_serving_imports_what_building_needs(module: str) -> None:
    found = imported(f"import {module}")
    assert not [name for name in found if name in NEVER or name.startswith(tuple(f"{n}." for n in NEVER))]
    assert "pydantic" not in found


def test_the_heavy_libraries_are_left_until_they_are_needed() -> None:
    found = imported("import serinus.serving.__main__, serinus.serving.loading, serinus.serving.app")
    assert not {"numpy", "onnxruntime", "pydantic", "granian", "jsonschema_rs"} & found


REPORT = """
import atexit, json, sys
from pathlib import Path
atexit.register(lambda: Path("modules.json").write_text(json.dumps(sorted(sys.modules))))
"""


def test_a_bare_onnx_file_is_served_without_pydantic(tmp_path: Path) -> None:
    save(logarithm(), tmp_path / "model.onnx")
    (tmp_path / "sitecustomize.py").write_text(REPORT)
    environ = {"PYTHONPATH": f"{SOURCE}:{tmp_path}"}
    with serving(tmp_path, model="model.onnx", environ=environ) as served:
        document = served.get("/openapi.json").document
        assert "/predict" in document["paths"]
        assert served.get("/v2/health/ready").status == 200
        assert served.get("/v2/models/test").document["platform"]
        assert served.post({"x": [[1.0, 1.0]]}).document == {"y": [[0.0, 0.0]]}
        assert served.post({"x": [[0.0, 1.0]]}).headers["serinus-violation"] == "/y/0/0"
        assert served.stop() == 0
    found = set(json.loads((tmp_path / "modules.json").read_text()))
    assert "onnxruntime" in found
    # Granian itself takes watchfiles up where it is installed, which it is not in an image.
    assert not ({"pydantic", "pydantic_core", *NEVER} - {"watchfiles"}) & found
