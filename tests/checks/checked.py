"""Running checks in tests: projects to seed faults into, and the real runner with the real sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from serinus.checks import Check, Verdict
from serinus.checks.catalogue import CHECKS
from serinus.checks.run import run
from serinus.checks.subjects import Given
from serinus.image.build import layout_of
from serinus.project import Project
from serinus.runtimes import Runtime
from serinus.runtimes.sandbox import Sandbox

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SERVICE = '''"""A service that counts glad words."""

from dataclasses import dataclass


@dataclass
class Mood:
    positive: bool
    score: float


GLAD = {"good", "great", "love", "nice"}


def predict(text: str) -> Mood:
    """How glad a text is."""
    words = text.lower().split()
    score = sum(word in GLAD for word in words) / max(1, len(words))
    return Mood(positive=score > 0, score=score)
'''
EXAMPLE_LINES = """{"request": "a great day", "response": {"positive": true, "score": 0.3333333333333333}}
{"request": "a long day", "response": {"positive": false, "score": 0.0}}
"""
FILE = '[service]\nname = "mood"\nentrypoint = "service:predict"\n'


def small(folder: Path, **files: str) -> Path:
    """A small typed project; ``files`` (``__`` for ``.``, ``_0_`` for ``/``) replace or add to its own.

    ``small(tmp_path, service__py="...")``. A file that is ``""`` is left out.
    """
    written = {"serinus.toml": FILE, "service.py": SERVICE, "examples.jsonl": EXAMPLE_LINES}
    written |= {name.replace("_0_", "/").replace("__", "."): text for name, text in files.items()}
    for name, text in written.items():
        if text:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return folder


def copied(example: str, folder: Path) -> Path:
    """A copy of one of the examples, with what training or fetching has made, without what builds have."""
    left_out = shutil.ignore_patterns(".serinus", "__pycache__")
    shutil.copytree(EXAMPLES / example, folder, ignore=left_out, dirs_exist_ok=True)
    return folder


def checked(
    folder: Path,
    *only: str,
    image: str | None = None,
    against: str | None = None,
    runtime: Runtime | None = None,
    checks: Sequence[Check] = CHECKS,
) -> dict[str, Verdict]:
    """Run some checks of a project (all, if none is named) with the real runner; the verdicts by id."""
    project = Project.load(folder)
    given = Given(layout_of(project), runtime or Sandbox(), project, image, against)
    report = run(checks, given, only=only)
    return {verdict.check: verdict for verdict in report.verdicts}


def told(verdict: Verdict) -> str:
    """All that a verdict says, for assertions."""
    lines = [f"{verdict.status}: {verdict.summary}"]
    for f in verdict.findings:
        lines.append(f"{f.file}:{f.line} {f.pointer} {f.message} {f.todo}")
    return "\n".join(lines)
