"""Third-party modules that are loaded when first used, for looking at a function's types alone.

``import onnxruntime`` and ``import numpy`` take longer than the whole rest of a build, and a function's types
seldom need them. Modules that define types, the standard library and the project's own files are loaded as
ever.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

EAGER = frozenset(
    {"pydantic", "pydantic_core", "pydantic_settings", "typing_extensions", "typing_inspection"}
    | {"annotated_types", "serinus", "orjson", "jsonschema_rs", "email_validator"}
)
"""Top-level modules that define types, or that Serinus itself needs at once."""


class LazyFinder:
    """A meta-path finder (PEP 302, PEP 451) that wraps the loaders of pure Python packages in a lazy one.

    Extension modules are loaded as ever: they cannot be made without being run.

    Args:
        project: folder whose own modules are loaded as ever.
    """

    def __init__(self, project: str) -> None:
        self._project = Path(project).resolve()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec with a lazy loader, or None to leave the module to the other finders."""
        top = name.partition(".")[0]
        if top in EAGER or top in sys.stdlib_module_names:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or self._own(top, spec):
            return None
        spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec

    def _own(self, top: str, spec: ModuleSpec) -> bool:
        """Whether it lies in the project itself, not in a folder of libraries somewhere below it."""
        origin = Path(spec.origin or "").resolve()
        inside = origin.is_relative_to(self._project)
        return inside and origin.relative_to(self._project).parts[:1] in ((top,), (f"{top}.py",))


@contextmanager
def imports(project: str) -> Iterator[None]:
    """Within the block, third-party modules are loaded when first used."""
    finder = LazyFinder(project)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
