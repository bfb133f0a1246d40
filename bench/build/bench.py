"""`serinus build` beside `docker build` of the exported Dockerfile: the same changes, on this machine, with warm caches.

    python bench/build/bench.py [--runs 5] [--json FILE]

Needs Docker, Debian's docker-registry, mmdebstrap, a package index for the first minute, and about 15 GB on
the disk. Every figure is a median; the commands are those a user gives, from start to exit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import idle
from tools import Failed, Sample, choose_docker, machine, timed
from wire import Meter, registry
from workload import BASE_TAG, Docker, Project, Serinus, fetch_wheels, make_docker_base

CLAIMS = {"code change": 20.0, "model change": 5.0, "first build, no dependencies cached": 1.0}
"""How many times faster than `docker build` it must be, at least."""
LIMIT = 2.0
"""A model change may take so many times what reading, hashing and writing the model takes."""


@dataclass
class Bench:
    """The two builders on one project."""

    work: Path
    runs: int
    serinus: Serinus
    docker: Docker
    wheels: Path
    pairs: dict[str, tuple[Sample, Sample]] = field(default_factory=dict)

    @property
    def project(self) -> Project:
        return self.serinus.project

    def side_by_side(self, name: str, change: Callable[[int], None], ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        """Make a change, and time both on it, in turns: whatever slows the machine slows both."""
        seconds: list[tuple[float, float]] = []
        for turn in range(self.runs):
            change(turn)
            seconds.append((timed(ours), timed(theirs)))
            say(f"{name} {turn + 1}/{self.runs}: serinus {seconds[-1][0]:.2f} s, docker {seconds[-1][1]:.2f} s")
        self.pairs[name] = Sample(tuple(s[0] for s in seconds)), Sample(tuple(s[1] for s in seconds))

    def changes(self) -> None:
        """Code alone, then the model alone."""
        self.side_by_side(
            "code change", lambda n: self.project.change_code(100 + n), self.serinus.build, self.docker.build
        )
        self.side_by_side(
            "model change", lambda n: self.project.change_model(100 + n), self.serinus.build, self.docker.build
        )

    def first(self) -> None:
        """A first build: the base is there, dependencies come from the same folder of wheels for both."""

        def forget(turn: int) -> None:
            self.docker.forget()
            shutil.rmtree(self.work / "first", ignore_errors=True)
            shutil.rmtree(self.project.root / ".serinus")
            shutil.copytree(self.work / "cache" / "bases", self.work / "first" / "bases")

        env = {
            "SERINUS_CACHE": str(self.work / "first"),
            "UV_CACHE_DIR": str(self.work / "first" / "uv"),
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.wheels),
        }
        fresh = Serinus(self.project, env)
        self.side_by_side("first build, no dependencies cached", forget, fresh.build, lambda: self.docker.build("--no-cache"))

    def pushes(self) -> dict[str, dict[str, int]]:
        """Bytes to a registry: the whole image, and after a change of code."""
        sent: dict[str, dict[str, int]] = {"serinus publish": {}, "docker push": {}}
        with registry(self.work) as port:
            meter = Meter(port)
            for number, what in enumerate(("whole image", "code change")):
                self.project.change_code(1000 + number)
                self.serinus.build()
                self.docker.build()
                for name, push in (("serinus publish", self.serinus.publish), ("docker push", self.docker.publish)):
                    meter.take()
                    push(f"127.0.0.1:{meter.port}/{name.split()[0]}:1")
                    sent[name][what] = meter.take()
        return sent


def physical_limit(model: Path, work: Path, runs: int) -> Sample:
    """Seconds to read the model, hash it by SHA-256 and write it once, and nothing else."""

    def once() -> None:
        digest = hashlib.sha256()
        with model.open("rb", buffering=0) as source, (work / "copy").open("wb", buffering=0) as target:
            while data := source.read(1 << 20):
                digest.update(data)
                target.write(data)
        digest.hexdigest()

    seconds = []
    for _ in range(runs):
        seconds.append(timed(once))
        (work / "copy").unlink()
    return Sample(tuple(seconds))


def prepare(work: Path, runs: int, wanted: str | None) -> Bench:
    """Make the project, its export and the Docker base, and build once with each."""
    command, docker_env = choose_docker(work, wanted)
    project = Project(work / "project", work / "export")
    project.write()
    serinus = Serinus(project, {"SERINUS_CACHE": str(work / "cache"), "UV_CACHE_DIR": str(work / "uv")})
    say("building once: lock, base and dependencies come from outside")
    serinus.build()
    serinus.build("--dockerfile", str(project.export))
    wheels = fetch_wheels(project, work)
    say("making the base for docker build")
    make_docker_base(command, project, work, work / "cache")
    docker = Docker(project, command, docker_env)
    docker.forget()
    docker.build()
    return Bench(work, runs, serinus, docker, wheels)


def measure(bench: Bench) -> dict[str, object]:
    """All figures, as JSON."""
    bench.changes()
    limit = physical_limit(bench.project.root / "weights.bin", bench.work, bench.runs)
    sent = bench.pushes()
    imports = idle.import_time(bench.runs)
    memory = idle.memory(bench.project.root, bench.serinus.env)
    built = bench.serinus.build()
    bench.first()
    return {
        "machine": machine(bench.docker.command, bench.docker.env),
        "layers": {layer["name"]: layer["size"] for layer in built["layers"]},  # type: ignore[attr-defined]
        "wheels": sum(file.stat().st_size for file in bench.wheels.iterdir()),
        "builds": {
            name: {
                "serinus": ours.to_json(),
                "docker": theirs.to_json(),
                "ratio": theirs.median / ours.median,
                "claimed": CLAIMS[name],
            }
            for name, (ours, theirs) in bench.pairs.items()
        },
        "physical limit of the model": limit.to_json(),
        "model change over the limit": bench.pairs["model change"][0].median / limit.median,
        "bytes pushed": sent,
        "import": {name: sample.to_json() for name, sample in imports.items()},
        "idle replica, MiB": memory,
    }


def show(bench: Bench, figures: dict[str, object]) -> bool:
    """Print the tables; whether every claim holds."""
    print(f"\n{'':40}{'serinus build':>24}{'docker build':>26}{'ratio':>8}   at least")
    holds = True
    for name, (ours, theirs) in bench.pairs.items():
        ratio = theirs.median / ours.median
        holds = holds and ratio >= CLAIMS[name]
        verdict = "" if ratio >= CLAIMS[name] else "  MISSED"
        print(f"{name:40}{ours!s:>24}{theirs!s:>26}{ratio:8.1f}   {CLAIMS[name]:g}{verdict}")
    over = float(str(figures["model change over the limit"]))
    holds = holds and over <= LIMIT
    limit = figures["physical limit of the model"]
    print(f"\nreading, hashing and writing the model once: {limit['median']:.2f} s; a model change takes {over:.2f} times that, at most {LIMIT:g}")  # type: ignore[index]
    for name, sent in figures["bytes pushed"].items():  # type: ignore[attr-defined]
        print(f"{name}: {sent['whole image']:,} bytes for the whole image, {sent['code change']:,} after a change of code")
    for name, sample in figures["import"].items():  # type: ignore[attr-defined]
        print(f"{name}: {sample['median'] * 1000:.0f} ms")
    memory = figures["idle replica, MiB"]
    print(f"idle replica: {memory['resident']:.0f} MiB resident in {memory['processes']:.0f} process(es)")  # type: ignore[index]
    print("\n" + "\n".join(f"{name:16}{value}" for name, value in figures["machine"].items()))  # type: ignore[attr-defined]
    return holds


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run it; exit code 1 when a claim does not hold, 2 when it cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="measurements of each thing, 5 unless told otherwise")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--docker", help="the docker program; by default the first whose BuildKit works")
    parser.add_argument("--work", type=Path, help="where to work; by default a folder that is removed at the end")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="serinus-bench-", dir=os.environ.get("TMPDIR")))
    work.mkdir(parents=True, exist_ok=True)
    bench = None
    try:
        bench = prepare(work, given.runs, given.docker)
        figures = measure(bench)
        holds = show(bench, figures)
        if given.json:
            given.json.write_text(json.dumps(figures, indent=1) + "\n")
        return 0 if holds else 1
    except Failed as error:
        say(f"cannot measure: {error}")
        return 2
    finally:
        if bench:
            bench.docker.forget()
        if not given.work:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
