"""The shape: imports point one way, and files stay short enough to read."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "serinus"
MODULES = sorted(PACKAGE.rglob("*.py"))

ORDER = (
    "errors",
    "events",
    "files",
    "contract",
    "serving",
    "project",
    "registry",
    "models",
    "image",
    "runtimes",
    "checks",
    "rollout",
    "environment",
    "pipeline",
    "pytest_plugin",
    "pytest_fixtures",
    "cli",
)
"""A package imports itself and what stands left of it."""
SERVING_MAY = {"errors", "contract", "serving"}
LONGEST_MODULE = 420
LONGEST_FUNCTION = 60


def package_of(module: Path) -> str:
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(module: Path) -> Iterator[tuple[int, str]]:
    """Line and package of every import of our own in a module, inside functions too."""
    for node in ast.walk(ast.parse(module.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module] if node.module != "serinus" else [f"serinus.{a.name}" for a in node.names]
        for name in names:
            if name.startswith("serinus."):
                yield node.lineno, name.split(".")[1]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_imports_point_one_way(module: Path) -> None:
    package = package_of(module)
    if package in {"__init__", "__main__"}:
        return
    allowed = SERVING_MAY if package == "serving" else set(ORDER[: ORDER.index(package) + 1])
    allowed |= {"__version__"}
    wrong = [f"line {line}: {name}" for line, name in imported(module) if name not in allowed]
    assert not wrong


def test_modules_and_functions_are_short() -> None:
    long = []
    for module in MODULES:
        text = module.read_text()
        if (lines := text.count("\n")) > LONGEST_MODULE:
            long.append(f"{module.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > LONGEST_FUNCTION:
                    long.append(f"{module.relative_to(ROOT)}:{node.lineno} {node.name}: {size} lines")
    assert not long


def test_only_the_command_line_prints() -> None:
    allowed = {
        "cli",
        "serving",
        "contract",
    }  # serving logs, and contract.infer answers its caller, on their streams
    printing = [
        str(module.relative_to(ROOT))
        for module in MODULES
        if package_of(module) not in allowed and re.search(r"^\s*print\(", module.read_text(), re.MULTILINE)
    ]
    assert not printing


def test_no_file_names_the_host_of_a_package_index() -> None:
    hosts = ("pypi" + ".org", "pythonhosted" + ".org", "deb.debian" + ".org", "registry.npmjs" + ".org")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    naming = [
        name
        for name in files.splitlines()
        if (ROOT / name).is_file() and any(host.encode() in (ROOT / name).read_bytes() for host in hosts)
    ]
    assert not naming
