"""Environments under test: a project, its images in all the ways in which a candidate can be broken, and the
real program around them. Tests read as sentences: given an environment, when something is deployed, then."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import serinus
from serinus.environment import ports
from serinus.environment.envoy.process import Process
from serinus.environment.envoy import Settings
from serinus.environment.status import Event, Status
from serinus.errors import ControlError
from serinus.image.build import build, layout_of
from serinus.project import Project
from serinus.runtimes import Survivor
from serinus.runtimes.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
APP = '''"""A web app that says whether sentences sound glad, and breaks as it is told."""

import json
import os
import signal
import threading
import time

GLAD = {"good", "great", "nice"}
asked = 0


def app(environ, start_response):
    global asked
    asked += 1
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = {"positive": any(word in GLAD for text in json.loads(body) for word in text.split())}
    %s
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
'''
BREAKS = {
    "good": "pass",
    "same": "pass  # as good as the other one",
    "wrong type": 'answer = {"positive": "false"}',
    "always 500": 'raise RuntimeError("broken")',
    "crashes": "os.kill(os.getpid(), signal.SIGKILL) if asked % 20 == 0 else None",
    "hangs": "time.sleep(3600)",
    "stream breaks": """start_response("200 OK", [("Content-Type", "application/json")])
    def stream():
        yield b'{"posi'
        raise RuntimeError("in the middle")
    return stream()""",
    "eats memory": "kept = [bytearray(1 << 20) for _ in range(100_000)]",
    "sometimes 500": "import random; 1 / (random.random() > 0.01)",
    "slow": "time.sleep(0.05)",
    "negative": 'answer = {"positive": False}',
}
"""Name of an image -> the line that makes it what it is."""
REQUEST = {"type": "array", "items": {"type": "string"}}
RESPONSE = {
    "type": "object",
    "properties": {"positive": {"type": "boolean"}},
    "required": ["positive"],
    "additionalProperties": False,
}
LOOSE = {"type": "object", "properties": {"positive": {}}}
"""What a candidate says of itself that breaks what callers rely on."""
SETTINGS = """[service]
name = "mood"
entrypoint = "app:app"
deadline = "20s"
grace = "5s"

[contract]
request = "request.json"
response = "response.json"

[environment]
port = {port}
control = {control}
{environment}

[rollout]
steps = {steps}
minimum = {minimum}
bake = {bake}
{rollout}
"""


def tag(name: str) -> str:
    """The tag of an image."""
    return f"mood:{name.replace(' ', '-')}"


def write(folder: Path, name: str) -> None:
    """The project as it is for one of the images."""
    (folder / "app.py").write_text(APP % BREAKS[name])
    (folder / "request.json").write_text(json.dumps(REQUEST))
    (folder / "response.json").write_text(json.dumps(LOOSE if name == "wrong type" else RESPONSE))


def images(folder: Path) -> None:
    """Build all of them into the layout of a project."""
    settle(folder)
    for name in reversed(BREAKS):
        write(folder, name)
        build(Project.load(folder), tag=tag(name).partition(":")[2])


def settle(
    folder: Path,
    *,
    steps: list[float] | None = None,
    minimum: float = 0.5,
    bake: float = 2.0,
    rollout: str = "",
    environment: str = "",
) -> tuple[int, int]:
    """Write the project's file with ports of its own: that of callers, that of the control API."""
    port, control = free_port(), free_port()
    text = SETTINGS.format(
        port=port,
        control=control,
        steps=steps or [10, 50, 100],
        minimum=minimum,
        bake=bake,
        rollout=rollout,
        environment=environment,
    )
    (folder / "serinus.toml").write_text(text)
    return port, control


@dataclass
class Running:
    """An environment that runs in processes of its own."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    loads: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> serinus.Environment:
        """Its control API."""
        return serinus.Environment(self.folder)

    @property
    def log(self) -> str:
        """What the controller has said."""
        return (self.folder / "up.log").read_text()

    def up(self, image: str | None = "good", *, command: tuple[str, ...] = ("-m", "serinus")) -> None:
        """Start it, and wait until it serves."""
        arguments = ["up", *([tag(image)] if image else []), "-C", str(self.folder)]
        with (self.folder / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.until(lambda status: bool(status.stable) and not status.trouble, "it serves")

    def until(self, holds: Callable[[Status], bool], what: str, seconds: float = 90.0) -> Status:
        """Wait for the status to be as it should."""
        status: Any = None
        for _ in range(int(seconds * 10)):
            try:
                status = self.status()
                if holds(status):
                    return status
            except ControlError:
                if self.process is not None and self.process.poll() is not None:
                    pytest.fail(f"it ended with {self.process.returncode}: {self.log[-3000:]}")
            time.sleep(0.1)
        pytest.fail(f"never: {what}; {status}\n{self.log[-3000:]}")

    def status(self) -> Status:
        """How it stands."""
        return self.environment.status()

    def kinds(self) -> list[str]:
        """The entries of the latest rollout, by kind."""
        entries = self.environment.history(limit=1000)
        latest = max(entry.rollout for entry in entries)
        return [entry.kind for entry in entries if entry.rollout == latest]

    def load(self, rate: float, *options: str) -> None:
        """Let callers ask from now on."""
        command = [sys.executable, str(Path(__file__).with_name("load.py")), str(self.port), str(rate)]
        self.loads.append(
            subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )

    def seen(self) -> Any:
        """End the load; what its callers saw."""
        load = self.loads.pop()
        out, _ = load.communicate(timeout=120)
        return json.loads(out)

    def kill(self) -> None:
        """End the controller as a kernel does, without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def down(self) -> None:
        """Stop all of it."""
        for load in self.loads:
            load.kill()
            load.communicate()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise


def copied(folder: Path, target: Path) -> Path:
    """A project with its images, without copying a byte of them."""
    shutil.copytree(folder, target, copy_function=os.link, ignore=shutil.ignore_patterns("*.toml", "up.log"))
    return target
