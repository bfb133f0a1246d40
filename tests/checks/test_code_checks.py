"""The layer ``code``: lint and imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from checked import SERVICE, checked, small, told
from hypothesis import given
from hypothesis import strategies as st

from serinus.checks.code import CHECKS
from serinus.checks.code.files import modules, reached
from serinus.checks.code.imports import installed, unresolved
from serinus.checks.code.lint import configured, from_flake8, from_ruff
from serinus.checks.code.statements import Import, imports
from serinus.project import Project

BAD_FORMAT = SERVICE + '\n\ndef told(name):\n    return "{} {}".format(name)\n'


def lint(folder: Path) -> tuple[str, str]:
    verdict = checked(folder, "code.lint", checks=CHECKS)["code.lint"]
    return verdict.status, told(verdict)


def needed(source: str, module: str = "service", package: bool = False) -> list[str]:
    return [i.name for i in imports(ast.parse(source), module, package, (3, 11)) if not i.guarded]


def test_correct_code_passes(tmp_path: Path) -> None:
    status, said = lint(small(tmp_path))
    assert status == "passed", said
    assert "1 files" in said


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("undefned", "undefned"),
        ('"{} {}".format(1)', "placeholder"),
        ('"%d %d" % (1,)', "F507"),
        ('raise "no"', "B016"),
        ("return )", "service.py:2"),
        ('f"{1"', "service.py:2"),
    ],
)
def test_what_breaks_at_run_time_is_found(tmp_path: Path, line: str, found: str) -> None:
    status, said = lint(small(tmp_path, service__py=f"def predict(text: str) -> str:\n    {line}\n"))
    assert status == "failed", said
    assert "service.py:2" in said
    assert found in said


def test_style_is_not_its_business(tmp_path: Path) -> None:
    status, said = lint(small(tmp_path, service__py="import os\n" + SERVICE + "x=1;y = 2 # no style\n"))
    assert status == "passed", said


def test_the_projects_own_configuration_wins(tmp_path: Path) -> None:
    folder = small(tmp_path, service__py=BAD_FORMAT, ruff__toml='lint.select = ["D103"]\n')
    status, said = lint(folder)
    assert status == "failed"
    assert "D103" in said
    assert "F524" not in said


def test_what_stays_out_of_the_image_is_not_looked_at(tmp_path: Path) -> None:
    files = {"_0_".join(("tests", "test_it__py")): "undefined\n", "__serinusignore": "train.py\n"}
    status, said = lint(small(tmp_path, train__py="undefined\n", **files))
    assert status == "passed", said


@pytest.mark.parametrize(
    ("file", "text", "tool"),
    [
        ("ruff.toml", "", "ruff"),
        (".ruff.toml", "", "ruff"),
        ("pyproject.toml", "[tool.ruff]\n", "ruff"),
        ("pyproject.toml", "[tool.black]\n", "ours"),
        (".flake8", "[flake8]\n", "flake8"),
        ("setup.cfg", "[metadata]\n", "ours"),
        ("tox.ini", "[flake8]\nmax-line-length = 100\n", "flake8"),
    ],
)
def test_which_linter_is_configured(tmp_path: Path, file: str, text: str, tool: str) -> None:
    (tmp_path / file).write_text(text)
    assert configured(tmp_path) == tool


def test_findings_are_read() -> None:
    (one,) = from_flake8("./a/b.py:7:1: F821 undefined name 'x'\n")
    assert (one.file, one.line, one.message) == ("a/b.py", 7, "F821 undefined name 'x'")
    assert from_ruff("", Path("/")) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b, c", ["a.b", "c"]),
        ("def f():\n    import a", ["a"]),
        ("try:\n    import a\nexcept ImportError:\n    a = None", []),
        ("try:\n    import a\nexcept KeyError:\n    a = None", ["a"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b",
         ["typing", "b"]),
        ('if __name__ == "__main__":\n    import a', []),
        ("import sys\nif sys.version_info >= (3, 11):\n    import a\nelse:\n    import b", ["sys", "a"]),
        ("import sys\nif sys.version_info < (3, 11):\n    import b", ["sys"]),
        ("with suppress(ImportError):\n    import a", []),
        ('if find_spec("a"):\n    import a', []),
        ('importlib.import_module("a.b")', ["a.b"]),
        ("x = import_module(name)", []),
    ],
)  # fmt: skip
def test_imports_are_told_from_the_source(source: str, expected: list[str]) -> None:
    assert needed(source) == expected


def test_relative_imports_are_made_absolute() -> None:
    assert needed("from . import x\nfrom ..b import y", "a.c.d") == ["a.c", "a.b"]
    assert needed("from .x import y", "a.c", package=True) == ["a.c.x"]


def test_a_fallback_counts_only_where_it_is_needed() -> None:
    tree = ast.parse("try:\n    import a\nexcept ImportError:\n    import b\n")
    found = imports(tree, "service", False, (3, 11))
    assert list(unresolved(found, {"a"}.__contains__)) == []
    assert [one.name for one in unresolved(found, lambda name: False)] == ["b"]


@given(st.sets(st.sampled_from(["a", "b", "c.d"])), st.sets(st.sampled_from(["a", "b", "c.d"])))
def test_what_is_not_there_is_named_and_nothing_else(wanted: set[str], there: set[str]) -> None:
    found = unresolved([Import(name, 1) for name in wanted], there.__contains__)
    assert {one.name for one in found} == wanted - there


def test_what_the_entry_point_reaches() -> None:
    known = modules(("app.py", "pkg/__init__.py", "pkg/a.py", "train.py"))
    links = {"app.py": frozenset({"pkg.a"}), "pkg/a.py": frozenset({"app"})}
    assert reached("app", known, links) == {"app.py", "pkg/__init__.py", "pkg/a.py"}


def test_modules_of_installed_packages(tmp_path: Path) -> None:
    for name in (
        "plain.py",
        "fast.cpython-311-x86_64-linux-gnu.so",
        "pkg/__init__.py",
        "google/proto/__init__.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("plain", "fast", "pkg", "pkg.made.later", "google.proto"):
        assert installed(name, tmp_path), name
    for name in ("other", "google.cloud"):
        assert not installed(name, tmp_path), name


@pytest.mark.network
def test_imports_of_a_project(tmp_path: Path) -> None:
    source = "from helpers import word\n\ndef predict(text: str) -> str:\n    import rich\n    return word\n"
    folder = small(
        tmp_path,
        service__py=source,
        helpers__py="word = 'x'\n",
        train__py="import sklearn\n",
        examples__jsonl="",
    )
    verdict = checked(folder, "code.imports", checks=CHECKS)["code.imports"]
    assert verdict.status == "failed"
    assert [(f.file, f.line) for f in verdict.findings] == [("service.py", 4), ("train.py", 1)]
    assert "Add rich to requirements.txt" in told(verdict)
    (folder / "service.py").write_text(source.replace("    import rich\n", ""))
    verdict = checked(folder, "code.imports", checks=CHECKS)["code.imports"]
    assert verdict.status == "warned", told(verdict)
    (folder / ".serinusignore").write_text("train.py\n")
    verdict = checked(folder, "code.imports", checks=CHECKS)["code.imports"]
    assert verdict.status == "passed", told(verdict)
    (folder / ".serinusignore").write_text("train.py\nhelpers.py\n")
    verdict = checked(folder, "code.imports", checks=CHECKS)["code.imports"]
    assert "left out" in told(verdict)
    assert Project.load(folder).service.name == "mood"
