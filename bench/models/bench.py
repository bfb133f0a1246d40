"""How long a large model takes to register and to pull, beside what the machine needs at least.

    python bench/models/bench.py [--runs 5] [--megabytes 2000] [--registry] [--json FILE]

The commands `serinus model register` and `serinus model pull` are timed from start to exit, with the most
memory that their process had. Beside each, in turns and in changing order, stands the physical limit: a loop
that reads the same bytes, hashes them by SHA-256 and writes them to a new file, and does nothing else. With
`--registry` the same against Debian's docker-registry on loopback, which has to read, hash and write
everything once more.

Before each measurement the disk has written what it was given before, what is to be read is in memory, as it
is just after training, and as much memory has just been freed as will be written: a virtual machine whose
host has taken its free memory away pays for getting it back. Every figure is a median.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHUNK = 1 << 20
PROJECT = '[service]\nname = "bench"\nentrypoint = "service:predict"\n\n[models]\nregistry = "{where}"\n'


@dataclass
class Figures:
    """Seconds of each kind of work, and the most memory of the commands, in bytes."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, seconds: float, memory: int = 0) -> None:
        self.seconds.setdefault(what, []).append(seconds)
        self.memory[what] = max(self.memory.get(what, 0), memory)

    def median(self, what: str) -> float:
        return statistics.median(self.seconds[what])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--registry", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serinus-bench-") as folder:
        work = Path(folder)
        model = make(work / "model", options.megabytes)
        figures = Figures()
        with contextlib.ExitStack() as stack:
            where = stack.enter_context(docker_registry(work)) if options.registry else "oci:store"
            for run in range(options.runs):
                once(work, model, where, figures, limit_first=run % 2 == 0)
                print(f"run {run + 1} of {options.runs}: {last(figures)}", file=sys.stderr)
    print(report(figures, options.megabytes, where))
    if options.json:
        told = {"machine": machine(), "seconds": figures.seconds, "memory": figures.memory}
        options.json.write_text(json.dumps(told, indent=1))


def once(work: Path, model: Path, where: str, figures: Figures, *, limit_first: bool) -> None:
    """Register and pull once, the limit before or behind each; each time of bytes not seen before."""

    def pair(what: str, source: Path, *words: str | Path) -> None:
        if limit_first:
            figures.add(f"limit of {what}", limit(source, work / "copy"))
        figures.add(what, *timed(source, work / "copy", what, *words))
        if not limit_first:
            figures.add(f"limit of {what}", limit(source, work / "copy"))

    project = work / "project"
    project.mkdir(exist_ok=True)
    (project / "serinus.toml").write_text(PROJECT.format(where=where))
    stir(model)
    pair("register", model, "-C", project, "big", model)
    blobs = (work / "project").glob("store/blobs/sha256/*")
    stored = max(blobs, key=lambda p: p.stat().st_size, default=model)
    pair("pull", stored, "-C", project, "big", work / "pulled")
    shutil.rmtree(work / "pulled")
    shutil.rmtree(project / "store", ignore_errors=True)


def make(path: Path, megabytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    return path


def stir(model: Path) -> None:
    """Change a few bytes, so that it is another model."""
    with model.open("r+b", buffering=0) as file:
        file.write(os.urandom(64))


def settle(path: Path, scratch: Path) -> None:
    """Have on the disk all that was written, in memory what is to be read, and free what is to be filled."""
    with scratch.open("wb", buffering=0) as file:
        left = path.stat().st_size
        while left > 0:
            left -= file.write(bytes(CHUNK))
    os.sync()
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass
    scratch.unlink()


def limit(model: Path, copy: Path) -> float:
    """Seconds to read a file, hash it by SHA-256 and write it once, and nothing else."""
    settle(model, copy)
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK))
    begin = time.perf_counter()
    with model.open("rb", buffering=0) as source, copy.open("wb", buffering=0) as target:
        while count := source.readinto(buffer):
            digest.update(buffer[:count])
            target.write(buffer[:count])
    digest.hexdigest()
    seconds = time.perf_counter() - begin
    copy.unlink()
    return seconds


def timed(source: Path, scratch: Path, *words: str | Path) -> tuple[float, int]:
    """Seconds of wall-clock time of a `serinus model` command, and the most bytes it had in memory."""
    settle(source, scratch)
    command = [str(Path(sys.executable).with_name("serinus")), "model", *map(str, words)]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    said = process.stderr.read().decode() if process.stderr else ""
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stderr:
        process.stderr.close()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{said}")
    return seconds, usage.ru_maxrss * 1024


def environment() -> Mapping[str, str]:
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


@contextlib.contextmanager
def docker_registry(work: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(work / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": host, "secret": "for benchmarks alone"},
    }
    (work / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
    command = ["docker-registry", "serve", str(work / "config.yml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", int(host.split(":")[1]))),
            ):
                break
            time.sleep(0.05)
        yield f"{host}/models"
    finally:
        process.terminate()
        process.wait(10)


def last(figures: Figures) -> str:
    return ", ".join(f"{what} {seconds[-1]:.2f} s" for what, seconds in figures.seconds.items())


def report(figures: Figures, megabytes: int, where: str) -> str:
    place = "a layout folder" if where.startswith("oci:") else "docker-registry"
    lines = [
        f"{megabytes / 1000:g} GB in {place}; {len(figures.seconds['register'])} runs; {machine()}",
        "",
        "| | seconds | physical limit | ratio | most memory |",
        "|---|---|---|---|---|",
    ]
    for what in ("register", "pull"):
        mine, least = figures.median(what), figures.median(f"limit of {what}")
        memory = figures.memory[what] / 1e6
        lines.append(
            f"| `serinus model {what}` | {mine:.2f} | {least:.2f} | {mine / least:.2f} | {memory:.0f} MB |"
        )
    return "\n".join(lines)


def machine() -> str:
    told = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.split(":")[1].strip() for line in told if line.startswith("model name"))
    model = next(models, platform.machine())
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
