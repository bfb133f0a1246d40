"""Faults in the Python files of a service."""

from __future__ import annotations

from pathlib import Path

from faults import Fault, append


def _branch(folder: Path) -> None:
    append(
        folder / "lexicon.py",
        "\n\ndef rare(word):\n    if word == '':\n        return wieght\n    return 1\n",
    )


def _format(folder: Path) -> None:
    append(folder / "lexicon.py", '\n\ndef told(word):\n    return "{}: {}".format(word)\n')


def _syntax(folder: Path) -> None:
    append(folder / "lexicon.py", '\n\ndef told(word):\n    return f"{word"\n')


def _import(folder: Path) -> None:
    append(folder / "lexicon.py", "\n\ndef shown(word):\n    import rich\n\n    rich.print(word)\n")


FAULTS = (
    Fault("an undefined name in a branch that no test runs", "flask-app", "code.lint", "wieght", _branch),
    Fault("a format with more places than arguments", "flask-app", "code.lint", "F524", _format),
    Fault("an f-string that is not closed", "flask-app", "code.lint", "lexicon.py", _syntax),
    Fault("an import that only the developer's machine has", "flask-app", "code.imports", "'rich'", _import),
)
