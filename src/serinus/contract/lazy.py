"""Third-party modules that are stood in for, for looking at a function's types alone.

``import onnxruntime`` and ``import numpy`` take longer than the whole rest of a build, and a function's
types seldom need them. Here such an import gives a stand-in: whatever is taken from it, called or
subscripted is a stand-in again, and may be a base class or stand in an annotation. Where the *contract* or
the way to it would depend on one (as a type of the request, in a comparison, a loop, a number, a text) it
raises, and the module is imported again as ever. Modules that define types, the standard library and the
project's own files are loaded as ever in the first place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

EAGER = frozenset(
    {"pydantic", "pydantic_core", "pydantic_settings", "typing_extensions", "typing_inspection"}
    | {"annotated_types", "serinus", "orjson", "jsonschema_rs", "email_validator"}
)
"""Top-level modules that define types, or that Serinus itself needs at once."""


_STANDARD = Path(os.__file__).resolve().parent


class NeededError(Exception):
    """What a stand-in stands for is needed after all."""


def _needed(self: Any, *args: Any, **options: Any) -> NoReturn:
    raise NeededError(f"{self!r} is needed to know the contract")


class StandIn:
    """Something of a third-party module, in name only.

    Args:
        name: with dots, for messages.
    """

    def __init__(self, name: str) -> None:
        self.__dict__["__name"] = name

    def __repr__(self) -> str:
        return str(self.__dict__["__name"])

    def __getattr__(self, name: str) -> Any:
        return _attribute(repr(self), name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """A stand-in for whatever it would give back."""
        return StandIn(f"{self!r}()")

    def __getitem__(self, key: Any) -> Any:
        return StandIn(f"{self!r}[]")

    def __or__(self, other: Any) -> Any:
        return StandIn(f"{self!r} | ...")

    __ror__ = __or__

    def __setattr__(self, name: str, value: Any) -> None:
        """Settings of a library concern nobody here."""

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        # A class of its own each time: nothing can have the same base twice.
        return (type("Derived", (Derived,), {"__module__": __name__}),)

    def __eq__(self, other: Any) -> bool:
        # typing asks of every annotation whether it is one of its own forms.
        if isinstance(other, type) or type(other).__module__ == "typing":
            return False
        return _needed(self)

    __bool__ = __str__ = __format__ = __lt__ = __le__ = __gt__ = __ge__ = _needed
    __get_pydantic_core_schema__ = __get_pydantic_json_schema__ = _needed
    # Python would walk through anything that can be subscripted.
    __iter__ = __contains__ = None
    __hash__ = object.__hash__


class Derived:
    """Base of a class whose real base is a third party's: it may be made, and be no part of a contract."""

    def __init_subclass__(cls, **options: Any) -> None:
        if any(hasattr(base, "__pydantic_core_schema__") for base in cls.__mro__[1:]):
            raise NeededError(f"{cls.__qualname__} has a base of a third party, and it is a model")

    @classmethod
    def __get_pydantic_core_schema__(cls, *args: Any) -> NoReturn:
        raise NeededError(f"{cls.__qualname__} has a base of a third party")


class _Module(ModuleType):
    """A module whose every attribute is a stand-in."""

    def __getattr__(self, name: str) -> Any:
        return _attribute(self.__name__, name)


def _attribute(owner: str, name: str) -> Any:
    # What Python asks of any object or module must be absent as ever, and a star import be noticed.
    if name == "__all__":
        raise NeededError(f"everything of {owner} is needed")
    if name.startswith("__") and name != "__version__":
        raise AttributeError(name)
    return StandIn(f"{owner}.{name}")


class _Loader:
    """Makes modules of stand-ins (PEP 451)."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that has everything."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run."""


class LazyFinder:
    """A meta-path finder (PEP 302, PEP 451) that finds stand-ins for third-party modules that are there.

    Args:
        project: folder whose own modules are loaded as ever.
    """

    def __init__(self, project: str) -> None:
        self._project = Path(project).resolve()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a stand-in, or None to leave the module to the other finders."""
        top = name.partition(".")[0]
        if top in EAGER or top in sys.stdlib_module_names:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or self._own(top, spec):
            return None
        instead = ModuleSpec(name, _Loader(), origin=spec.origin)  # type: ignore[arg-type]
        instead.submodule_search_locations = spec.submodule_search_locations
        instead.has_location = spec.has_location
        return instead

    def _own(self, top: str, spec: ModuleSpec) -> bool:
        """Whether it is Python's own, or lies in the project itself: not in libraries somewhere below it."""
        if spec.origin is None:
            return True  # a namespace package: its parts are found one by one
        origin = Path(spec.origin).resolve()
        if origin.is_relative_to(_STANDARD):
            # sys.stdlib_module_names does not list them all. Debian's packages lie in a folder beside them.
            return not {"site-packages", "dist-packages"} & set(origin.parts)
        inside = origin.is_relative_to(self._project)
        return inside and origin.relative_to(self._project).parts[:1] in ((top,), (f"{top}.py",))


@contextmanager
def imports(project: str) -> Iterator[None]:
    """Within the block, third-party modules are stood in for."""
    finder = LazyFinder(project)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def refuse(found: Any) -> None:
    """Check that an entry point is none of a third party's making.

    Raises:
        NeededError: it is, and must be looked at itself.
    """
    if isinstance(found, (StandIn, Derived, _Module)):
        raise NeededError(f"the entry point is {found!r}")
