"""The figures, as JSON and as tables; what was claimed stands beside them."""

from __future__ import annotations

from dataclasses import dataclass

from tools import Sample

CODE, MODEL, FIRST = "code change", "model change", "first build, no dependencies cached"
CLAIMS = {CODE: 20.0, MODEL: 5.0, FIRST: 1.0}
"""How many times faster than `docker build` it must be, at least."""
LIMIT = 2.0
"""A model change may take so many times what reading, hashing and writing the model takes."""


@dataclass(frozen=True)
class Pair:
    """The same change built by both."""

    serinus: Sample
    docker: Sample

    @property
    def ratio(self) -> float:
        return self.docker.median / self.serinus.median


@dataclass(frozen=True)
class Figures:
    """All that was measured. Times are seconds, sizes bytes unless the name says otherwise."""

    machine: dict[str, str]
    layers: dict[str, int]
    wheels: int
    builds: dict[str, Pair]
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
        return self.over_limit <= LIMIT and all(p.ratio >= CLAIMS[name] for name, p in self.builds.items())

    def to_json(self) -> dict[str, object]:
        return {
            "machine": self.machine,
            "layers": self.layers,
            "wheels": self.wheels,
            "builds": {
                name: {
                    "serinus": pair.serinus.to_json(),
                    "docker": pair.docker.to_json(),
                    "ratio": pair.ratio,
                    "claimed": CLAIMS[name],
                }
                for name, pair in self.builds.items()
            },
            "physical limit of the model": self.limit.to_json(),
            "model change over the limit": self.over_limit,
            "bytes pushed": self.pushed,
            "import": {name: sample.to_json() for name, sample in self.imports.items()},
            "idle replica, MiB": self.idle,
        }

    def table(self) -> str:
        """The figures for a person."""
        lines = [f"{'':37}{'serinus build':>24}{'docker build':>26}{'ratio':>8}  at least"]
        for name, pair in self.builds.items():
            missed = "" if pair.ratio >= CLAIMS[name] else "  MISSED"
            figures = f"{pair.serinus!s:>24}{pair.docker!s:>26}{pair.ratio:8.1f}"
            lines.append(f"{name:37}{figures}  {CLAIMS[name]:g}{missed}")
        missed = "" if self.over_limit <= LIMIT else "  MISSED"
        lines += [
            "",
            f"read, hash and write the model once: {self.limit}",
            f"a model change takes {self.over_limit:.2f} times that, at most {LIMIT:g}{missed}",
            "",
        ]
        for name, sent in self.pushed.items():
            lines.append(f"{name}: " + ", ".join(f"{count:,} bytes {what}" for what, count in sent.items()))
        lines += [f"{name}: {sample.median * 1000:.0f} ms" for name, sample in self.imports.items()]
        processes, resident = self.idle["processes"], self.idle["resident"]
        lines.append(f"idle replica: {resident:.0f} MiB resident, {processes:.0f} process(es)")
        layers = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in self.layers.items())
        lines += ["", f"layers: {layers}; wheels {self.wheels / 1e6:.0f} MB"]
        return "\n".join([*lines, *(f"{name:16}{value}" for name, value in self.machine.items())])
