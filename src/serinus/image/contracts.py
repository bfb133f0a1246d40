"""How a build comes to the contract.

In this order: the schema files or the OpenAPI file that the project names; the graph of a bare ONNX file;
what the service's own module says, imported in a process of its own with the locked dependencies and
nothing else. The project's examples are part of the contract, and each must keep it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from serinus.contract import Contract
from serinus.errors import BuildError, ContractError, ProjectError
from serinus.events import Noted, Observer, step
from serinus.files import write_atomically
from serinus.image import RUNTIME, uv
from serinus.image.runtime import runtime_files
from serinus.project import Project

EXAMPLES = "examples.jsonl"
"""The examples of a project that names no file, if there is one."""
TIMEOUT = 300.0
"""Seconds that importing a service may take."""


class Python(NamedTuple):
    """A Python of this machine."""

    program: str
    version: str
    """Its minor version, ``3.11``."""


Interpreter = Callable[[str], Python]
"""Minor version that is wanted (``3.11``) -> a Python of this machine that can stand in for it.

Raises:
    BuildError: there is none.
"""


@dataclass(frozen=True, slots=True)
class Importing:
    """What importing a service needs."""

    tree: Callable[[str], Path]
    """Minor version of Python -> the locked dependencies, installed for it and this machine."""
    cache: Path
    """The user's cache folder."""
    interpreter: Interpreter


def needs_import(project: Project) -> bool:
    """Whether the service's module must be imported to know its contract."""
    named = project.contract
    return project.service.entrypoint is not None and not (named.request or named.response or named.openapi)


class Found(NamedTuple):
    """What was found out about the contract."""

    contract: Contract | None
    """None for an app that says nothing about itself."""
    executed: frozenset[str] = frozenset()
    """``file:qualified.name`` of the project's functions that ran while its module was imported."""


def contract_of(
    project: Project, model: Path | None, importing: Callable[[], Importing], observer: Observer
) -> Found:
    """The contract of a project, with its examples.

    Args:
        project: the project.
        model: the model's file or folder on this machine.
        importing: is asked when the service's module must be imported.
        observer: told of the step ``contract``, and of what it could not find out.

    Raises:
        ContractError: the contract cannot be had, or an example breaks it.
        ProjectError: the project's file does not say what is needed.
    """
    with step("contract", observer):
        found = _without_examples(project, model, importing)
    if found.contract is None:
        observer(
            Noted(
                f"{project.service.name} has no contract, so its answers are not checked: the app has no "
                "OpenAPI description. `serinus contract write` draws one from examples."
            )
        )
        return found
    return found._replace(contract=with_examples(found.contract, examples_file(project)))


def examples_file(project: Project) -> Path | None:
    """The project's examples: the file it names, or ``examples.jsonl`` if there is one."""
    if project.contract.examples is not None:
        return project.root / project.contract.examples
    file = project.root / EXAMPLES
    return file if file.is_file() else None


def with_examples(contract: Contract, file: Path | None) -> Contract:
    """The contract with the examples of a file.

    Raises:
        ContractError: the file cannot be read, or an example breaks the contract; it names the example.
    """
    if file is None:
        return contract
    from serinus.contract.files import broken_examples, read_examples

    full = Contract(contract.request, contract.response, read_examples(file))
    for number, side, fault in broken_examples(full):
        raise ContractError(
            f"the {side} of example {number + 1} in {file} breaks the contract at "
            f"{fault.pointer or 'its root'}: {fault.message}",
            "Correct the example, or the types of the service.",
        )
    return full


def _without_examples(project: Project, model: Path | None, importing: Callable[[], Importing]) -> Found:
    named = project.contract
    if named.request or named.response:
        if not (named.request and named.response):
            missing = "response" if named.request else "request"
            raise ProjectError(
                f"[contract] names only one schema: {missing} is missing",
                f"Name the file of the {missing}'s schema too, or none, where the contract can be inferred.",
            )
        from serinus.contract.files import read_files

        return Found(read_files(project.root / named.request, project.root / named.response))
    if named.openapi:
        return Found(_from_openapi_file(project.root / named.openapi, project.service.route))
    if project.service.entrypoint is None:
        if model is None:
            raise ProjectError(
                "the project names neither an entry point nor a model: there is nothing to serve",
                "Set service.entrypoint to a function or an app, or model.path to an ONNX file.",
            )
        from serinus.contract.onnx import from_onnx

        return Found(from_onnx(model))
    told = infer(project, importing())
    return Found(_inferred(told, project.service.route), frozenset(told.get("executed", ())))


def _from_openapi_file(file: Path, route: str) -> Contract:
    from serinus.contract import openapi

    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ContractError(
            f"{file} cannot be read as JSON: {error}", "Check contract.openapi in the project's file."
        ) from None
    return openapi.from_openapi(document, route)


def _inferred(found: Mapping[str, Any], route: str) -> Contract | None:
    if "contract" in found:
        return Contract.from_json(json.dumps(found["contract"]))
    if found.get("openapi") is None:
        return None
    from serinus.contract import openapi

    return openapi.from_openapi(found["openapi"], route)


