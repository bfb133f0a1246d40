"""The figures, as JSON and as tables; what was claimed stands beside them."""

from __future__ import annotations

from dataclasses import dataclass

from tools import Sample

CODE, STATEMENT = "code change inside a function", "code change outside of functions"
MODEL, FIRST = "model change", "first build, no dependencies cached"
CLAIMS = {CODE: 20.0, MODEL: 5.0, FIRST: 1.0}
"""How many times faster than plain `docker build` it must be, at least; of the others nothing is claimed."""
LIMIT = 2.0
"""A model change may take so many times what reading, hashing and writing the model takes."""


@dataclass(frozen=True)
class Change:
    """The same change built by Serinus and by each of Docker's builders."""

    serinus: Sample
    docker: dict[str, Sample]
    """By builder; the first is what plain `docker build` is here, to which the claims are held."""

    @property
    def ratios(self) -> dict[str, float]:
        return {name: sample.median / self.serinus.median for name, sample in self.docker.items()}

    @property
    def ratio(self) -> float:
        return next(iter(self.ratios.values()))


@dataclass(frozen=True)
class Figures:
    """All that was measured. Times are seconds, sizes bytes unless the name says otherwise."""

    machine: dict[str, str]
    layers: dict[str, int]
    wheels: int
    builds: dict[str, Change]
    limit: Sample
    pushed: dict[str, dict[str, int]]
    imports: dict[str, Sample]
    idle: dict[str, float]

    @property
    def over_limit(self) -> float:
        return self.builds[MODEL].serinus.median / self.limit.median

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return self.over_limit <= LIMIT and all(
            c.ratio >= CLAIMS.get(name, 0) for name, c in self.builds.items()
        )

    def to_json(self) -> dict[str, object]:
        return {
            "machine": self.machine,
            "layers": self.layers,
            "wheels": self.wheels,
            "builds": {
                name: {
                    "serinus": change.serinus.to_json(),
                    "docker": {builder: sample.to_json() for builder, sample in change.docker.items()},
                    "ratios": change.ratios,
                    "claimed": CLAIMS.get(name),
                }
                for name, change in self.builds.items()
            },
            "physical limit of the model": self.limit.to_json(),
            "model change over the limit": self.over_limit,
            "bytes pushed": self.pushed,
            "import": {name: sample.to_json() for name, sample in self.imports.items()},
            "idle replica, MiB": self.idle,
        }

    def table(self) -> str:
        """The figures for a person."""
        lines = []
        for name, change in self.builds.items():
            lines += [f"{name}", f"  {'serinus build':28}{change.serinus!s:>26}"]
            for builder, sample in change.docker.items():
                lines.append(f"  {builder:28}{sample!s:>26}{change.ratios[builder]:8.1f} times as long")
            if claim := CLAIMS.get(name):
                missed = "" if change.ratio >= claim else ": MISSED"
                lines.append(f"  claimed: {claim:g} times against plain `docker build`{missed}")
        missed = "" if self.over_limit <= LIMIT else "  MISSED"
        lines += [
            f"read, hash and write the model once: {self.limit}",
            f"a model change takes {self.over_limit:.2f} times that, at most {LIMIT:g}{missed}",
        ]
        for name, sent in self.pushed.items():
            lines.append(f"{name}: " + ", ".join(f"{count:,} bytes {what}" for what, count in sent.items()))
        lines += [f"{name}: {sample.median * 1000:.0f} ms" for name, sample in self.imports.items()]
        processes, resident = self.idle["processes"], self.idle["resident"]
        what = "idle replica of a typed function with numpy"
        lines.append(f"{what}: {resident:.0f} MiB resident, {processes:.0f} process(es)")
        layers = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in self.layers.items())
        lines += ["", f"layers: {layers}; wheels {self.wheels / 1e6:.0f} MB"]
        return "\n".join([*lines, *(f"{name:24}{value}" for name, value in self.machine.items())])
