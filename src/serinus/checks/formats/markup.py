"""HTML as a tree: what is put into it is text or an element, so nothing that is put in becomes markup."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

from serinus.checks.formats.text import clean

Part = Element | str | None
"""What can stand in an element; None is nothing."""


def tag(name: str, /, *parts: Part, **attributes: str | float | None) -> Element:
    """An element.

    Args:
        name: of HTML or SVG.
        parts: what stands in it; texts are escaped when the tree is written.
        attributes: a ``_`` at the end is dropped and others are ``-``: ``class_``, ``aria_label``; None is
            left out; ``viewBox`` is written as it is.
    """
    element = Element(name)
    for key, value in attributes.items():
        if value is not None:
            text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else clean(str(value))
            element.set(key.rstrip("_").replace("_", "-"), text)
    for part in parts:
        if isinstance(part, str):
            _add_text(element, clean(part))
        elif part is not None:
            element.append(part)
    return element


def _add_text(element: Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text


def written(element: Element) -> str:
    """An element as HTML."""
    return tostring(element, encoding="unicode", method="html")