def infer(project: Project, importing: Importing) -> Mapping[str, Any]:
    """What the service's module says of itself: the document of ``python -m serinus.contract.infer``.

    The interpreter is one of this machine, and sees the locked dependencies, the serving part of Serinus and
    the project: not what else is installed here.

    Raises:
        ContractError: the module cannot be imported, or says nothing that can be used.
        BuildError: there is no fitting interpreter, or it did not come to an end.
    """
    entrypoint = project.service.entrypoint
    bytecode = importing.cache / "bytecode"
    forget_bytecode(bytecode, project.root)
    python = importing.interpreter(project.image.python)
    path = f"{runtime_copy(importing.cache)}:{importing.tree(python.version)}"
    command = [python.program, "-S", "-s", "-m", "serinus.contract.infer"]
    with subprocess.Popen(
        [*command, f"{entrypoint}", "--lazy"],
        cwd=project.root,
        env=environment(os.environ, path, bytecode),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            import_module("serinus.contract.files")  # while it works: what its answer is read with
            stdout, stderr = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise BuildError(
                f"importing {entrypoint} did not end within {TIMEOUT:.0f} s",
                "Load models and open connections in setup(), not when the module is imported.",
            ) from None
        finally:
            process.kill()  # nothing, when it has ended by itself
    return _answer(stdout, stderr, str(entrypoint))


def _answer(stdout: bytes, stderr: bytes, entrypoint: str) -> Mapping[str, Any]:
    """The document that was printed, if it is one and not an error. Pure."""
    said = stderr.decode(errors="replace").strip()
    try:
        document = json.loads(stdout)
        error = document.get("error")
    except (ValueError, AttributeError):
        raise ContractError(
            f"importing {entrypoint} ended without an answer" + (f":\n{said[-2000:]}" if said else ""),
            "Correct the module.",
        ) from None
    if error:
        message, todo = str(error.get("message")), str(error.get("todo", ""))
        # The user's own traceback is the only thing that says where in the module it went wrong.
        last = said[said.rfind("Traceback (most") :][-4000:] if "traceback" in todo else ""
        raise ContractError(f"{message}\n{last}".rstrip(), todo)
    found: Mapping[str, Any] = document
    return found


def environment(own: Mapping[str, str], path: str, bytecode: Path) -> dict[str, str]:
    """The variables of a process that runs a project's code with the packages on ``path`` and no others.

    Args:
        own: our own variables; those that would change what Python imports are left out.
        path: value of ``PYTHONPATH``.
        bytecode: folder in which Python keeps what it compiled, instead of beside the sources.
    """
    kept = {name: value for name, value in own.items() if not name.startswith("PYTHON")}
    return {
        **kept,
        "PYTHONPATH": path,
        "PYTHONPYCACHEPREFIX": str(bytecode),
        "PYTHONUTF8": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def forget_bytecode(bytecode: Path, root: Path) -> None:
    """Remove what Python has kept of the modules below a folder.

    Bytecode is taken for current when the source has the same size and the same time in whole seconds: too
    coarse for somebody who edits and builds. That of the dependencies never changes and saves a second.

    Args:
        bytecode: ``PYTHONPYCACHEPREFIX``.
        root: the folder.
    """
    import shutil

    real = root.resolve()
    shutil.rmtree(bytecode / real.relative_to(real.anchor), ignore_errors=True)


def runtime_copy(cache: Path) -> Path:
    """A folder that holds the serving part of Serinus alone, as the image does; made once a version.

    Where Serinus is installed, its folder lies among packages that the image may not have.
    """
    place = cache / "runtime" / digest_of_runtime()[:32]
    marker = place / "complete"
    if not marker.exists():
        for path, file in runtime_files():
            write_atomically(place / path.removeprefix(f"{RUNTIME}/"), file.read_bytes())
        write_atomically(marker, b"")
    return place


def digest_of_runtime() -> str:
    """Hexadecimal SHA-256 over the serving part of Serinus."""
    digest = hashlib.sha256()
    for path, file in runtime_files():
        digest.update(path.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def own_python() -> Python:
    """The Python that runs us."""
    return Python(sys.executable, f"{sys.version_info.major}.{sys.version_info.minor}")


def find_interpreter(python: str) -> Python:
    """A Python of that minor version: our own, or one that uv finds here; else our own if it is newer.

    A newer one is good enough to read types: the lock holds for it too.

    Raises:
        BuildError: there is none, and our own is older.
    """
    own = own_python()
    if own.version == python:
        return own
    done = subprocess.run(
        [uv.program(), "python", "find", "--no-python-downloads", "--no-project", python],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return Python(done.stdout.strip(), python)
    if _numbers(own.version) < _numbers(python):
        raise BuildError(
            f"the service must be imported by Python {python} to learn its contract, and there is none here",
            f"Install it (`uv python install {python}`), or name the contract's files under [contract].",
        )
    return own


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
