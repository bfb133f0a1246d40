"""A flame graph as a still picture: who calls whom, and how much of the time of a request is spent there.

Each box is a function, as wide as the time that was spent in it and in what it called, which stands on it
(Gregg, "The Flame Graph", CACM 59(6), 2016). The order from left to right is that of the names and says
nothing. A box too narrow to be seen is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

WIDTH, ROW, MARGIN = 1200, 17, 10
"""Pixels."""
NARROW = 0.6
LETTER = 6.6
"""Pixels of one letter."""
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="monospace" '
    'font-size="11"><title>{title}</title><rect width="{width}" height="{height}" fill="#fff"/>'
    '<text x="{middle}" y="20" font-size="14" text-anchor="middle">{title}</text>'
)


@dataclass
class Frame:
    """A function at one place of the tree."""

    microseconds: float = 0.0
    above: dict[str, Frame] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        return 1 + max((frame.depth for frame in self.above.values()), default=0)


def tree(stacks: Mapping[tuple[str, ...], float]) -> Frame:
    """The stacks, the outermost function first, as one tree."""
    root = Frame()
    for stack, microseconds in stacks.items():
        here = root
        here.microseconds += microseconds
        for name in stack:
            here = here.above.setdefault(name, Frame())
            here.microseconds += microseconds
    return root


def draw(
    stacks: Mapping[tuple[str, ...], float],
    title: str,
    colour: Callable[[tuple[str, ...]], str],
    legend: Mapping[str, str],
) -> str:
    """The picture, as SVG.

    Args:
        stacks: functions, the outermost first -> microseconds.
        title: what stands above it.
        colour: of a box, by the functions from the outermost to it.
        legend: what a colour means -> the colour.
    """
    root = tree(stacks)
    height = 40 + ROW * (root.depth + 2) + MARGIN
    parts = [_HEAD.format(width=WIDTH, height=height, middle=WIDTH // 2, title=escape(title))]
    scale = (WIDTH - 2 * MARGIN) / root.microseconds if root.microseconds else 0.0

    def boxes(frame: Frame, path: tuple[str, ...], left: float, bottom: float) -> None:
        for name, child in sorted(frame.above.items()):
            width = child.microseconds * scale
            if width >= NARROW:
                share = child.microseconds / root.microseconds
                told = f"{name}: {child.microseconds:.1f} µs, {share:.1%}"
                parts.append(_box(left, bottom - ROW, width, told, name, colour((*path, name))))
                boxes(child, (*path, name), left, bottom - ROW)
            left += width

    boxes(root, (), MARGIN, height - ROW - MARGIN)
    left = float(MARGIN)
    for name, fill in legend.items():
        parts.append(_box(left, height - ROW - MARGIN / 2, len(name) * LETTER + 12, name, name, fill))
        left += len(name) * LETTER + 18
    return "".join([*parts, "</svg>\n"])


def _box(  # noqa: PLR0917
    left: float, top: float, width: float, told: str, name: str, fill: str
) -> str:
    """One box; what it tells is shown by the reader's program where the pointer is."""
    room = int((width - 4) / LETTER)
    text = name if len(name) <= room else name[: room - 1] + "…" if room > 3 else ""
    label = f'<text x="{left + 3:.1f}" y="{top + 12:.1f}">{escape(text)}</text>' if text else ""
    shape = f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(width - 0.5, 0.3):.1f}" height="{ROW - 1}"'
    return f'<g><title>{escape(told)}</title>{shape} fill="{fill}"/>{label}</g>\n'
