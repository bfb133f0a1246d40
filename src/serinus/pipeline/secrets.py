"""Secrets of steps: where their values come from, and masking them in everything that is kept or shown.

A value is looked for as it is, and as what prints and stores it makes of it: base64 (RFC 4648) at each of
the three places where it can begin in a group, in both alphabets; quoted for URLs (RFC 3986); escaped in JSON
(RFC 8259), in Python and in HTML; in hexadecimal. Line breaks are overlooked, so that what was wrapped is
found; each line of a value of several lines is looked for by itself. What was compressed or encrypted is not
found.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, quote_plus

from serinus.errors import PipelineError
from serinus.pipeline import Pipeline, Step, Value

SHORTEST = 6
"""Bytes of a secret at least: a shorter one would be found by chance in what has nothing to do with it."""
MASK = b"***"
_BREAKS = b"\r\n"
_LINE = 8
"""Bytes that a line of a longer value must have to be looked for by itself."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Secrets:
    """The secrets of a run: names, and the values that no one may see."""

    names: tuple[str, ...] = ()
    """Of all steps."""
    values: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    """Name -> value, of those that are set."""

    @cached_property
    def forms(self) -> tuple[bytes, ...]:
        """All that is to be masked."""
        masked = (value for name, value in self.values.items() if not is_user_name(name))
        return tuple(dict.fromkeys(form for value in masked for form in forms(value)))

    def mask(self, text: str) -> str:
        """A text without the secrets."""
        masker = Masker(self.forms)
        data = text.encode("utf-8", "surrogateescape")
        return (masker.feed(data) + masker.end()).decode("utf-8", "surrogateescape")


def secrets_of(
    pipeline: Pipeline, running: Iterable[Step], environment: Mapping[str, str], params: Mapping[str, Value]
) -> Secrets:
    """The secrets of a run.

    Args:
        pipeline: its steps declare them.
        running: the steps that are to run, which must have theirs.
        environment: where the values are.
        params: must not hold one, since they are kept and shown.

    Raises:
        PipelineError: one is not set or too short to be masked, or stands in a parameter or the project file.
    """
    names = tuple(dict.fromkeys(name for step in pipeline.steps for name in step.secrets))
    found = Secrets(names, {name: environment[name] for name in names if environment.get(name)})
    faults = [
        f"the step {step.name} needs the secret {name}, which is not set"
        for step in running
        for name in step.secrets
        if name not in found.values
    ]
    for name, value in found.values.items():
        if not is_user_name(name) and len(value.encode("utf-8", "surrogateescape")) < SHORTEST:
            faults.append(
                f"the secret {name} is shorter than {SHORTEST} bytes: masking it would mask other texts too"
            )
    if not faults:
        faults = list(_written(pipeline, params, found))
    if faults:
        lines = "\n".join(f"pipeline.{pipeline.name}: {fault}" for fault in faults)
        raise PipelineError(lines, "Set it in the environment of `serinus run`, and nowhere else.")
    return found


def is_user_name(name: str) -> bool:
    """Whether a variable holds the name of a user: given to steps like a secret, and known to everybody.

    Such names stand in references and addresses, which would not be read any more if they were masked.
    """
    return name.upper().endswith(("USERNAME", "_USER"))


def _written(pipeline: Pipeline, params: Mapping[str, Value], found: Secrets) -> Iterator[str]:
    """Where a secret stands that everybody can read."""
    places = [(f"the parameter {name}", str(value)) for name, value in params.items()]
    for step in pipeline.steps:
        places.append((f"the command of the step {step.name}", "\n".join(step.command)))
        places += [(f"env.{name} of the step {step.name}", text) for name, text in step.env.items()]
    for name, value in found.values.items():
        if is_user_name(name):
            continue
        form = forms(value)
        for place, text in places:
            if found_in(form, text.encode("utf-8", "surrogateescape")):
                yield f"{place} holds the value of the secret {name}, and would be kept and shown"


