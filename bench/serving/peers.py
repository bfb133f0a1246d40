"""The servers that are measured: what each is, how it is installed, started and asked.

Every peer has a virtual environment of its own with exactly the packages of ``peers/NAME.txt``, and the
thinnest correct app for each task, in ``apps``. Their access logs are off, batching is on where the task has
sentences; Serinus runs as ``serinus build`` packages it, in the sandbox, with everything that it does by
default: contract checked on both sides, metrics, predictions counted, a line in the access log for each
request.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from stand import (
    CACHE,
    HERE,
    PATIENCE,
    Answered,
    CannotMeasureError,
    Command,
    Started,
    eventually,
    first_answer,
    get,
    post,
    python,
    running,
    system_python,
)
from tasks import Task, shared

VENVS = CACHE / "venvs"
APPS = CACHE / "apps"
_PORT = "{port}"
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""What ``apps/sentences.py`` makes of the cores: a thread an inference, and a worker on each."""


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Service:
    """One server with one app, which answers one task."""

    name: str
    """As the tables have it."""
    task: Task
    command: Command
    path: str = "/predict"
    ask: Callable[[Any], Any] = _as_it_is
    """A request of the task -> what this service takes."""
    told: Callable[[Any], Any] = _as_it_is
    """What it answers -> a response of the task."""
    ready: str = ""
    """Path that says whether all of it is ready; without, its first answer does."""
    without: str = ""
    """What stands in the command line of processes that are ours and not the service's."""

    @property
    def bodies(self) -> tuple[bytes, ...]:
        return tuple(json.dumps(self.ask(one)).encode() for one in self.task.requests)

    @contextmanager
    def run(self, cores: Sequence[int]) -> Iterator[Started]:
        """Run it on these cores, ready and found to answer rightly.

        Raises:
            CannotMeasureError: it does not become ready, or answers wrongly.
        """
        with running(self.command, cores, f"{self.task.name} {self.name}") as started:
            first_answer(started, self.path, self.bodies[0])
            if self.ready:
                eventually(
                    lambda: get(started.port, self.ready) == 200, PATIENCE, f"{self.name} is not ready"
                )
            self.check(started)
            yield started

    def check(self, started: Started) -> None:
        """Hold its answers to the expected ones.

        Raises:
            CannotMeasureError: too few of them are right.
        """
        try:
            found = [self._response(post(started.port, self.path, body)) for body in self.bodies]
        except (OSError, HTTPException) as error:
            raise CannotMeasureError(f"{self.name} stopped answering: {error!r}\n{started.tail()}") from None
        self.task.check(self.name, found)

    def _response(self, answered: Answered) -> Any:
        try:
            return self.told(answered.json())
        except (ValueError, KeyError, IndexError, TypeError):
            return f"{answered.status}: {answered.body[:200]!r}"


# ---------------------------------------------------------------------------------------------- installing


def install(names: Sequence[str]) -> None:
    """Make the virtual environments that are missing or whose pins have changed.

    Raises:
        CannotMeasureError: a package cannot be had.
    """
    for name in names:
        pins = HERE / "peers" / f"{name}.txt"
        folder, mark = VENVS / name, VENVS / name / "pins.txt"
        wanted = f"# {system_python()}\n{pins.read_text()}"
        if mark.is_file() and mark.read_text() == wanted:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        _run(_uv(), "venv", "--quiet", "--python", system_python(), str(folder))
        interpreter = str(folder / "bin" / "python")
        _run(_uv(), "pip", "install", "--quiet", "--python", interpreter, "--no-deps", "-r", str(pins))
        mark.write_text(wanted)  # the last thing: whoever finds it finds all


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMeasureError(f"{' '.join(words[:6])}: exit code {done.returncode}\n{done.stderr[-3000:]}")


def _uv() -> str:
    from uv import find_uv_bin

    return str(find_uv_bin())


def pinned(name: str, *packages: str) -> dict[str, str]:
    """Package -> version, as pinned for a peer."""
    lines = (HERE / "peers" / f"{name}.txt").read_text().splitlines()
    versions = dict(line.split("==") for line in lines if "==" in line)
    return {package: versions[package] for package in packages or versions}


# ------------------------------------------------------------------------------------------------- the apps


def placed(name: str, app: str, files: Mapping[str, str] | None = None, *, roberta: bool = False) -> Path:
    """A folder that has an app, the modules beside it, its model, and further files."""
    folder = APPS / f"{name}-{app}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "apps", folder, ignore=shutil.ignore_patterns("__pycache__"))
    if roberta:
        (folder / "model").symlink_to(shared("models", "roberta-sentiment"))
    else:
        (folder / "model.onnx").symlink_to(shared("models", "tabular", "breast_cancer.onnx"))
    for file, text in (files or {}).items():
        (folder / file).write_text(text)
    return folder


def program(peer: str, name: str) -> str:
    """A program in a peer's virtual environment."""
    return str(VENVS / peer / "bin" / name)


