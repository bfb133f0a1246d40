"""`serinus build` beside `docker build` of the exported Dockerfile: the same changes, here, with warm caches.

    python bench/build/bench.py [--runs 5] [--json FILE]

Needs Docker, Debian's docker-registry, mmdebstrap, a package index for the first minute, and about 15 GB on
the disk. Every figure is a median; the commands are those a user gives, from start to exit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import idle
from report import CODE, FIRST, MODEL, Figures, Pair
from tools import CannotMeasureError, Sample, choose_docker, machine, timed
from wire import Meter, registry
from workload import Docker, Project, Serinus, fetch_wheels, make_docker_base


@dataclass(frozen=True)
class Bench:
    """The two builders on one project."""

    work: Path
    runs: int
    serinus: Serinus
    docker: Docker
    wheels: Path

    @property
    def project(self) -> Project:
        return self.serinus.project

    def side_by_side(
        self,
        name: str,
        change: Callable[[int], None],
        ours: Callable[[], object],
        theirs: Callable[[], object],
    ) -> Pair:
        """Make a change, and time both on it, in turns: whatever slows the machine slows both."""
        seconds: list[tuple[float, float]] = []
        for turn in range(self.runs):
            change(turn)
            seconds.append((timed(ours), timed(theirs)))
            figures = "serinus {:.2f} s, docker {:.2f} s".format(*seconds[-1])
            say(f"{name}, {turn + 1} of {self.runs}: {figures}")
        return Pair(Sample(tuple(s[0] for s in seconds)), Sample(tuple(s[1] for s in seconds)))

    def code(self) -> Pair:
        """A line of code is changed."""

        def change(turn: int) -> None:
            self.project.change_code(100 + turn)

        return self.side_by_side(CODE, change, self.serinus.build, self.docker.build)

    def model(self) -> Pair:
        """All weights are changed."""

        def change(turn: int) -> None:
            self.project.change_model(100 + turn)

        return self.side_by_side(MODEL, change, self.serinus.build, self.docker.build)

    def first(self) -> Pair:
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
        return self.side_by_side(FIRST, forget, fresh.build, lambda: self.docker.build("--no-cache"))

    def pushes(self) -> dict[str, dict[str, int]]:
        """Bytes to a registry: the whole image, and after a change of code."""
        pushers = {"serinus publish": self.serinus.publish, "docker push": self.docker.publish}
        sent: dict[str, dict[str, int]] = {name: {} for name in pushers}
        with registry(self.work) as port:
            meter = Meter(port)
            for number, what in enumerate(("for the whole image", "after a change of code")):
                self.project.change_code(1000 + number)
                self.serinus.build()
                self.docker.build()
                for name, push in pushers.items():
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


def measure(bench: Bench) -> Figures:
    """All figures; the first builds last, since they drop the caches."""
    builds = {CODE: bench.code(), MODEL: bench.model()}
    limit = physical_limit(bench.project.root / "weights.bin", bench.work, bench.runs)
    pushed = bench.pushes()
    resting = idle.memory(bench.project.root, bench.serinus.env)
    layers = bench.serinus.layers()
    return Figures(
        machine=machine(bench.docker.command, bench.docker.env),
        layers=layers,
        wheels=sum(file.stat().st_size for file in bench.wheels.iterdir()),
        builds=builds | {FIRST: bench.first()},
        limit=limit,
        pushed=pushed,
        imports=idle.import_time(bench.runs),
        idle=resting,
    )


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="measurements of each thing; 5 unless told")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--docker", help="the docker program; by default the first whose BuildKit works")
    parser.add_argument("--work", type=Path, help="where to work; by default a folder that is removed again")
    return parser.parse_args()


def main() -> int:
    """Run it; exit code 1 when a claim does not hold, 2 when it cannot be measured."""
    given = arguments()
    work = given.work or Path(tempfile.mkdtemp(prefix="serinus-bench-"))
    work.mkdir(parents=True, exist_ok=True)
    bench: Bench | None = None
    try:
        bench = prepare(work, given.runs, given.docker)
        figures = measure(bench)
    except CannotMeasureError as error:
        say(f"cannot measure: {error}")
        return 2
    finally:
        if bench is not None:
            bench.docker.forget()
        if not given.work:
            shutil.rmtree(work, ignore_errors=True)
    print(figures.table())
    if given.json:
        given.json.write_text(json.dumps(figures.to_json(), indent=1) + "\n")
    return 0 if figures.holds else 1


if __name__ == "__main__":
    sys.exit(main())
