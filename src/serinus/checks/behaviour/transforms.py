"""Changes of texts whose effect on a prediction is known beforehand. Pure.

The idea is metamorphic testing (Chen, Cheung and Yiu, HKUST-CS98-01, 1998), for language as in CheckList
(Ribeiro et al., ACL 2020): invariance and directional expectations.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Transform = Callable[[str], tuple[str, ...]]
"""A text -> its changed forms, none of them the text itself; empty where the change does not apply."""
VERBS = "is|are|was|were|can|could|should|would|will|does|do|did|has|have"
_NEGATED = re.compile(rf"\b({VERBS}) not\b", re.IGNORECASE)
_PLAIN = re.compile(rf"\b({VERBS})\b(?!n't)", re.IGNORECASE)
_LONG = re.compile(r"[^\W\d_]{5,}")


def _others(text: str, *forms: str) -> tuple[str, ...]:
    return tuple(form for form in dict.fromkeys(forms) if form != text)


def case(text: str) -> tuple[str, ...]:
    """In capitals, and in small letters."""
    return _others(text, text.upper(), text.lower())


def whitespace(text: str) -> tuple[str, ...]:
    """With spaces around it, and with two spaces for each."""
    return _others(text, f" {text} ", text.replace(" ", "  ")) if text else ()


def typos(text: str) -> tuple[str, ...]:
    """With two neighbouring letters within one longer word swapped; the same ones for the same text."""
    chosen = random.Random(text)  # noqa: S311 - not for secrets
    words = list(_LONG.finditer(text))
    if not words:
        return ()
    word = chosen.choice(words)
    at = chosen.randrange(word.start() + 1, word.end() - 2)
    return _others(text, text[:at] + text[at + 1] + text[at] + text[at + 2 :])


def negation(text: str) -> tuple[str, ...]:
    """``is`` becomes ``is not``, and the other way round; the first verb of its kind."""
    if _NEGATED.search(text):
        return (_NEGATED.sub(r"\1", text, count=1),)
    if _PLAIN.search(text):
        return (_PLAIN.sub(r"\1 not", text, count=1),)
    return ()


TRANSFORMS: Mapping[str, Transform] = {
    "case": case,
    "whitespace": whitespace,
    "typos": typos,
    "negation": negation,
}
"""By the names that ``checks.behaviour`` has for them."""


def is_text(value: Any) -> bool:
    """Whether a value is a text: a string of at least two words, rather than a name or a code."""
    return isinstance(value, str) and len(value.split()) >= 2


def texts(request: Any) -> Iterator[str]:
    """All texts of a request."""
    if is_text(request):
        yield request
    elif isinstance(request, (list, dict)):
        for item in request.values() if isinstance(request, dict) else request:
            yield from texts(item)


def changed(request: Any, transform: Transform, whole: bool = False) -> tuple[Any, ...]:
    """A request with its texts changed, in each form; empty where the change does not apply.

    Args:
        request: decoded JSON.
        transform: of one text.
        whole: whether the change must apply to each text of the request; otherwise one will do.
    """
    forms = [transform(text) for text in texts(request)]
    if not any(forms) or (whole and not all(forms)):
        return ()
    count = max(map(len, forms))
    return tuple(
        _replaced(request, iter([f[min(n, len(f) - 1)] if f else None for f in forms])) for n in range(count)
    )


def _replaced(value: Any, forms: Iterator[str | None]) -> Any:
    if is_text(value):
        form = next(forms)
        return value if form is None else form
    if isinstance(value, list):
        return [_replaced(item, forms) for item in value]
    if isinstance(value, dict):
        return {name: _replaced(member, forms) for name, member in value.items()}
    return value