def granian(task: Task, workers: int = 1) -> Service:
    """Bare Granian, as its own command starts it; the model is run on its event loop, whatever that takes."""
    argv = ("--interface", "rsgi", "--http", "1", "--no-ws", "--workers", str(workers), "--port", _PORT)
    folder = placed("granian", f"{task.name}-{workers}", roberta=task.name == "sentences")
    command = Command((program("granian", "granian"), *argv, f"granian_{task.name}:app"), folder)
    return Service("bare Granian", task, command)


def granian_embedded(task: Task) -> Service:
    """Bare Granian in one process, as Serinus has it."""
    words = (program("granian", "python"), "granian_embedded.py", _PORT)
    return Service("bare Granian, embedded", task, Command(words, placed("granian", "embedded")))


def bare_layers(task: Task) -> Service:
    """The same with uvloop, for :mod:`layers`."""
    words = (program("granian", "python"), "granian_layers.py", _PORT)
    return Service("bare Granian", task, Command(words, placed("granian", "layers")))


def fastapi(task: Task, app: str = "fastapi_small:app", path: str = "/predict", name: str = "") -> Service:
    """FastAPI on uvicorn with uvloop and httptools."""
    words = (program("fastapi", "python"), "-m", "uvicorn", app, "--port", _PORT, "--loop", "uvloop")
    command = Command(
        (*words, "--http", "httptools", "--no-access-log", "--log-level", "warning"),
        placed("fastapi", app.partition(":")[0]),
    )
    return Service(name or "FastAPI on uvicorn", task, command, path)


def gunicorn(task: Task, kind: str, workers: int = 1, app: str = "flask_small:app") -> Service:
    """Flask on gunicorn; ``kind`` of worker: ``sync``, or ``gthread`` with four threads."""
    words = [program("flask", "python"), "-m", "gunicorn", "--bind", f"127.0.0.1:{_PORT}", "--log-level"]
    words += ["error", "--workers", str(workers), "--worker-class", kind]
    if kind == "gthread":
        words += ["--threads", "4"]
    folder = placed("flask", f"small-{kind}") if app == "flask_small:app" else project("glad")
    return Service(f"Flask on gunicorn, {kind}", task, Command((*words, app), folder))


def _tensor(name: str, datatype: str, shape: Sequence[int], data: Any) -> dict[str, Any]:
    return {"inputs": [{"name": name, "datatype": datatype, "shape": list(shape), "data": data}]}


def _small_tensor(request: Any) -> Any:
    rows = request["X"]
    return _tensor("X", "FP32", (len(rows), len(rows[0])), [value for row in rows for value in row])


def _small_told(answer: Any) -> Any:
    label, probabilities = (output["data"] for output in answer["outputs"])
    return {"label": label, "probabilities": [probabilities]}


def _text_tensor(request: Any) -> Any:
    return _tensor("texts", "BYTES", (1, 1), request)


def mlserver(task: Task) -> Service:
    """MLServer with one process for all, faster than its default; sentences in batches, on two workers."""
    batches = task.name == "sentences"
    batching = {"max_batch_size": 16, "max_batch_time": 0.002} if batches else {}
    cls = {"small": "mlserver_small.Small", "sentences": "mlserver_sentences.Sentences"}[task.name]
    files = {
        "settings.json": json.dumps({"parallel_workers": 2 if batches else 0, "debug": False}),
        "model-settings.json": json.dumps({"name": "model", "implementation": cls, **batching}),
    }
    folder = placed("mlserver", task.name, files, roberta=batches)
    env = _ONE_THREAD | {"MLSERVER_HTTP_PORT": _PORT, "MLSERVER_HOST": "127.0.0.1"}
    env |= {"MLSERVER_GRPC_PORT": "{second}", "MLSERVER_METRICS_PORT": "{third}", "PYTHONPATH": str(folder)}
    command = Command((program("mlserver", "mlserver"), "start", str(folder)), folder, env)
    path = "/v2/models/model/infer"
    if task.name == "small":
        return Service("MLServer", task, command, path, _small_tensor, _small_told)
    return Service("MLServer, batching", task, command, path, _text_tensor, _text_told)


def _text_told(answer: Any) -> Any:
    return {"positive": bool(answer["outputs"][0]["data"][0])}


def litserve(task: Task) -> Service:
    """LitServe with one worker; sentences in batches, on two."""
    folder = placed("litserve", task.name, roberta=task.name == "sentences")
    words = (program("litserve", "python"), f"litserve_{task.name}.py", _PORT)
    name = "LitServe" if task.name == "small" else "LitServe, batching"
    return Service(name, task, Command(words, folder, _ONE_THREAD))


