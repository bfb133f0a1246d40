"""Lint: faults in the source that would break at run time, wherever in the code they stand."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.checks.code.files import code_files
from serinus.errors import ProjectError
from serinus.project import Project

RULES = (
    "E9", "F404", "F406", "F407", "F50", "F52", "F62", "F63", "F70", "F82", "PLE", "B016", "B029", "B030",
    "RUF016",
)  # fmt: skip
"""ruff's rules for what raises when it is run: syntax, names, formats, raises. None is about style."""
NOT_RULES = ("PLE25",)
"""Of those: characters that are odd and break nothing."""
TIMEOUT = 300.0
_FLAKE8 = re.compile(r"(?P<file>.+?):(?P<line>\d+):\d+: (?P<said>.+)")

Tool = Literal["ruff", "flake8", "ours"]


@check(
    "code.lint",
    why="A misspelt name in a branch that no test ran answered its first user with status 500.",
    seconds=0.3,
)
def lint(source: Project) -> Result:
    """No Python file in the image has a syntax error, an undefined name or a format that does not fit.

    The project's own configuration of ruff or flake8 is followed instead where its folder has one.
    """
    files = code_files(source)
    if not files:
        raise NotApplicable("no Python file goes into the image")
    tool = configured(source.root)
    findings = _flake8(source, files) if tool == "flake8" else _ruff(source, files, own=tool == "ruff")
    by = {"ours": "for what breaks at run time"}.get(tool, f"by the project's configuration of {tool}")
    return Result("" if findings else f"{len(files)} files looked through {by}", tuple(findings))


def configured(root: Path) -> Tool:
    """Which linter a project has configured in its folder."""
    if any((root / name).is_file() for name in ("ruff.toml", ".ruff.toml")):
        return "ruff"
    try:
        if "ruff" in tomllib.loads((root / "pyproject.toml").read_text("utf-8")).get("tool", {}):
            return "ruff"
    except (OSError, ValueError):
        pass
    for name in (".flake8", "setup.cfg", "tox.ini"):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string((root / name).read_text("utf-8"))
        except (OSError, ValueError, configparser.Error):
            continue
        if parser.has_section("flake8"):
            return "flake8"
    return "ours"


def _ruff(project: Project, files: Sequence[str], own: bool) -> list[Finding]:
    try:
        from ruff.__main__ import find_ruff_bin  # type: ignore[import-untyped]
    except ImportError:
        raise NotApplicable("code.lint needs ruff", "pip install 'serinus[checks]'") from None
    target = "py" + project.image.python.replace(".", "")
    rules = ("--select", ",".join(RULES), "--ignore", ",".join(NOT_RULES), "--target-version", target)
    chosen = ("--force-exclude",) if own else ("--isolated", *rules)
    command = [find_ruff_bin(), "check", "--no-cache", "--quiet", "--output-format", "json", *chosen, "--"]
    done = _run([*command, *files], project.root)
    if done.returncode not in (0, 1):
        raise ProjectError(f"ruff cannot be run: {done.stderr.strip()[-500:]}", "Correct its configuration.")
    return from_ruff(done.stdout, project.root)


def from_ruff(text: str, root: Path) -> list[Finding]:
    """The findings in ruff's JSON. Pure."""
    found = []
    for one in json.loads(text or "[]"):
        file = Path(one["filename"])
        name = str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
        code = one.get("code") or "syntax"
        line = (one.get("location") or {}).get("row")
        found.append(Finding(f"{one['message']} ({code})", _todo(one), name, line))
    return found


def _todo(one: dict[str, object]) -> str:
    code = str(one.get("code") or "")
    if code.startswith("F82"):
        return "Define the name, import it, or correct its spelling."
    if code.startswith(("F50", "F52", "PLE13")):
        return "Make the format and its arguments fit."
    return f"Correct the line; see {one['url']}" if one.get("url") else "Correct the line."


def _flake8(project: Project, files: Sequence[str]) -> list[Finding]:
    if importlib.util.find_spec("flake8") is None:
        raise NotApplicable(
            "the project is configured for flake8, which is not installed beside Serinus",
            "Install it: pip install flake8",
        )
    done = _run([sys.executable, "-m", "flake8", "--format=default", "--", *files], project.root)
    found = from_flake8(done.stdout)
    if done.returncode and not found:
        raise ProjectError(
            f"flake8 cannot be run: {done.stderr.strip()[-500:]}", "Correct its configuration."
        )
    return found


def from_flake8(text: str) -> list[Finding]:
    """The findings in flake8's default format. Pure."""
    matches = (_FLAKE8.fullmatch(line) for line in text.splitlines())
    return [
        Finding(m["said"], "Correct the line.", m["file"].removeprefix("./"), int(m["line"]))
        for m in matches
        if m
    ]


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
