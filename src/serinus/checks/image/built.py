"""The image as it is stored: whether it can be had, and how large it is."""

from __future__ import annotations

from pathlib import Path

from serinus.checks import Finding, Measure, NotApplicable, Plot, Result, check
from serinus.checks.image.contents import names
from serinus.checks.subjects import Subject
from serinus.project import Checks


@check(
    "image.built",
    why="A service that cannot be built cannot be delivered, and a damaged layer shows when it is pulled.",
    seconds=0.5,
)
def built(image: Subject, rootfs: Path) -> Result:
    """The image can be built or fetched and unpacked, and every byte of it has the digest that it should."""
    from serinus.checks.statement import verify

    verify(image.layout, image.manifest)
    count = len(image.layers)
    return Result(f"{image.digest[:19]}, {image.size / 1e6:.1f} MB in {count} layers")


@check("image.size", why="Each megabyte is paid for at every pull, when a replica must start quickly.")
def size(image: Subject, settings: Checks) -> Result:
    """The layers as they are stored are within the budget `checks.image.size`."""
    most = settings.image.size
    if most is None:
        raise NotApplicable(
            f"the layers have {image.size} bytes, and there is no budget", 'Set checks.image.size = "500MiB".'
        )
    parts = tuple(
        (f"{number} {name}", float(layer.descriptor.size))
        for number, (name, layer) in enumerate(zip(names(image), image.layers, strict=True))
    )
    largest = max(parts, key=lambda part: part[1], default=("", 0.0))
    faults: tuple[Finding, ...] = ()
    if image.size > most:
        faults = (
            Finding(
                f"the layers have {image.size} bytes, expected at most {most}; the largest is {largest[0]} "
                f"with {largest[1]:.0f}",
                "Leave out what is not needed (.serinusignore, requirements), or raise checks.image.size.",
            ),
        )
    measures = (
        Measure("layers", float(image.size), "B", at_most=float(most)),
        *(Measure(name, value, "B") for name, value in parts),
    )
    bars = Plot("Layers", (("stored", parts),), "layer", "bytes", "bars")
    return Result(f"{image.size} bytes of at most {most}", faults, measures, (bars,))