def bentoml(task: Task) -> Service:
    """BentoML with one worker; sentences in batches, on two."""
    folder = placed("bentoml", task.name, roberta=task.name == "sentences")
    app = {"small": "bentoml_small:Small", "sentences": "bentoml_sentences:Sentences"}[task.name]
    words = (program("bentoml", "python"), "-m", "bentoml", "serve", app, "--host", "127.0.0.1")
    command = Command(
        (*words, "--port", _PORT),
        folder,
        _ONE_THREAD | {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(folder)},
    )
    if task.name == "small":
        return Service("BentoML", task, command)
    return Service(
        *("BentoML, batching", task, command, "/predict"),
        ask=lambda request: {"texts": request},
        told=lambda answer: {"positive": answer[0]},
    )


# -------------------------------------------------------------------------------------------------- Serinus


Writer = Callable[[Path, str, int], None]
"""Writes a project's files into a folder, under a name, with so many workers."""


def _toml(name: str, workers: int, entrypoint: str = "", more: str = "") -> str:
    lines = ["[service]", f'name = "{name}"', f"workers = {workers}"]
    if entrypoint:
        lines.append(f'entrypoint = "{entrypoint}"')
    return "\n".join([*lines, more, ""])


def locked(service: str, workers: int = 1) -> str:
    """What the image of a built project has, as its lock says, for a reader."""
    lines = (CACHE / "projects" / f"{service}-{workers}" / "serinus.lock").read_text().splitlines()
    pins = (line.removesuffix(" \\").split("==") for line in lines if line[:1].isalpha() and "==" in line)
    return ", ".join(" ".join(pin) for pin in pins)


def requirements(peer: str, *packages: str) -> str:
    """The lines of a requirements file: these packages in the versions that a peer has."""
    return "".join(f"{name}=={version}\n" for name, version in pinned(peer, *packages).items())


def project(name: str, workers: int = 1, write: Writer | None = None) -> Path:
    """The folder of a project, written anew.

    One of small, typed-def, typed-async, sentences, roberta (the example) and glad, or by ``write``.
    Its packages are pinned to the versions that the peers have.
    """
    folder = CACHE / "projects" / f"{name}-{workers}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.is_file() and file.name != "serinus.lock":
            file.unlink()
    (write or _WRITERS[name.partition("-")[0]])(folder, name, workers)
    return folder


def _write_small(folder: Path, name: str, workers: int) -> None:
    shutil.copyfile(shared("models", "tabular", "breast_cancer.onnx"), folder / "model.onnx")
    (folder / "serinus.toml").write_text(_toml(name, workers, more='[model]\npath = "model.onnx"'))
    (folder / "requirements.txt").write_text(requirements("granian", "numpy", "onnxruntime"))


def _write_typed(folder: Path, name: str, workers: int) -> None:
    module = name.replace("-", "_")
    for file in ("orders.py", f"{module}.py"):
        shutil.copyfile(HERE / "apps" / file, folder / file)
    (folder / "serinus.toml").write_text(_toml(name, workers, f"{module}:predict"))
    (folder / "requirements.txt").write_text(requirements("fastapi", "pydantic"))


def _write_example(example: str) -> Writer:
    """An example as it is in the repository; only the number of workers and the versions are ours."""

    def write(folder: Path, name: str, workers: int) -> None:
        source = HERE.parents[1] / "examples" / example
        for file in source.iterdir():
            if file.is_file() and file.name != "serinus.lock":
                shutil.copyfile(file, folder / file.name)
        text = (source / "serinus.toml").read_text()
        (folder / "serinus.toml").write_text(text.replace("\n\n", f"\nworkers = {workers}\n\n", 1))
        if example == "roberta":
            (folder / "model").mkdir(exist_ok=True)
            for part in ("model.int8.onnx", "tokenizer.json"):
                shutil.copyfile(shared("models", "roberta-sentiment", part), folder / "model" / part)
            packages = requirements("granian", "numpy", "onnxruntime", "tokenizers")
        else:
            packages = requirements("flask", "flask")
        (folder / "requirements.txt").write_text(packages)

    return write


def _write_sentences(folder: Path, name: str, workers: int) -> None:
    """The example, but in batches, as the peers have it: who answers one sentence at a time answers fewer."""
    _write_example("roberta")(folder, name, workers)
    shutil.copyfile(HERE / "apps" / "sentences_batched.py", folder / "service.py")


_WRITERS: Mapping[str, Writer] = {
    "small": _write_small,
    "typed": _write_typed,
    "sentences": _write_sentences,
    "roberta": _write_example("roberta"),
    "glad": _write_example("flask-app"),
}


def serinus(
    task: Task, name: str, workers: int = 1, shown: str = "Serinus", write: Writer | None = None
) -> Service:
    """Serinus as it is packaged: ``serinus build``, and the image in the sandbox.

    It is built anew each time, which costs a second: what is measured is the source as it is now.

    Raises:
        CannotMeasureError: it cannot be built.
    """
    folder = project(name, workers, write)
    _run(python(), "-m", "serinus", "build", "-C", str(folder), "--tag", "bench")
    words = (python(), str(HERE / "replica.py"), str(folder), "bench", _PORT)
    return Service(shown, task, Command(words, HERE), ready="/readyz", without="replica.py")