def environment_for(step: Step, found: Secrets, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the secrets that the step does not name."""
    hidden = set(found.names) - set(step.secrets)
    return {name: value for name, value in environment.items() if name not in hidden}


def forms(value: str) -> tuple[bytes, ...]:
    """Everything that a value may look like, without line breaks; longer ones first."""
    whole = {value, value.strip()}
    lines = {line.strip() for line in value.splitlines()} if len(value.splitlines()) > 1 else set()
    found = set()
    for text in whole | {line for line in lines if len(line.encode("utf-8", "surrogateescape")) >= _LINE}:
        found |= _encodings(text)
    flat = {form.translate(None, _BREAKS) for form in found}
    return tuple(sorted((form for form in flat if len(form) >= 4), key=lambda form: (-len(form), form)))


def _encodings(text: str) -> set[bytes]:
    raw = text.encode("utf-8", "surrogateescape")
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), *_base64(raw)}
    found |= {quote(raw, safe="").encode(), quote(raw).encode(), quote_plus(raw).encode()}
    found |= {_small_escapes(quoted) for quoted in (quote(raw, safe=""), quote(raw), quote_plus(raw))}
    escaped = [json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]]
    escaped += [json.dumps(text).replace("/", "\\/")[1:-1], ascii(text)[1:-1]]
    escaped += [html.escape(text), html.escape(text, quote=False)]
    return found | {one.encode("utf-8", "surrogateescape") for one in escaped}


def _small_escapes(quoted: str) -> bytes:
    """``%2f`` for ``%2F``: both are right, and programs differ."""
    pieces = quoted.split("%")
    return "%".join([pieces[0], *(p[:2].lower() + p[2:] for p in pieces[1:])]).encode()


def _base64(raw: bytes) -> Iterator[bytes]:
    """The letters that are the same whatever stands before and after, for each place in a group of three."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + raw)
        # Of the letters at the ends, some hold bits of what stands before and after.
        inner = whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def found_in(wanted: Sequence[bytes], data: bytes) -> bool:
    """Whether one of the forms is in the data, line breaks overlooked."""
    flat = data.translate(None, _BREAKS)
    return any(form in flat for form in wanted)


def scan(path: Path, wanted: Sequence[bytes]) -> str | None:
    """Look for secrets in a file, or in all files of a folder: in contents, names and targets of links.

    Returns:
        Where one is, relative to ``path``; None where there is none.

    Raises:
        OSError: something cannot be read.
    """
    if not wanted:
        return None
    needed = _fewest(wanted)
    if path.is_symlink() or not path.is_dir():
        return path.name if _holds(path, needed) else None
    for folder, folders, files in os.walk(path):
        for name in sorted((*folders, *files)):
            inner = Path(folder, name)
            if found_in(wanted, os.fsencode(name)):
                return f"a name in {os.path.relpath(folder, path)}"
            if inner.is_symlink() and found_in(wanted, os.fsencode(inner.readlink())):
                return str(inner.relative_to(path))
            if inner.is_file() and not inner.is_symlink() and _holds(inner, needed):
                return str(inner.relative_to(path))
    return None


def _fewest(wanted: Sequence[bytes]) -> list[bytes]:
    """The forms of which one is in everything that holds any: one that holds another tells nothing more."""
    kept: list[bytes] = []
    for form in sorted(wanted, key=len):
        if not any(short in form for short in kept):
            kept.append(form)
    return kept


def _holds(path: Path, wanted: Sequence[bytes]) -> bool:
    overlap = max(map(len, wanted)) - 1
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            flat = tail + chunk.translate(None, _BREAKS)
            if any(form in flat for form in wanted):
                return True
            tail = flat[-overlap:] if overlap else b""
    return False


class Masker:
    """Masks secrets in a stream, whatever the pieces in which it comes.

    What may be the beginning of a secret is held back until the next piece, or the end, shows what it is.
    Occurrences that overlap are masked as one.

    Args:
        wanted: the forms to mask, without line breaks.
    """

    def __init__(self, wanted: Sequence[bytes]) -> None:
        self._wanted = wanted
        self._held = b""
        self._covered = 0
        """Bytes at the beginning of what is held whose mask has been given out."""

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; gives what is safe to show now."""
        if not self._wanted:
            return data
        return self._advance(self._held + data, final=False)

    def end(self) -> bytes:
        """There is no more: gives what was held back."""
        return self._advance(self._held, final=True)

    def _advance(self, data: bytes, *, final: bool) -> bytes:
        flat, places = _flattened(data)
        spans = _merged(_occurrences(flat, self._wanted))
        keep = len(data)
        if not final:
            held = _beginning(flat, self._wanted)
            keep = places(len(flat) - held) if held else len(data)
        whole = [(places(begin), places(end - 1) + 1) for begin, end in spans]
        if self._covered:
            whole = _merged([(0, self._covered), *whole])
        shown, self._covered = _shown(data[:keep], whole, keep, self._covered)
        self._held = data[keep:]
        return shown


def _shown(data: bytes, spans: Sequence[tuple[int, int]], keep: int, covered: int) -> tuple[bytes, int]:
    """What may be shown of data with masks in it, and how far a mask reaches into what is kept back."""
    shown, at, reaches = [], 0, 0
    for begin, end in spans:
        given_out = covered > 0 and begin == 0
        if begin >= keep and not given_out:
            break
        shown.append(data[at:begin])
        if not given_out:
            shown.append(MASK)
        at = min(end, keep)
        reaches = max(0, end - keep)
    shown.append(data[at:])
    return b"".join(shown), reaches


def _flattened(data: bytes) -> tuple[bytes, Callable[[int], int]]:
    """Data without line breaks, and where a place in it was before."""
    if b"\n" not in data and b"\r" not in data:
        return data, lambda place: place
    starts: list[tuple[int, int]] = []  # (place in the flat data, place before) of each unbroken piece
    pieces, length = [], 0
    for match in re.finditer(rb"[^\r\n]+", data):
        starts.append((length, match.start()))
        pieces.append(match[0])
        length += len(match[0])
    flats = [flat for flat, _ in starts]

    def before(place: int) -> int:
        if place >= length or not starts:
            return len(data)
        flat, start = starts[bisect_right(flats, place) - 1]
        return start + place - flat

    return b"".join(pieces), before


def _occurrences(data: bytes, wanted: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    for form in wanted:
        at = data.find(form)
        while at >= 0:
            yield at, at + len(form)
            at = data.find(form, at + 1)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that overlap, as one."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def _beginning(data: bytes, wanted: Sequence[bytes]) -> int:
    """The length of the longest end of the data with which one of the forms begins, and is not whole."""
    longest = 0
    for form in wanted:
        for length in range(min(len(form) - 1, len(data)), longest, -1):
            if data.endswith(form[:length]):
                longest = length
                break
    return longest
