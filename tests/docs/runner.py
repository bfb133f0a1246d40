"""Runs the examples of a page, in the order in which they stand, in one folder.

Three kinds of fenced blocks take part; every other block is only read:

- ``python title="service.py"`` (any language with a title) writes that file;
- ``console``: lines that begin with ``$ `` are run by bash, a ``\\`` at the end goes on on the next line, and
  what stands below is what they print: ``...`` stands for anything, as a line of its own for any lines;
- ``console background``: its one command is started, and ended at the end of the page; what it prints is not
  compared.

A comment ``<!-- needs: docker, registry -->`` names the parts that a page needs (the markers of the tests).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\S*)[ ]?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"<!-- needs: ([\w, ]+) -->")


@dataclass(frozen=True)
class Block:
    language: str
    info: str
    text: str
    line: int

    @property
    def title(self) -> str:
        match = re.search(r'title="([^"]+)"', self.info)
        return match[1] if match else ""


@dataclass(frozen=True)
class Command:
    text: str
    expected: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    for match in FENCE.finditer(page):
        yield Block(match[1], match[2], match[3], page.count("\n", 0, match.start()) + 1)


def needs(page: str) -> tuple[str, ...]:
    match = NEEDS.search(page)
    return tuple(part.strip() for part in match[1].split(",")) if match else ()


def commands(block: Block) -> Iterator[Command]:
    command, expected, start = "", [], block.line
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            if command:
                yield Command(command, "\n".join(expected), start)
            command, expected, start = line[2:], [], number
        elif command.endswith("\\") and not expected:
            command += "\n" + line
        else:
            expected.append(line)
    if command:
        yield Command(command, "\n".join(expected), start)


def agrees(expected: str, found: str) -> bool:
    """Whether what was printed is what the page says."""
    lines = [
        r".*\n" if line.strip() == "..." else _line(line) + r"\n" for line in expected.rstrip().splitlines()
    ]
    pattern = "".join("(?:.*\\n)*?" if line == r".*\n" else line for line in lines)
    return re.fullmatch(pattern, found.rstrip() + "\n" if found.strip() else "") is not None


def _line(line: str) -> str:
    return r".*".join(re.escape(part.rstrip() if last else part) for part, last in _parts(line)) + r"[ ]*"


def _parts(line: str) -> list[tuple[str, bool]]:
    parts = line.split("...")
    return [(part, number == len(parts) - 1) for number, part in enumerate(parts)]


def run_page(page: Path, folder: Path, env: dict[str, str]) -> None:
    """Run a page's examples; AssertionError with the line of one that does not do what it says."""
    background: list[subprocess.Popen[bytes]] = []
    full = {**os.environ, **env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    try:
        for block in blocks(page.read_text()):
            if block.title:
                path = folder / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
            elif block.language == "console":
                for command in commands(block):
                    if "background" in block.info:
                        background.append(_start(command, folder, full))
                    else:
                        _check(page, command, folder, full)
    finally:
        for process in background:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _start(command: Command, folder: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / ".background.log").open("ab") as log:
        return subprocess.Popen(
            ["bash", "-c", f"exec {command.text}"],
            cwd=folder,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _check(page: Path, command: Command, folder: Path, env: dict[str, str]) -> None:
    script = f"set -o pipefail\n{command.text}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    log = folder / ".background.log"
    told = f"{page.name}:{command.line}: $ {command.text}\n{done.stdout}\n-- stderr --\n{done.stderr}"
    told += f"\n-- background --\n{log.read_text()[-2000:]}" if log.exists() else ""
    assert agrees(command.expected, done.stdout), f"{told}\n-- expected --\n{command.expected}"
    assert done.returncode == 0 or "$?" in command.text or "error" in command.expected, told


_ROOT = Path(__file__).resolve().parents[2]
PAGES_WITH_EXAMPLES = [
    page
    for page in [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
    if any(block.language == "console" for block in blocks(page.read_text()))
]
