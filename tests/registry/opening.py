"""How tests open a repository."""

from __future__ import annotations

from collections.abc import Callable

from serinus.registry.client import Repository

Open = Callable[..., Repository]
"""Opens one by its name, with further options of :class:`Repository`; the fixture ``connect``."""
