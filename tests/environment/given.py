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
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import serinus
from serinus.environment import place
from serinus.environment.envoy import Settings
from serinus.environment.envoy.admin import Admin
from serinus.environment.envoy.process import Process
from serinus.environment.fleet import ports
from serinus.environment.status import Status
from serinus.environment.up import JOURNAL, SANDBOXES
from serinus.environment.up import down as clear
from serinus.errors import ControlError, RouterError
from serinus.image.build import build, layout_of
from serinus.project import Project
from serinus.registry import MANIFEST, Descriptor
from serinus.rollout.journal import Journal
from serinus.rollout.state import State
from serinus.runtimes import Survivor
from serinus.runtimes.named import runtime

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
    "same again": "pass  # as good as both",
    "same as ever": "pass  # as good as all of them",
    "wrong type": 'answer = {"positive": "false"}',
    "always 500": 'raise RuntimeError("broken")',
    "crashes": "os.kill(os.getpid(), signal.SIGKILL) if asked % 20 == 0 else None",
    "hangs": "time.sleep(3600)",
    "stream breaks": """start_response("200 OK", [("Content-Type", "application/json")])
    def stream():
        yield b'{"posi'
        raise RuntimeError("in the middle")
    return stream()""",
    "eats memory": "kept = [b'x' * (1 << 20) for _ in range(100_000)]",
    "sometimes 500": "import random; 1 / (random.random() > 0.01)",
    "slow": "time.sleep(0.05)",
    "negative": 'answer = {"positive": False}',
    "unlike its example": 'answer = {"positive": False}  # and it knows better',
    "confused by a router": 'answer = {"positive": "HTTP_X_REQUEST_ID" not in environ}',
}
"""Name of an image -> the line that makes it what it is."""
GOLDEN = ("unlike its example", "confused by a router")
"""Those that have an example of what is right."""
EXAMPLE = {"request": ["a great day"], "response": {"positive": True}}
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
name = "{name}"
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
    (folder / "examples.jsonl").unlink(missing_ok=True)
    if name in GOLDEN:
        (folder / "examples.jsonl").write_text(json.dumps(EXAMPLE) + "\n")


def images(folder: Path) -> None:
    """Build all of them into the layout of a project."""
    settle(folder)
    for name in reversed(BREAKS):
        write(folder, name)
        build(Project.load(folder), tag=tag(name).partition(":")[2])


def foreign(folder: Path) -> None:
    """``mood:foreign``: what is good, for a kind of machine that this is not."""
    layout = layout_of(Project.load(folder))

    def put(document: Any) -> tuple[Descriptor, bytes]:
        data = json.dumps(document).encode()
        with layout.new_blob() as blob:
            blob.write(data)
        return Descriptor(MANIFEST, blob.digest, len(data)), data

    manifest = json.loads(layout.manifest(layout.resolve(tag("good"))))
    config = json.loads(layout.path(manifest["config"]["digest"]).read_bytes())
    other, _ = put(config | {"architecture": "s390x"})
    manifest["config"] |= {"digest": other.digest, "size": other.size}
    layout.write_manifest(*put(manifest), ["mood:foreign"])


