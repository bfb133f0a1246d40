"""Writing a workflow again: what people wrote in marked places is kept, what they changed elsewhere is seen.

A workflow has places, each between ``# serinus: begin NAME`` and ``# serinus: end NAME``. Its head holds two
digests: of all that stands outside of the places, and of the pins alone, which Dependabot may move. Pure.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from serinus.errors import PipelineError
from serinus.pipeline.github.emit import BEGIN, END
from serinus.pipeline.github.pins import PINS, Pin, found, without

HEAD = """\
# Written by `serinus ci github`, which writes it again. Yours is what stands between "serinus: begin" and
# "serinus: end", and is kept; everything else follows the project file.
"""
_SEAL = "# serinus: digest "
_LINE = re.compile(rf"^{_SEAL}(?P<text>[0-9a-f]{{64}}) pins (?P<pins>[0-9a-f]{{64}})\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow's file, taken apart."""

    outside: str
    """All lines but those in places; the marks are among them, the line with the digests is not."""
    places: Mapping[str, str]
    """Name -> what stands in the place, whole lines."""
    text: str = ""
    """Digest of ``outside`` without pins, as the file tells it; empty where it tells none."""
    pins: str = ""
    """Digest of the pins, as the file tells it."""

    @property
    def edited(self) -> bool:
        """Whether somebody changed what stands outside of the places, other than pins."""
        return self.text != _digest(without(self.outside))

    @property
    def moved(self) -> dict[str, Pin]:
        """The pins that somebody else has put there."""
        return found(self.outside) if self.pins != _pinned(self.outside) else {}


def read(text: str, name: str) -> Workflow:
    """Take a workflow's file apart.

    Args:
        text: its content; line ends may be those of Windows.
        name: of the file, for errors.

    Raises:
        PipelineError: the marks do not pair, or two places have one name.
    """
    text = text.replace("\r\n", "\n")
    if text and not text.endswith("\n"):
        text += "\n"
    seal = _LINE.search(text)
    outside: list[str] = []
    places: dict[str, str] = {}
    inside = ""
    for number, line in enumerate(re.findall(r"[^\n]*\n", text), 1):
        if seal and line == seal[0]:
            continue
        told = line.strip()
        if told.startswith(BEGIN):
            begun = told.removeprefix(BEGIN)
            if inside or begun in places:
                raise _unpaired(name, number, told, f"the end of {inside}" if inside else "another name")
            inside = begun
            places[inside] = ""
        elif told.startswith(END):
            if told.removeprefix(END) != inside:
                raise _unpaired(
                    name, number, told, f"the end of {inside}" if inside else "its begin before it"
                )
            inside = ""
        elif inside:
            places[inside] += line
            continue
        outside.append(line)
    if inside:
        raise _unpaired(name, text.count("\n"), "the end of the file", f"the end of {inside}")
    return Workflow("".join(outside), places, seal["text"] if seal else "", seal["pins"] if seal else "")


def _unpaired(name: str, number: int, what: str, expected: str) -> PipelineError:
    return PipelineError(
        f"{name}:{number}: found {what!r}, expected {expected}",
        "Put the marks back in pairs: what stands between them is kept.",
    )


def sealed(body: str, places: Mapping[str, str] | None = None) -> str:
    """A workflow's file: head, digests, and the body with what people wrote in its places.

    Args:
        body: as it was made, its places empty.
        places: name -> what is put in, whole lines.
    """
    outside = HEAD + "\n" + body
    line = f"{_SEAL}{_digest(without(outside))} pins {_pinned(outside)}\n"
    whole = HEAD + line + "\n" + body
    filled = []
    for each in whole.splitlines(keepends=True):
        filled.append(each)
        if (told := each.strip()).startswith(BEGIN):
            filled.append((places or {}).get(told.removeprefix(BEGIN), ""))
    return "".join(filled)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _pinned(text: str) -> str:
    return _digest("".join(f"{action}@{pin.commit}\n" for action, pin in sorted(found(text).items())))


def pins_for(old: str | None, own: Mapping[str, Pin], name: str) -> dict[str, Pin]:
    """The pins of a workflow that is written now: the project's own, then those moved in the file, then ours.

    Args:
        old: the file as it is; None where there is none.
        own: what the project's file of pins says.
        name: of the file, for errors.

    Raises:
        PipelineError: the file cannot be taken apart.
    """
    moved = read(old, name).moved if old is not None else {}
    return {**PINS, **moved, **own}


def renewed(old: str | None, body: str, name: str, *, force: bool = False) -> str:
    """A workflow's file, written again.

    Args:
        old: the file as it is; None where there is none.
        body: as it was made now, its places empty.
        name: of the file, for errors.
        force: write over what was changed outside of the places.

    Raises:
        PipelineError: the file was changed outside of its places, or was not written by Serinus, or a place
            that holds something is no more; with the difference.
    """
    if old is None:
        return sealed(body)
    before = read(old, name)
    new = sealed(body, before.places)
    if force:
        return new
    if before.edited:
        was = "was changed outside of its marked places" if before.text else "was not written by Serinus"
        raise PipelineError(
            f"{name} {was}; writing it would change this:\n{difference(old, new, name)}",
            "Move your lines into a marked place (`# serinus: begin ...`), or write over them with --force.",
        )
    marks = read(new, name).places
    lost = [place for place, lines in before.places.items() if lines.strip() and place not in marks]
    if lost:
        raise PipelineError(
            f"{name} has lines in the place {', '.join(lost)}, which there is no more",
            f"Move them into one of {', '.join(marks)}, or drop them with --force.",
        )
    return new


def difference(old: str, new: str, name: str) -> str:
    """What would change, as a unified diff; empty where nothing would."""
    lines = difflib.unified_diff(
        old.replace("\r\n", "\n").splitlines(), new.splitlines(), name, f"{name} (new)", lineterm=""
    )
    return "\n".join(lines)
