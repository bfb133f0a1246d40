"""Bytecode for an image, compiled by its own Python before it starts for the first time.

A replica may write nothing, so what is not compiled here is compiled at every start. The files are ``.pyc``
of the kind "unchecked hash" (PEP 552) beside their sources (PEP 3147), made by the Python of the base
(:mod:`serinus.image.borrowed`) from path and source alone (:mod:`serinus.image.pyc`). What the project itself
holds gets none: whoever changes a file of it, or mounts another over it, runs what they see.
"""

from __future__ import annotations

import functools
import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serinus.errors import BuildError
from serinus.events import Noted, Observer, step
from serinus.image import Base
from serinus.image.crew import Crew
from serinus.image.layers import Item
from serinus.registry import this_platform
from serinus.registry.layout import Layout

if TYPE_CHECKING:  # loaded only where there is something to compile
    from serinus.image.borrowed import Borrowed

_RECIPE = 1
"""Counts up when the same sources are to give other bytecode."""
_LENGTH = 4
_SHARE = 64
"""Modules from which on a further process is worth its start."""
_NONE = "the image for {} holds no bytecode and starts more slowly"
_OWN_TESTS = frozenset(("test", "tests"))


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles for one base."""

    base: Base
    borrow: Callable[[], Borrowed | None]
    """The base's Python, on this machine; asked only when something is to be compiled."""
    observer: Observer

    @property
    def key(self) -> str:
        """Hexadecimal, equal where the same sources give the same bytecode."""
        return hashlib.sha256(f"{_RECIPE}\0{self.base.digest}".encode()).hexdigest()

    def library(self) -> tuple[Item, ...]:
        """The bytecode of the base's standard library, as far as the base has none.

        Raises:
            BaseError, BuildError: as :meth:`bytecode`.
        """
        python = self.borrow()
        if python is None:
            return ()
        return self.bytecode([_item(path, python.root / path) for path in python.at.modules])

    def bytecode(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """The bytecode of the modules among these; none where the base's Python cannot be borrowed.

        A package's own tests are left out, what is no module of this Python, and what brings bytecode along.

        Raises:
            BaseError: a layer of the base is not a tar.
            BuildError: the base's Python cannot be run on this machine, or ended before it was done.
        """
        python = self.borrow()
        if python is None:
            return ()
        brought = {item.path for item in items}
        modules = [m for m in items if is_module(m) and cached(m.path, self.base.python) not in brought]
        with step("bytecode", self.observer) as told:
            made = compile_all(python, modules)
            told.detail = f"{len(modules)} modules"
        return tuple(
            Item(cached(item.path, self.base.python), len(content), content)
            for item, content in zip(modules, made, strict=True)
            if content
        )


def compiler(base: Base, layout: Layout, cache: Path, observer: Observer) -> Compiler | None:
    """What compiles for a base; None where this machine is of another kind, and its Python cannot run.

    Args:
        base: the base.
        layout: where its layers are.
        cache: the user's cache folder.
        observer: told of the step ``bytecode``, and where an image gets none.
    """

    def found() -> Borrowed | None:
        from serinus.image.borrowed import borrow

        python = borrow(base, layout, cache)
        if python is None:
            observer(Noted(f"{_NONE.format(base.platform)}: the Python of {base.reference} runs only there"))
        return python

    here, there = this_platform(), base.platform
    if (here.os, here.architecture) != (there.os, there.architecture):
        observer(Noted(f"{_NONE.format(base.platform)}: this machine cannot run its Python"))
        return None
    return Compiler(base, functools.cache(found), observer)


def is_module(item: Item) -> bool:
    """Whether a file is a module that a service may import: not one of a package's tests. Pure."""
    return item.link is None and item.path.endswith(".py") and not _OWN_TESTS & set(item.path.split("/"))


def cached(path: str, version: str) -> str:
    """Where a Python looks for a module's bytecode (PEP 3147): ``a/__pycache__/b.cpython-311.pyc``. Pure.

    Args:
        path: of the module.
        version: minor version of Python, ``3.11``.
    """
    folder, _, name = path.rpartition("/")
    return posixpath.join(
        folder, "__pycache__", f"{name.removesuffix('.py')}.cpython-{version.replace('.', '')}.pyc"
    )


def compile_all(python: Borrowed, modules: Sequence[Item]) -> list[bytes]:
    """The bytecode of each module, empty where it does not compile; in several processes if there are many.

    Raises:
        BuildError: the base's Python ended before it was done.
    """
    processes = max(1, min(os.cpu_count() or 1, len(modules) // _SHARE))
    with Crew() as crew:
        shares = [modules[number::processes] for number in range(processes)]
        at_work = [crew.start(functools.partial(_compile, python, share)) for share in shares]
        made = [one.result() for one in at_work]
    found = [b""] * len(modules)
    for number, share in enumerate(made):
        found[number::processes] = share
    return found


def _compile(python: Borrowed, modules: Sequence[Item]) -> list[bytes]:
    from serinus.image import pyc

    done = python.run(Path(pyc.__file__).read_text(encoding="utf-8"), b"".join(_frames(modules)))
    found = list(_answers(done.stdout))
    if done.returncode or len(found) != len(modules):
        said = done.stderr.decode(errors="replace").strip()
        raise BuildError(
            f"the base's Python compiled {len(found)} of {len(modules)} modules and ended with code "
            f"{done.returncode}" + (f": {said[-500:]}" if said else ""),
            "Report this with the base's name; until then, name another base.",
        )
    return found


def _frames(modules: Iterable[Item]) -> Iterator[bytes]:
    for item in modules:
        source = item.source.read_bytes() if isinstance(item.source, Path) else item.source or b""
        for part in (os.fsencode(f"/{item.path}"), source):
            yield len(part).to_bytes(_LENGTH, "little")
            yield part


def _answers(answer: bytes) -> Iterator[bytes]:
    """The frames of an answer, but for one that was cut off."""
    at = 0
    while at + _LENGTH <= len(answer):
        end = at + _LENGTH + int.from_bytes(answer[at : at + _LENGTH], "little")
        if end > len(answer):
            return
        yield answer[at + _LENGTH : end]
        at = end


def _item(path: str, file: Path) -> Item:
    return Item(path, file.stat().st_size, file)
