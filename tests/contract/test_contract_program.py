"""``python -m serinus.contract.infer``: what a build asks in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serinus.contract import lazy

SERVICE = """
import sys
import heavy, heavy.part
from heavy import part as again
print("hello from the module")
sys.stderr.write("and from stderr")

def predict(texts: list[str]) -> dict[str, bool]:
    return heavy.answer(texts)
"""


def ask(folder: Path, *arguments: str) -> tuple[int, Any, str]:
    """Exit code, the document on stdout, and stderr."""
    library = folder / "library"
    done = subprocess.run(
        [sys.executable, "-m", "serinus.contract.infer", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(library), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose service needs a package that says when it is run."""
    package = tmp_path / "library" / "heavy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("print('heavy is run')\nanswer = dict\n")
    (package / "part.py").write_text("print('part is run')\n")
    (tmp_path / "service.py").write_text(SERVICE.replace("from heavy import part as again", ""))
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--lazy"]])
def test_a_typed_function_prints_its_contract_and_nothing_else(project: Path, options: list[str]) -> None:
    code, document, stderr = ask(project, "service:predict", *options)
    assert code == 0
    assert document["contract"]["request"] == {"items": {"type": "string"}, "type": "array"}
    assert "hello from the module" in stderr
    assert "and from stderr" in stderr


def test_third_party_modules_are_not_run_under_lazy(project: Path) -> None:
    (project / "service.py").write_text(
        "import heavy\ndef predict(x: int) -> int:\n    return heavy.answer\n"
    )
    assert "heavy is run" in ask(project, "service:predict")[2]
    code, document, stderr = ask(project, "service:predict", "--lazy")
    assert (code, document["contract"]["request"]) == (0, {"type": "integer"})
    assert "heavy is run" not in stderr


def test_a_module_that_lazy_imports_cannot_serve_is_imported_as_ever(project: Path) -> None:
    (project / "service.py").write_text(
        "import heavy\nassert type(heavy).__name__ == 'module', 'lazy!'\ndef predict(x: int) -> int: ...\n"
    )
    code, document, stderr = ask(project, "service:predict", "--lazy")
    assert (code, document["contract"]["request"]) == (0, {"type": "integer"})
    assert "lazy!" in stderr


def test_modules_of_the_project_and_of_the_standard_library_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1")
    finder = lazy.LazyFinder(str(tmp_path))
    for name in ("json", "pydantic", "serinus.errors", "numpy.linalg._umath_linalg", "there.is.none"):
        assert finder.find_spec(name) is None
    assert finder.find_spec("mine", [str(tmp_path)]) is None
    assert finder.find_spec("flask") is not None


FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FASTAPI = """
from fastapi import FastAPI
app = FastAPI()
@app.post("/predict")
def predict(texts: list[str]) -> dict[str, bool]: ...
"""
BROKEN_OPENAPI = """
class App:
    async def __call__(self, scope, receive, send): ...
    def openapi(self): raise KeyError("no")
app = App()
"""


@pytest.mark.parametrize("options", [[], ["--lazy"]])
def test_apps_say_what_they_are(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "first.py").write_text(FLASK)
    (tmp_path / "second.py").write_text(FASTAPI)
    (tmp_path / "third.py").write_text(BROKEN_OPENAPI)
    assert ask(tmp_path, "first:app", *options)[:2] == (0, {"app": "wsgi", "executed": [], "openapi": None})
    code, document, _ = ask(tmp_path, "second:app", *options)
    assert (code, document["app"]) == (0, "asgi")
    assert "/predict" in document["openapi"]["paths"]
    code, document, stderr = ask(tmp_path, "third:app", *options)
    ran = ["third.py:App", "third.py:App.openapi"]
    assert (code, document) == (0, {"app": "asgi", "executed": ran, "openapi": None})
    assert "KeyError" in stderr


@pytest.mark.parametrize(
    ("source", "entrypoint", "says"),
    [
        ("x = 1", "service:predict", "no attribute 'predict'"),
        ("x = 1", "service:x", "cannot be called"),
        ("x = 1", "nothing:x", "no module 'nothing'"),
        ("import absent_package", "service:x", "absent_package"),
        ("def predict(x): ...", "service:predict", "(service.py:1)"),
        ("raise ValueError('bad weights')", "service:x", "ValueError: bad weights"),
        ("raise SystemExit(0)", "service:x", "SystemExit"),
        ("x = 1", "service", "expected module:attribute"),
    ],
)
def test_errors_are_a_document_too(tmp_path: Path, source: str, entrypoint: str, says: str) -> None:
    (tmp_path / "service.py").write_text(source)
    code, document, _ = ask(tmp_path, entrypoint)
    assert code == 1
    assert says in document["error"]["message"]
    assert set(document["error"]) == {"message", "todo"}


def test_usage(tmp_path: Path) -> None:
    code, document, stderr = ask(tmp_path)
    assert (code, document) == (2, None)
    assert stderr.startswith("usage:")


def test_serving_an_app_does_not_import_pydantic() -> None:
    program = (
        "import sys, serinus.contract.infer, serinus.contract.violations, serinus.contract.files, "
        "serinus.contract.onnx, serinus.contract.openapi, serinus.contract.compare\n"
        "heavy = {'pydantic', 'numpy', 'onnx', 'onnxruntime', 'jsonschema_rs', 'httpx'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
