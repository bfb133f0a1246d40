"""Plots as inline SVG: lines over numbers or names, bars over names (lying) or numbers (standing)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from serinus.checks import Plot
from serinus.checks.formats.markup import tag
from serinus.checks.formats.scale import Scale, fitting
from serinus.checks.formats.text import one_line

WIDTH, HEIGHT = 520.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 14.0, 14.0, 46.0
SERIES = 6
"""Colours; a further series starts with the first again."""
NAMED = 40
"""Names that are drawn; the table below a plot has all."""
_LARGEST = 1e100
"""Numbers beyond are not drawn; they are faults, not measurements."""


def plot(found: Plot) -> Element:
    """One plot, without its title; numbers that are not finite are left out."""
    points = [(n, x, y) for n, (_, several) in enumerate(found.series) for x, y in several if _drawn(x, y)]
    if not points:
        return tag("p", "There is no point to draw.", class_="quiet")
    if found.kind == "bars" and any(isinstance(x, str) for _, x, _ in points):
        return _lying(found, points)
    return _standing(found, points)


def _drawn(x: float | str, y: float) -> bool:
    numbers = [value for value in (x, y) if not isinstance(value, str)]
    return all(math.isfinite(value) and abs(value) < _LARGEST for value in numbers)


Points = list[tuple[int, float | str, float]]


def _svg(found: Plot, height: float) -> Element:
    label = f"{found.title}: {found.y} by {found.x}" if found.x or found.y else found.title
    return tag(
        "svg", viewBox=f"0 0 {WIDTH:g} {height:g}", class_="plot", role="img", aria_label=one_line(label)
    )


def _standing(found: Plot, points: Points) -> Element:
    bars = found.kind == "bars"
    names = _names(points)
    xs = [_number(x, names) for _, x, _ in points]
    inner = (LEFT + 30, WIDTH - RIGHT - 30) if bars else (LEFT, WIDTH - RIGHT)
    across = fitting(xs, *inner) if not names else _named(names, inner)
    up = fitting([y for *_, y in points], HEIGHT - BOTTOM, TOP, from_zero=bars)
    picture = _svg(found, HEIGHT)
    _axes(picture, found, across, up, names)
    for number, (name, _) in enumerate(found.series):
        mine = [(across(_number(x, names)), up(y), x, y) for n, x, y in points if n == number]
        colour = f"s{number % SERIES}"
        if bars:
            width = min(26.0, (inner[1] - inner[0]) / max(2, len(set(xs)))) / len(found.series)
            shift = (number - len(found.series) / 2) * width
            for px, py, x, y in mine:
                base = up(0.0)
                shape = _rect(px + shift, min(py, base), max(1.0, width - 1), abs(base - py), colour)
                picture.append(tag("g", tag("title", _told(name, x, y)), shape))
            continue
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py, *_ in mine)
        picture.append(tag("polyline", points=path, class_=f"curve {colour}"))
        if len(mine) <= 60:
            for px, py, x, y in mine:
                dot = tag("circle", cx=px, cy=py, r=3.5, class_=f"dot {colour}")
                picture.append(tag("g", tag("title", _told(name, x, y)), dot))
    return picture


def _lying(found: Plot, points: Points) -> Element:
    names = _names(points)[:NAMED]
    several = len(found.series)
    band = max(24.0, 13.0 * several + 8)
    height = TOP + band * len(names) + BOTTOM
    left = min(220.0, 20 + 7.2 * max(len(one_line(name)[:28]) for name in names))
    across = fitting([y for *_, y in points], left, WIDTH - RIGHT - 50, from_zero=True)
    picture = _svg(found, height)
    for tick in across.ticks:
        at = across(tick)
        picture.append(tag("line", x1=at, x2=at, y1=TOP, y2=height - BOTTOM, class_="grid"))
        picture.append(
            tag("text", f"{tick:g}", x=at, y=height - BOTTOM + 18, class_="tick", text_anchor="middle")
        )
    picture.append(_label(found.y, (left + WIDTH - RIGHT) / 2, height - 8))
    for row, name in enumerate(names):
        y = TOP + row * band
        shown = one_line(name)
        shown = shown if len(shown) <= 28 else f"{shown[:27]}…"
        picture.append(tag("text", shown, x=left - 8, y=y + band / 2 + 4, class_="tick", text_anchor="end"))
    for number, x, y in points:
        if str(x) in names:
            top = TOP + names.index(str(x)) * band + 4 + number * (band - 8) / several
            low, high = sorted((across(0.0), across(y)))
            thick = (band - 8) / several - 1
            shape = _rect(low, top, max(1.0, high - low), thick, f"s{number % SERIES}")
            picture.append(tag("g", tag("title", _told(found.series[number][0], x, y)), shape))
            picture.append(tag("text", f"{y:.4g}", x=high + 5, y=top + thick / 2 + 4, class_="tick"))
    return picture


def _axes(picture: Element, found: Plot, across: Scale, up: Scale, names: list[str]) -> None:
    bottom = HEIGHT - BOTTOM
    for tick in up.ticks:
        y = up(tick)
        picture.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        picture.append(tag("text", f"{tick:g}", x=LEFT - 7, y=y + 4, class_="tick", text_anchor="end"))
    shown = names or [f"{tick:g}" for tick in across.ticks]
    places = range(len(names)) if names else across.ticks
    every = math.ceil(sum(len(one_line(name)) * 7.5 + 12 for name in shown) / (WIDTH - LEFT))
    for number, (name, value) in enumerate(zip(shown, places, strict=True)):
        if number % max(1, every) == 0:
            x = across(value)
            text = one_line(name)[:20]
            picture.append(tag("text", text, x=x, y=bottom + 18, class_="tick", text_anchor="middle"))
    picture.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
    logarithmic = ", logarithmic" if up.logarithmic else ""
    picture.append(
        _label(f"{found.x}{', logarithmic' if across.logarithmic else ''}", (LEFT + WIDTH) / 2, HEIGHT - 8)
    )
    middle = (TOP + bottom) / 2
    turned = _label(f"{found.y}{logarithmic}", 14.0, middle)
    turned.set("transform", f"rotate(-90 14 {middle:.0f})")
    picture.append(turned)


def _label(text: str, x: float, y: float) -> Element:
    return tag("text", one_line(text), x=x, y=y, class_="axis-name", text_anchor="middle")


def _rect(x: float, y: float, width: float, height: float, colour: str) -> Element:
    return tag("rect", x=x, y=y, width=width, height=height, class_=f"fill {colour}")


def _names(points: Points) -> list[str]:
    """The names on the axis, in order of appearance; none where all are numbers."""
    if all(not isinstance(x, str) for _, x, _ in points):
        return []
    return list(dict.fromkeys(str(x) for _, x, _ in points))


def _number(x: float | str, names: list[str]) -> float:
    return float(names.index(str(x))) if names else float(x)


def _named(names: list[str], inner: tuple[float, float]) -> Scale:
    last = float(max(1, len(names) - 1))
    return Scale(-0.3, last + 0.3, *inner, tuple(float(n) for n in range(len(names))))


def _told(name: str, x: float | str, y: float) -> str:
    return f"{name}: {x if isinstance(x, str) else f'{x:g}'}, {y:.6g}"


def rows(found: Plot) -> Iterator[tuple[str, str, str]]:
    """All points as text: series, x, y."""
    for name, points in found.series:
        for x, y in points:
            yield name, x if isinstance(x, str) else f"{x:g}", f"{y:.6g}"
