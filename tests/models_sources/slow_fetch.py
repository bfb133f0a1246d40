"""A program of the tests: fetches a model from a folder, slowly, so that it can be killed or raced."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from serinus.models import Found, Progress
from serinus.models.fetch import fetch
from serinus.models.forms import Address
from serinus.project import Model, Project, Service


class Slow:
    """Copies a file a few bytes at a time, and notes in ``log`` that it began and that it came to its end."""

    def __init__(self, file: Path, log: Path, pause: float) -> None:
        self._file = file
        self._log = log
        self._pause = pause

    def find(self) -> Found:
        return Found("slow://model", "1", size=self._file.stat().st_size)

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        self._tell("began")
        data = self._file.read_bytes()
        with (folder / "model.bin").open("wb") as target:
            for start in range(0, len(data), 100):
                target.write(data[start : start + 100])
                target.flush()
                time.sleep(self._pause)
        self._tell("ended")

    def _tell(self, word: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{word}\n")


def main(root: Path, log: Path, pause: float) -> None:
    """Fetch into ``root/cache`` and print the digest."""

    def opened(address: Address, *, root: Path, registry: str) -> Slow:
        return Slow(root / "model.bin", log, pause)

    project = Project(root=root, service=Service(name="x"), model=Model(source="s3://models/model.bin"))
    found = fetch(project, cache=root / "cache", open_source=opened)
    sys.stdout.write(found.digest if found else "")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