def settle(
    folder: Path,
    *,
    name: str | None = None,
    steps: list[float] | None = None,
    minimum: float = 0.5,
    bake: float = 2.0,
    rollout: str = "",
    environment: str = "",
) -> tuple[int, int]:
    """Write the project's file with a name and ports of its own: that of callers, that of the control API."""
    port = ports.free(())
    control = ports.free((port,))
    text = SETTINGS.format(
        name=name or f"mood-{os.urandom(4).hex()}",
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

    # When

    def up(self, image: str | None = "good") -> None:
        """Start it, and wait until it serves."""
        self.start(image)
        self.until(_serves, "it serves")

    def start(self, image: str | None = None, *, program: tuple[str, ...] = ("-m", "serinus")) -> None:
        """Start it; wait for nothing."""
        arguments = ["up", *([tag(image)] if image else []), "-C", str(self.folder)]
        with (self.folder / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def deploy(self, image: str, strategy: str | None = None) -> serinus.Rollout:
        """Start the rollout of an image."""
        return self.environment.deploy(tag(image), strategy)

    def load(self, rate: float, *options: str) -> None:
        """Let callers ask from now on."""
        command = [sys.executable, str(Path(__file__).with_name("load.py")), str(self.port), str(rate)]
        self.loads.append(
            subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )

    def kill(self) -> None:
        """End the controller as a kernel does, without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_envoy(self) -> None:
        """The same for the router."""
        pid = self.envoy.pid()
        assert pid
        os.kill(pid, signal.SIGKILL)

    def kill_replica(self, image: str, number: int = 0) -> None:
        """The same for the service of one replica."""
        [one] = [one for one in self.replicas(image) if one.number == number]
        [*_, service] = processes_of(one.port)  # bubblewrap came before it
        os.kill(service, signal.SIGKILL)

    def kill_all(self) -> None:
        """The same for everything at once, as when the power fails."""
        self.kill()
        self.kill_envoy()
        for one in self.replicas():
            for pid in reversed(processes_of(one.port)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> int:
        """End it as a person or an init system does; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def down(self) -> None:
        """Stop all of it, and what a killed one has left behind."""
        for load in self.loads:
            load.kill()
            load.communicate()
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            finally:
                self.process.kill()
                self.process.wait()
        if self.envoy.alive() or self.replicas():
            clear(self.project)

    # Then

    @property
    def environment(self) -> serinus.Environment:
        """Its control API."""
        return serinus.Environment(self.folder)

    @property
    def project(self) -> Project:
        """Its project."""
        return Project.load(self.folder)

    @property
    def log(self) -> str:
        """What the controller has said."""
        file = self.folder / "up.log"
        return file.read_text() if file.exists() else ""

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

    def until_at(self, share: float) -> Status:
        """Wait until the candidate has this share of the traffic."""
        return self.until(
            lambda status: status.weight.wanted == status.weight.in_force == share, f"{share:.0%} in force"
        )

    def status(self) -> Status:
        """How it stands."""
        return self.environment.status()

    def in_charge(self) -> str:
        """What a person called the version in charge; empty where none is."""
        stable = self.status().stable
        return stable.name if stable else ""

    def kinds(self, rollout: int | None = None) -> list[str]:
        """The entries of a rollout, by kind; default the latest."""
        entries = self.environment.history(limit=1000)
        number = rollout or max(entry.rollout for entry in entries)
        return [entry.kind for entry in entries if entry.rollout == number]

    def said(self, kind: str) -> str:
        """What the latest entry of a kind says."""
        entries = self.environment.history(limit=1000)
        return next(entry.message for entry in reversed(entries) if entry.kind == kind)

    def digest(self, image: str) -> str:
        """The version that an image is."""
        return layout_of(self.project).resolve(tag(image)).digest

    def replicas(self, image: str | None = None) -> list[Survivor]:
        """The replicas that run, as the runtime knows them, whoever started them."""
        table = self.project.environment
        found = runtime(table.runtime, state=self.state / SANDBOXES).list(self.known_as)
        wanted = {self.digest(image)} if image else {one.labels["version"] for one in found}
        return [one for one in found if one.alive and one.labels["version"] in wanted]

    def running(self) -> dict[str, int]:
        """How many replicas of each version there are."""
        return dict(Counter(one.labels["version"] for one in self.replicas()))

    @property
    def known_as(self) -> str:
        """By what its runtime knows its replicas."""
        return place.known_as(self.project.environment.name or "", self.state)

    @property
    def envoy(self) -> Process:
        """Its router's process."""
        return Process(self.state / "router", Settings(port=self.port))

    @property
    def state(self) -> Path:
        """Where it keeps its state."""
        return place.folder_of(self.folder)

    def in_force(self) -> float | None:
        """The candidate's share of the traffic, as Envoy itself says; None while it does not answer."""
        try:
            dump = json.loads(Admin(self.state / "router").ask("/config_dump?resource=dynamic_route_configs"))
        except RouterError:
            return None
        [host] = dump["configs"][0]["route_config"]["virtual_hosts"]
        return float(host["routes"][0]["metadata"]["filter_metadata"]["serinus"]["weight"]) / 10_000

    def journal(self) -> State:
        """What the journal of a controller that is gone says."""
        journal = Journal(self.state / JOURNAL)
        try:
            return journal.load()[0]
        finally:
            journal.close()

    def seen(self) -> Seen:
        """End the load; what its callers saw."""
        load = self.loads.pop()
        out, _ = load.communicate(timeout=120)
        return Seen(**json.loads(out))


def _serves(status: Status) -> bool:
    """Whether the version in charge is ready, and the router knows."""
    ready = any(one.role == "stable" and one.health == "ready" for one in status.versions)
    return ready and not status.trouble and status.weight.in_force is not None


@dataclass(frozen=True)
class Seen:
    """What callers saw."""

    asked: int
    resent: int
    answers: dict[str, int]
    versions: dict[str, int]
    first: dict[str, float]
    last: dict[str, float]
    seconds: dict[str, float]
    users: dict[str, list[str]]

    def nothing_wrong(self, least: int) -> bool:
        """Whether each of at least so many requests got what it was promised, at the first time of asking."""
        assert self.asked >= least
        assert (self.answers, self.resent) == ({"ok": self.asked}, 0)
        return True


def processes_of(port: int) -> list[int]:
    """The processes of a sandboxed replica that was told to listen on a port, in the order of their birth."""
    told = [b"--port", str(port).encode()]
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            if any(words[at : at + 2] == told for at in range(len(words))):
                found.append(int(entry.name))
    return sorted(found)


def copied(folder: Path, target: Path) -> Path:
    """A project with its images, without copying a byte of them."""
    shutil.copytree(folder, target, copy_function=os.link, ignore=shutil.ignore_patterns("*.toml", "up.log"))
    return target
