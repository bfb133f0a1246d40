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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import idle
from report import CODE, FIRST, MODEL, STATEMENT, Change, Figures
from tools import CannotMeasureError, Sample, builders, machine, timed
from wire import Meter, registry
from workload import Docker, Project, Serinus, fetch_wheels, make_docker_base


@dataclass(frozen=True)
class Bench:
    """The two builders on one project."""

    work: Path
    runs: int
    serinus: Serinus
    dockers: tuple[Docker, ...]
    wheels: Path

    @property
    def project(self) -> Project:
        return self.serinus.project

    def side_by_side(
        self,
        name: str,
        change: Callable[[], None],
        serinus: Serinus,
        forget: Callable[[], None] = lambda: None,
        options: Sequence[str] = (),
    ) -> Change:
        """Make a change, and time every builder on it, in turns: whatever slows the machine slows all.

        ``forget`` is called before each build, and not timed; ``options`` are Docker's.
        """
        ours: list[float] = []
        theirs: dict[str, list[float]] = {docker.name: [] for docker in self.dockers}
        for turn in range(self.runs):
            change()
            forget()
            ours.append(timed(serinus.build))
            for docker in self.dockers:
                forget()
                theirs[docker.name].append(timed(partial(docker.build, *options)))
            figures = ", ".join(f"{builder} {seconds[-1]:.2f} s" for builder, seconds in theirs.items())
            say(f"{name}, {turn + 1} of {self.runs}: serinus {ours[-1]:.2f} s, {figures}")
        samples = {builder: Sample(tuple(seconds)) for builder, seconds in theirs.items()}
        return Change(Sample(tuple(ours)), samples)

    def code(self) -> Change:
        """A line of code is changed."""
        return self.side_by_side(CODE, self.project.change_code, self.serinus)

    def statement(self) -> Change:
        """A statement of the service's module is changed, so that it must be imported."""
        return self.side_by_side(STATEMENT, self.project.change_statement, self.serinus)

    def model(self) -> Change:
        """All weights are changed."""
        return self.side_by_side(MODEL, self.project.change_model, self.serinus)

    def first(self) -> Change:
        """A first build: the base is there, dependencies come from the same folder of wheels for all."""
        cache = self.work / "first"

        def forget() -> None:
            for docker in self.dockers:
                docker.forget()
            for folder in (cache, self.project.root / ".serinus"):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.work / "cache" / "bases", cache / "bases")

        env = {
            "SERINUS_CACHE": str(cache),
            "UV_CACHE_DIR": str(cache / "uv"),
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.wheels),
        }
        fresh = Serinus(self.project, env)
        return self.side_by_side(FIRST, lambda: None, fresh, forget, ["--no-cache"])

    def pushes(self) -> dict[str, dict[str, int]]:
        """Bytes to a registry: the whole image, and after a change of code."""
        docker = self.dockers[0]
        pushers = {"serinus publish": self.serinus.publish, "docker push": docker.publish}
        sent: dict[str, dict[str, int]] = {name: {} for name in pushers}
        with registry(self.work) as port:
            meter = Meter(port)
            for what in ("for the whole image", "after a change of code"):
                self.project.change_code()
                self.serinus.build()
                docker.build()
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


def prepare(work: Path, runs: int) -> Bench:
    """Make the project, its export and the Docker base, and build once with each."""
    project = Project(work / "project", work / "export")
    dockers = tuple(Docker(project, *builder) for builder in builders(work))
    project.write()
    serinus = Serinus(project, {"SERINUS_CACHE": str(work / "cache"), "UV_CACHE_DIR": str(work / "uv")})
    say("building once: lock, base and dependencies come from outside")
    serinus.build()
    serinus.build("--dockerfile", str(project.export))
    wheels = fetch_wheels(project, work)
    say("making the base for docker build")
    make_docker_base(dockers[0].program, project, work, work / "cache")
    for docker in dockers:
        docker.forget()
    for docker in dockers:
        docker.build()
    return Bench(work, runs, serinus, dockers, wheels)


def measure(bench: Bench) -> Figures:
    """All figures; the first builds last, since they drop the caches."""
    builds = {CODE: bench.code(), STATEMENT: bench.statement(), MODEL: bench.model()}
    limit = physical_limit(bench.project.root / "weights.bin", bench.work, bench.runs)
    pushed = bench.pushes()
    resting = idle.memory(bench.project.root, bench.serinus.env)
    layers = bench.serinus.layers()
    return Figures(
        machine=machine({docker.name: docker.program for docker in bench.dockers}),
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
    parser.add_argument("--work", type=Path, help="where to work; by default a folder that is removed again")
    return parser.parse_args()


def main() -> int:
    """Run it; exit code 1 when a claim does not hold, 2 when it cannot be measured."""
    given = arguments()
    work = given.work or Path(tempfile.mkdtemp(prefix="serinus-bench-"))
    work.mkdir(parents=True, exist_ok=True)
    bench: Bench | None = None
    try:
        bench = prepare(work, given.runs)
        figures = measure(bench)
    except CannotMeasureError as error:
        say(f"cannot measure: {error}")
        return 2
    finally:
        if bench is not None:
            for docker in bench.dockers:
                docker.forget()
            bench.dockers[0].drop_base()
        if not given.work:
            shutil.rmtree(work, ignore_errors=True)
    print(figures.table())
    if given.json:
        given.json.write_text(json.dumps(figures.to_json(), indent=1) + "\n")
    return 0 if figures.holds else 1


if __name__ == "__main__":
    sys.exit(main())
