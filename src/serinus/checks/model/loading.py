"""Whether the model loads, and is well formed: each asked of a process of its own, which may crash."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.model.files import named, onnx_files
from serinus.contract.onnx import interface
from serinus.errors import ContractError
from serinus.image.contracts import environment
from serinus.image.sources import ModelPlace
from serinus.project import Project

TIMEOUT = 600.0
KNOWN = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft",
         "com.microsoft.nchwc", "com.microsoft.experimental", "org.pytorch.aten")  # fmt: skip
"""Domains of operators that onnxruntime has itself."""
_LOAD = """
import sys, onnxruntime
onnxruntime.set_default_logger_severity(4)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
try:
    onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
except Exception as error:
    sys.exit(f"{error}")
"""
_CHECK = """
import sys, onnx
try:
    onnx.checker.check_model(sys.argv[1])
except Exception as error:
    sys.exit(f"{error}")
"""


@check(
    "model.loads",
    why="The upload of a model was cut off, and the container ended as often as it was started again.",
    seconds=1.5,
)
def loads(source: Project, model: ModelPlace, packages: Path) -> Result:
    """Every ONNX file of the model loads in the locked onnxruntime."""
    files = onnx_files(model)
    if not (packages / "onnxruntime").is_dir():
        raise NotApplicable("onnxruntime is not among the locked packages", "Add it to the requirements.")
    findings = []
    with tempfile.TemporaryDirectory(prefix="serinus-") as bytecode:
        env = environment(os.environ, str(packages), Path(bytecode))
        for file in files:
            said = _asked(("-S", "-s"), _LOAD, file, env)
            if said is None:
                continue
            if own := _own_domains(file):
                raise NotApplicable(
                    f"{file.name} needs operators of {', '.join(own)}, which the service registers"
                )
            findings.append(
                Finding(
                    f"{named(file, source)} does not load in the locked onnxruntime: {said}",
                    "Fetch or export the model again, or lock the onnxruntime that it was made for.",
                    named(file, source),
                )
            )
    return Result("" if findings else f"{len(files)} ONNX files load", tuple(findings))


@check(
    "model.onnx",
    why="An export that was edited by hand had a node without its input; onnxruntime said so on the server.",
    seconds=1.5,
)
def onnx(source: Project, model: ModelPlace) -> Result:
    """Every ONNX file of the model is well formed, as the checker of ONNX itself has it."""
    files = onnx_files(model)
    if find_spec("onnx") is None:
        raise NotApplicable("model.onnx needs onnx", "pip install 'serinus[checks]'")
    findings = []
    for file in files:
        # Other variables than PYTHON... stay: the checker is one of this environment, not of the image.
        said = _asked((), _CHECK, file, dict(os.environ))
        if said is not None:
            told = f"{named(file, source)} is not well formed: {said}"
            findings.append(Finding(told, "Export the model again.", named(file, source)))
    return Result("" if findings else f"{len(files)} ONNX files are well formed", tuple(findings))


def _asked(flags: tuple[str, ...], code: str, file: Path, env: dict[str, str]) -> str | None:
    """What a program said against a file; None when nothing. A crash counts as something said."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", *flags, "-c", code, str(file)],
            cwd=file.parent, env=env, capture_output=True, timeout=TIMEOUT, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no end within {TIMEOUT:.0f} s"
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip()
    return said[-600:] or f"the process ended with {done.returncode}"


def _own_domains(file: Path) -> list[str]:
    """Domains of operators that onnxruntime does not have itself."""
    try:
        return sorted(name for name, _ in interface(file).opsets if name not in KNOWN)
    except ContractError:
        return []
